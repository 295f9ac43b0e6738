"""From the text or TOML value of a setting to a Python value."""

from __future__ import annotations

import math
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from releaser.site import values
from releaser.site.values import Address

if TYPE_CHECKING:
    from collections.abc import Callable

ADA = (Address(name="Ada", address="ada@example.org"),)

RIGHT: list[tuple[Callable[[Any], Any], Any, Any]] = [
    (values.text, "", ""),
    (values.text, " a b ", " a b "),
    (values.non_empty, " main ", "main"),
    (values.flag, True, True),
    (values.flag, "true", True),
    (values.flag, "false", False),
    (values.flag, False, False),
    (values.duration, 0, 0.0),
    (values.duration, "0", 0.0),
    (values.duration, "90s", 90.0),
    (values.duration, "1.5h", 5400.0),
    (values.duration, "30m", 1800.0),
    (values.duration, "7d", 604800.0),
    (values.duration, "1w", 604800.0),
    (values.limit, "0.1s", 0.1),
    (values.limit, "7d", 604800.0),
    (values.count, 0, 0),
    (values.count, "12", 12),
    (values.port, "65535", 65535),
    (values.port, 0, 0),
    (values.command, "python run_tests.py --fast", ("python", "run_tests.py", "--fast")),
    (values.command, "sh -c 'a b; c'", ("sh", "-c", "a b; c")),
    (values.command, ["a b", "c"], ("a b", "c")),
    (values.url_or_command, "https://example.org:8443/health?x=1", "https://example.org:8443/health?x=1"),
    (values.url_or_command, " curl -f 'http://x y' ", "curl -f 'http://x y'"),
    (values.statuses, "2xx", (range(200, 300),)),
    (values.statuses, "2xx, 301,401-403", (range(200, 300), range(301, 302), range(401, 404))),
    (values.statuses, ["2xx", "404", "500-503"], (range(200, 300), range(404, 405), range(500, 504))),
    (values.visible, " all is well ", " all is well "),
    (values.host, " shop.example.org:8000 ", "shop.example.org:8000"),
    (values.host, "[::1]:8000", "[::1]:8000"),
    (values.socket_path, "/run/shop/site.sock", "/run/shop/site.sock"),
    (values.socket_path, "/" + 106 * "x", "/" + 106 * "x"),
    (values.path, "~/state", "~/state"),
    (values.path, "../state", "../state"),
    (values.file_inside, "requirements.txt", "requirements.txt"),
    (values.file_inside, "./config/../requirements/prod.txt", "requirements/prod.txt"),
    (values.choice("clone", "copy"), "copy", "copy"),
    (values.sender, "Site <site@example.org>", "Site <site@example.org>"),
    (values.addresses, '[["Ada", "ada@example.org"]]', ADA),
    (values.addresses, [["Ada", "ada@example.org"]], ADA),
    (values.addresses, ["ada@example.org"], (Address(name="", address="ada@example.org"),)),
    (values.addresses, "[]", ()),
]


def named(parameter: object) -> str | None:
    return getattr(parameter, "__name__", None)


@pytest.mark.parametrize(("parse", "value", "expected"), RIGHT, ids=named)
def test_what_is_right_is_understood(parse: Callable[[Any], Any], value: Any, expected: Any) -> None:
    found = parse(value)
    assert found == expected
    assert type(found) is type(expected)


