"""`manage.py visit`: what a visitor sees."""

from __future__ import annotations

import re

from django.core.management.base import BaseCommand
from django.test import Client


class Command(BaseCommand):
    """Gets the front page and prints the text of its body."""

    help = "Print the text of the front page."

    def handle(self, *_args: object, **_options: object) -> None:
        """Print it in one line."""
        page = Client().get("/", headers={"host": "tea.example.org"})
        found = re.search(r"<p>(.*)</p>", page.content.decode())
        self.stdout.write(found.group(1) if found else f"status {page.status_code}")
