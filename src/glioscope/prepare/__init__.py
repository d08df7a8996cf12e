"""Raw scans to a case on one grid, a case to what the network sees, and the way back."""
