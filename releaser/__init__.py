"""Keeps the Python environment of a running site up to date: build, test, flip, roll back."""

import logging

logging.getLogger(__name__).addHandler(logging.NullHandler())
__version__ = "1.1.0"
