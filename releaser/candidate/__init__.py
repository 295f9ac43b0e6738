"""The candidate: its shadow, its build and its tests."""
