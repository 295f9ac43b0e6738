"""What a page of HTML refers to."""

import re
from html.parser import HTMLParser

_ATTRIBUTES = ("src", "srcset", "href", "xlink:href", "action", "data", "poster", "background", "formaction", "ping")


class _References(HTMLParser):
    """Collects what elements and styles of a page load, and where links lead, but for places of the page itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found = set[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the references of an element; one that could load something by itself counts as such."""
        self.found |= {
            value or "" for name, value in attrs if name in _ATTRIBUTES and not (value or "").startswith("#")
        }
        self.found |= {tag} & {"script", "link", "iframe", "img", "object", "embed", "base"}

    def handle_data(self, data: str) -> None:
        """Take what a style loads."""
        self.found |= set(re.findall(r"url\(.*?\)|@import.*?;", data))


def find_references(page: str) -> set[str]:
    """Return everything outside of a page that it refers to."""
    parser = _References()
    parser.feed(page)
    return parser.found
