"""lm-evaluation-harness over plans and exports."""
