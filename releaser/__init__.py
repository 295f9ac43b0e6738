"""Keeps the Python environment of a running site up to date, safely."""

__version__ = "0.1.0"
