"""Links to pages, as strangers write them."""

from __future__ import annotations

_LONGEST = 300  # characters


def web_link(text: str) -> str | None:
    """Return a link that is fit for a mail: http or https, a host, no password, all of it printable ASCII."""
    from urllib.parse import urlsplit  # which most commands need not import

    text = text.strip()
    if len(text) > _LONGEST or not text.isascii() or not text.isprintable() or set(text) & set(" <>\"'`\\^{|}"):
        return None
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    fit = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    return text if fit else None
