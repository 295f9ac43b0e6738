"""What programs, files, signals and people need, whatever the program is about."""
