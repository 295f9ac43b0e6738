"""Where Passenger looks for the site."""

from __future__ import annotations

from teashop.wsgi import application

__all__ = ["application"]
