"""Switching a running site to another release: the restart methods, and detection of the web server."""
