"""What a site is: its paths, its settings, its interpreter, and the checks of all that."""
