"""One module for each program that releaser drives; none knows another."""
