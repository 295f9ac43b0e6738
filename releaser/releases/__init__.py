"""Releases on disk, the link to the live one, and the journal of a change."""
