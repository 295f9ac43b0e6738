"""Which versions a site is to run on: resolving within the rules, the first lock, and what is newer."""
