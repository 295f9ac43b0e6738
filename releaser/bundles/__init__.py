"""A release in one file: made, signed, verified and unpacked."""
