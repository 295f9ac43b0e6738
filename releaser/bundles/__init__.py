"""A release in one signed file: its lock, its code, and all that is needed to install it without a network."""
