"""Policies of early exit, judged: traces, choices, sweeps, certificates."""
