"""Dataset layouts: one file for each, found by detection."""
