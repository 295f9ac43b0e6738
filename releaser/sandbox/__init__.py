"""The sandbox of tests and builds: its hidden and writable paths, and whether it works on this host."""
