"""The site: its project, its settings, and every path."""
