"""Tests of tfshrink.data."""
