"""The restart methods, the health check, static files, and detection of the web server."""
