"""Pure: a parsed uv.lock, the difference of two, and the rules that say which versions may come in."""
