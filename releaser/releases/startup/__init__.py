"""The start-up module, which runs in the processes of a site, and how it gets into a venv."""
