"""The sandbox of tests and builds: what it hides, what it keeps, and whether it works here."""
