"""Programs, files, text, and the record of a run."""
