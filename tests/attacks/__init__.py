"""Attacks: what others could make releaser do, each tried on a site."""