WRONG: list[tuple[Callable[[Any], Any], Any, str]] = [
    (values.text, 5, "must be a string"),
    (values.text, "a\nb", "must be one line"),
    (values.text, "a\rb", "must be one line"),
    (values.text, "a\0b", "must be one line"),
    (values.non_empty, "  ", "must not be empty"),
    (values.flag, 1, "must be true or false"),
    *((values.flag, value, "must be true or false") for value in ("maybe", "TRUE", " true", "on", "yes", "1", "0")),
    (values.flag, "", "must be true or false"),
    (values.flag, None, "must be true or false"),
    (values.duration, -1, "must be a length of time"),
    (values.duration, True, "must be a length of time"),
    (values.duration, math.nan, "must be a length of time"),
    *(
        (values.duration, value, "must be a length of time")
        for value in (math.inf, 90, 1.5, "90", "30 min", "2 hours", "7D", " 7d", "1 d", "1days")
    ),
    (values.duration, "9" * 400 + "d", "must be at most 3650d"),
    (values.duration, "", "must be a length of time"),
    (values.duration, "soon", "must be a length of time"),
    (values.duration, "-5s", "must be a length of time"),
    (values.duration, "1e3", "must be a length of time"),
    (values.duration, "5 fortnights", "must be a length of time"),
    (values.duration, [5], "must be a length of time"),
    (values.limit, 0, "must be longer than 0"),
    (values.limit, "0s", "must be longer than 0"),
    (values.limit, "8d", "must be at most 7d"),
    (values.count, -1, "must be a whole number"),
    (values.count, 1.0, "must be a whole number"),
    (values.count, True, "must be a whole number"),
    (values.count, " 12 ", "must be a whole number"),
    (values.count, "", "must be a whole number"),
    (values.count, "-1", "must be a whole number"),
    (values.count, "1.5", "must be a whole number"),
    (values.count, "²", "must be a whole number"),
    (values.count, "٣", "must be a whole number"),
    (values.port, 65536, "must be a port"),
    (values.command, "", "must not be empty"),
    (values.command, [], "must not be empty"),
    (values.command, "echo 'a", "must be a command: No closing quotation"),
    (values.command, 5, "must be a command"),
    (values.command, '["a", "b"]', "must be a command in words"),
    (values.command, ["a", 5], "must be a command"),
    (values.url_or_command, "http://", "must be a URL or a command"),
    (values.url_or_command, "http:///x", "must be a URL or a command"),
    (values.url_or_command, "http://[::1", "must be a URL or a command"),
    (values.url_or_command, "http://example.org:port/", "must be a URL or a command"),
    (values.url_or_command, "curl 'x", "must be a URL or a command"),
    (values.url_or_command, "", "must not be empty"),
    (values.url_or_command, "http+unix://%2Frun%2Fsite.sock/", "the path of the socket goes into health_socket"),
    *(
        (values.statuses, value, "must be one or more HTTP statuses")
        for value in (
            "",
            [],
            [""],
            "ok",
            "6xx",
            "99",
            "600",
            "299-200",
            "2XX",
            "200 301",
            200,
            [200],
            "200-",
            "-200",
            "20x",
            200.0,
            True,
            [True],
            None,
            {"a": 1},
            "٢٠٠",
        )
    ),
    *(
        (values.host, value, "must be the name of a host")
        for value in (
            "http://shop",
            "shop/health",
            "ann@shop",
            "shop:port",
            "shop:99999",
            ":80",
            "a b",
            "größe",
            "[::1",
            "shop?x",
        )
    ),
    (values.host, "", "must not be empty"),
    (values.socket_path, "run/site.sock", "must be the absolute path"),
    (values.socket_path, "/" + 107 * "x", "at most 107 bytes"),
    (values.socket_path, "/" + 54 * "ü", "at most 107 bytes"),
    (values.visible, " ", "must not be empty"),
    (values.visible, 5, "must be a string"),
    (values.path, "~nobody-of-this-name/x", "must be a path"),
    (values.path, "", "must not be empty"),
    (values.file_inside, "../requirements.txt", "must name a file inside the project"),
    (values.file_inside, "/etc/passwd", "must name a file inside the project"),
    (values.file_inside, "a/../..", "must name a file inside the project"),
    (values.file_inside, ".", "must name a file of its own"),
    (values.file_inside, "uv.lock", "must name a file of its own"),
    (values.file_inside, "./pyproject.toml", "must name a file of its own"),
    (values.file_inside, ".git/config", "must name a file of its own"),
    (values.choice("clone", "copy"), "hardlink", "must be one of: clone, copy"),
    (values.choice("clone", "copy"), ["copy"], "must be one of: clone, copy"),
    (values.sender, "nobody", "has no @"),
    (values.sender, "", "must not be empty"),
    *(
        (values.addresses, value, "must be a JSON list")
        for value in ("ada@example.org", " ", "{}", '"a@b"', "[" * 20_000)
    ),
    *(
        (values.addresses, value, "wrong item 1")
        for value in (
            '[["Ada"]]',
            '["Ada", "ada@example.org"]',
            '[["Ada","ada@example.org","x"]]',
            '[["Ada", 5]]',
            "[null]",
        )
    ),
    (values.addresses, '[["Ada","ada@example.org"],["Bob"]]', "wrong item 2"),
    (values.addresses, '[["Ada","ada.example.org"]]', "no @"),
    (values.addresses, '[["Ada","ada@example.org\\nBcc: eve@example.org"]]', "control characters"),
    (values.addresses, '[["Ada","ada@exämple.org"]]', "ASCII"),
    (values.addresses, 5, "must be a JSON list"),
    (values.addresses, [date(2026, 1, 2)], "wrong item 1"),  # which TOML knows, and JSON does not
]


@pytest.mark.parametrize(("parse", "value", "words"), WRONG, ids=named)
def test_what_is_wrong_is_refused_with_what_would_be_right(parse: Callable[[Any], Any], value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(value)


@pytest.mark.parametrize("url", ["https://osv.example.org/", "http://127.0.0.1:8080", "none"])
def test_a_service_is_a_url_or_none(url: str) -> None:
    assert values.url_or_none(url) == url


@pytest.mark.parametrize(
    "value", ["", "None", "osv.example.org", "ftp://x", "https://", "https://x:0/", "https://x:y/", "https://a b/", 3]
)
def test_anything_else_is_no_service(value: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        values.url_or_none(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("CVE-1", ("CVE-1",)),
        ("CVE-1,GHSA-2, PYSEC-3", ("CVE-1", "GHSA-2", "PYSEC-3")),
        (["CVE-1", "GHSA-2"], ("CVE-1", "GHSA-2")),
        ("", ()),
        ([], ()),
    ],
)
def test_ids_are_a_list_or_a_text_with_commas(value: Any, expected: tuple[str, ...]) -> None:
    assert values.ids(value) == expected


@pytest.mark.parametrize("value", [3, None, ["a", 3], {"a": 1}, '["a"]', True, "CVE-1 CVE-2", ["a b"], [" a"]])
def test_anything_else_is_no_list_of_ids(value: Any) -> None:
    with pytest.raises(ValueError, match="commas between them"):
        values.ids(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["my media", "a,b", "[ab]*"], ("my media", "a,b", "[ab]*")),
        ("my media, *.sql,[ab]*", ("my media", "*.sql", "[ab]*")),
        ("", ()),
    ],
)
def test_each_item_of_a_list_is_one_pattern(value: Any, expected: tuple[str, ...]) -> None:
    assert values.patterns(value) == expected


@pytest.mark.parametrize("value", ["/srv", "../lib", ["my media", "a/../../b"]])
def test_patterns_stay_below_the_top(value: Any) -> None:
    with pytest.raises(ValueError, match="below the top of the checkout"):
        values.patterns(value)
