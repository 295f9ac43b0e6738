"""Packages: the lock, what it would change, what is on hold, and how uv resolves."""
