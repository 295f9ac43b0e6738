"""Pure: a parsed uv.lock, the difference of two, and the rules for the versions that updates may install."""
