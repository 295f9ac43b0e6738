"""Keeps the Python environment of a running site up to date: build, test, flip, roll back."""

__version__ = "1.0.0"
