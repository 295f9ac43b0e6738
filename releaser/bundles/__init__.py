"""A release in one signed file: its lock, its code, and all files for an installation without a network."""
