"""Programs that update themselves: the starter, and the Python API."""
