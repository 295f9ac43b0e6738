"""Processes that live on while the symlink moves: what they import, and how they are counted."""
