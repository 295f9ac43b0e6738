"""What people and programs see of runs: the outcome, the terminal, the status and the history."""
