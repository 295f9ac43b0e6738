"""Many sites of a host, and when their updates start."""
