"""How a site takes over another release: its restart."""
