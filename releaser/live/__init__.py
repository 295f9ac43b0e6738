"""The change of what is live: checkout, flip, restart and health check, and the way back."""
