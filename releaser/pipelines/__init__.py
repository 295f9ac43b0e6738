"""One run from end to end: each command that does something has its module here."""
