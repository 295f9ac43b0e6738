"""Which links of strangers get into a mail."""

from __future__ import annotations

import pytest

from releaser.system.words import web_link


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/changes",
        "http://example.org",
        "HTTPS://Example.org/?a=1&b=2#top",
        "https://example.org:8443/a_(b)%20c",
        "https://[2001:db8::1]/x",
    ],
)
def test_a_link_to_a_page_is_taken_as_it_is(text: str) -> None:
    assert web_link(f"  {text}\n") == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "UNKNOWN",
        "javascript:alert(1)",
        "JavaScript://example.org/%0aalert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "ftp://example.org/x",
        "//example.org/x",
        "https:///nowhere",
        "https://",
        "https://user:secret@example.org/",
        "https://trusted.example.org@evil.example.net/",
        "https://example.org/a b",
        'https://example.org/"onclick="x',
        "https://example.org/<script>",
        "https://example.org/\r\nX-Evil: 1",
        "https://exämple.org/",
        "https://example.org/\u202egnp",
        "https://[example.org/",
        "https://example.org/" + "x" * 300,
    ],
)
def test_anything_else_is_no_link(text: str) -> None:
    assert web_link(text) is None
