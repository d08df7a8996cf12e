"""What a case gave: the records on disk, and whether they still match what was written."""
