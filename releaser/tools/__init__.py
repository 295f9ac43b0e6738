"""The programs that releaser drives: a module or a few for each, which know none of the others."""
