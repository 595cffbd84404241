"""Sensitivity, search and certificates of plans."""
