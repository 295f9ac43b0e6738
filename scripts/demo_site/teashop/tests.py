"""The tests that an update has to pass."""

from __future__ import annotations

from django.test import SimpleTestCase


class FrontPage(SimpleTestCase):
    """The page that everybody sees."""

    def test_shows_the_price(self) -> None:
        """A visitor sees what the tea costs."""
        self.assertContains(self.client.get("/"), "Darjeeling: EUR 12.50")
