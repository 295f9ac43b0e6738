"""The site: its paths, settings and interpreter, and their checks."""
