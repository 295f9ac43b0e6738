"""One module for each command that takes the lock of a site, and what they share."""
