"""Chooses the versions of a site: resolves within the rules, makes the first lock, and lists newer versions."""
