"""Signal Temporal Logic: formulas, their robustness, certificates."""
