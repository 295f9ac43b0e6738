"""A run, the change of the live release, and the interfaces of what a capability adds. Knows none of them by name."""
