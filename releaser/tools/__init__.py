"""The programs that releaser drives: one or a few modules for each, independent of the other programs."""
