"""Raw scans to a case on one grid: reading, naming, registration, brain extraction, bias."""
