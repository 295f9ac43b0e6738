"""Tests of the directory that releaser is installed into."""
