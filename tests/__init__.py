"""The tests; their folders mirror tfshrink/."""
