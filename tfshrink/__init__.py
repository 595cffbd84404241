"""tfshrink: transformer language models made small and fast in Keras."""

__version__ = "0.1.0"
