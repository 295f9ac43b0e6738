"""Renders reports as text, mail and history, and sends them. Decides nothing about a site."""
