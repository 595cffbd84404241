"""What a run, a model or an export is like, measured and put together."""
