"""How a report becomes text, mail and history, and who is told of it. Decides nothing about a site."""
