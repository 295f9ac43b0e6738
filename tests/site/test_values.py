"""From the text or TOML value of a setting to a Python value."""

import math
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from releaser.releases.proposal_settings import groups
from releaser.site import values
from releaser.site.addresses import Address, addresses, parse_address, sender
from releaser.site.package_windows import PackageSetting, tables_by_package
from releaser.site.windows import jitter, windows

ADA = Address(name="Ada", address="ada@example.org")
PLAIN = Address(name="", address="ada@example.org")
A_LINK_MODE = values.one_of("clone", "copy")
GROUP = (("a", ("b",)),)
BY_PACKAGE = values.pairs(values.one_of("minor", "patch"))
ODD: list[Any] = [1, True, {}, [], ["Bob"], ["Bob", None], [["a", "b@c"]]]

#: By parser, what is right, and what becomes of it.
RIGHT: list[tuple[Callable[[Any], Any], list[tuple[Any, Any]]]] = [
    (values.text, [("", ""), (" a b ", " a b ")]),
    (values.non_empty, [(" main ", "main")]),
    (values.visible, [(" all is well ", " all is well ")]),
    (values.flag, [(True, True), ("true", True), ("false", False), (False, False)]),
    (values.duration, [(0, 0.0), ("0", 0.0), ("90s", 90.0), ("1.5h", 5400.0), ("30m", 1800.0)]),
    (values.duration, [("7d", 604800.0), ("1w", 604800.0)]),
    (values.limit, [("0.1s", 0.1), ("7d", 604800.0)]),
    (values.count, [(0, 0), ("12", 12)]),
    (values.port, [("65535", 65535), (0, 0)]),
    (values.command, [("python t.py --fast", ("python", "t.py", "--fast")), (["a b", "c"], ("a b", "c"))]),
    (values.command, [("sh -c 'a b; c'", ("sh", "-c", "a b; c"))]),
    (values.url_or_command, [(one, one) for one in ("https://example.org:8443/health?x=1", "curl -f 'http://x y'")]),
    (values.url_or_command, [(" curl x ", "curl x")]),
    (values.url_or_none, [(one, one) for one in ("https://osv.example.org/", "http://127.0.0.1:8080", "none")]),
    (
        values.statuses,
        [
            ("2xx", (range(200, 300),)),
            ("2xx, 301,401-403", (range(200, 300), range(301, 302), range(401, 404))),
            (["2xx", "404", "500-503"], (range(200, 300), range(404, 405), range(500, 504))),
        ],
    ),
    (values.host, [(" shop.example.org:8000 ", "shop.example.org:8000"), ("[::1]:8000", "[::1]:8000")]),
    (values.socket_path, [(one, one) for one in ("/run/shop/site.sock", "/" + 106 * "x")]),
    (values.path, [("~/state", "~/state"), ("../state", "../state")]),
    (values.file_inside, [("requirements.txt", "requirements.txt"), ("./a/../b/prod.txt", "b/prod.txt")]),
    (values.paths_inside, [("dist", ("dist",)), (["./dist", "a/b"], ("dist", "a/b")), ("dist, a/b", ("dist", "a/b"))]),
    (A_LINK_MODE, [("copy", "copy")]),
    (
        groups,
        [("web=Django* celery,t=p", (("web", ("django*", "celery")), ("t", ("p",)))), ({"a": ["b"]}, (("a", ("b",)),))],
    ),
    (BY_PACKAGE, [("A_b=patch, c=minor", (("a-b", "patch"), ("c", "minor"))), ({"d": "minor"}, (("d", "minor"),))]),
    (values.ids, [("CVE-1", ("CVE-1",)), (["CVE-1", "GHSA-2"], ("CVE-1", "GHSA-2")), ("", ()), ([], ())]),
    (values.ids, [("CVE-1,GHSA-2, PYSEC-3", ("CVE-1", "GHSA-2", "PYSEC-3"))]),
    (values.patterns, [(["my media", "a,b", "[ab]*"], ("my media", "a,b", "[ab]*")), ("", ())]),
    (values.patterns, [("my media, *.sql,[ab]*", ("my media", "*.sql", "[ab]*"))]),
    (sender, [("Site <site@example.org>", "Site <site@example.org>")]),
    (
        addresses,
        [
            ('[["Ada", "ada@example.org"]]', (ADA,)),
            ([["Ada", "ada@example.org"], [" Ada ", " ada@example.org "]], (ADA, ADA)),
            (["ada@example.org", "Bob <bob@localhost>"], (PLAIN, Address(name="Bob", address="bob@localhost"))),
            ([["Ann Müller", "a+b@c.example.org"]], (Address(name="Ann Müller", address="a+b@c.example.org"),)),
            ("[]", ()),
            ("ada@example.org", (PLAIN,)),
            ('["ada@example.org", ["Ada", "ada@example.org"]]', (PLAIN, ADA)),
            ("Ada <ada@example.org>, ada@example.org,", (ADA, PLAIN)),
        ],
    ),
    (
        tables_by_package,
        [
            (
                {"Ours_*": {"window": "Sat-Sun"}, "*": {"publish": "branch", "window": []}},
                (
                    ("ours-*", PackageSetting(window=windows("Sat-Sun"))),
                    ("*", PackageSetting(publish="branch", window=())),
                ),
            ),
            ('{"window" = {publish = "live"}}', (("window", PackageSetting(publish="live")),)),
            ("", ()),
        ],
    ),
    (values.interval_or_never, [("2d", 172800.0), ("never", math.inf)]),
    (parse_address, [(one, PLAIN) for one in ("ada@example.org", " ada@example.org ", "<ada@example.org>")]),
    (parse_address, [("Ada <ada@example.org>", ADA), ('"Ada" <ada@example.org>', ADA)]),
    (parse_address, [('"Ada, web1" <ada@example.org>', Address(name="Ada, web1", address="ada@example.org"))]),
]


def form(parse: Any) -> Any:
    """Return the name of what a kind reads values with, whatever words or values it was made for."""
    return getattr(parse, "read", parse).__qualname__


def named(parameter: object) -> str | None:
    return form(parameter) if callable(parameter) else None


@pytest.mark.parametrize(
    ("parse", "value", "expected"), [(parse, *pair) for parse, pairs in RIGHT for pair in pairs], ids=named
)
def test_what_is_right_is_understood(parse: Callable[[Any], Any], value: Any, expected: Any) -> None:
    found = parse(value)
    assert found == expected
    assert type(found) is type(expected)


#: By parser, what it says of which wrong values.
WRONG: list[tuple[Callable[[Any], Any], str, list[Any]]] = [
    (values.text, "must be a string", [5]),
    (values.text, "must be one line", ["a\nb", "a\rb", "a\0b"]),
    (values.non_empty, "must not be empty", ["  "]),
    (values.visible, "must not be empty", [" "]),
    (values.interpreter, "must", ["latest"]),
    (values.visible, "must be a string", [5]),
    (values.flag, "must be true or false", [1, "maybe", "TRUE", " true", "on", "yes", "1", "0", "", None]),
    (values.duration, "must be a duration", [-1, True, math.nan, math.inf, 90, 1.5, [5], "90", "30 min"]),
    (values.duration, "must be a duration", ["2 hours", "7D", " 7d", "1 d", "1days", "", "soon", "-5s", "1e3"]),
    (values.duration, "must be at most 3650d", ["9" * 400 + "d"]),
    (values.limit, "must be longer than 0", [0, "0s"]),
    (values.limit, "must be at most 7d", ["8d"]),
    (values.interval, "must be", ["0"]),
    (jitter, "must be", ["2d"]),
    (values.interval_or_never, "must be", ["0", "Never", "", None, math.inf]),
    (windows, "must", ["Sa 1-5"]),
    (groups, "must be groups such as", ["django", "=x"]),
    (groups, "must be a table of groups", [["a"], 5]),
    (groups, "must name groups in small letters", [{"A b": ["x"]}, "a/b=x"]),
    (groups, "must", [{"a": []}, {"a": 5}, {"a": ["x y"]}, "a="]),
    (tables_by_package, "must be tables by package", [5, "Sat-Sun", "x = y", {"a": "Sat-Sun"}, {"a": {}}]),
    (tables_by_package, r"not upgrade; write `upgrade_packages` instead \(for a\)", [{"a": {"upgrade": "minor"}}]),
    (tables_by_package, r"window and publish, and not windows \(for a\)", [{"a": {"windows": "Sat"}}]),
    (tables_by_package, r"the word live or branch as publish \(for a\)", [{"a": {"publish": "main"}}]),
    (tables_by_package, r"'Sa' is not one \(for a\)", [{"a": {"window": "Sa"}}]),
    (tables_by_package, "must be names of packages", [{"": {"window": "Sat"}}, {"a b": {"window": "Sat"}}]),
    (tables_by_package, "must have one table for a-b", [{"a-b": {"window": "Sat"}, "A_b": {"publish": "branch"}}]),
    (values.count, "must be a whole number", [-1, 1.0, True, " 12 ", "", "-1", "1.5", "²", "٣"]),
    (values.port, "must be a port", [65536]),
    (values.port, "must be a whole number", ["x"]),
    (values.command, "must not be empty", ["", []]),
    (values.command, "must be a command: No closing quotation", ["echo 'a"]),
    (values.command, "must be a command", [5, ["a", 5]]),
    (values.command, "must be a command in words", ['["a", "b"]']),
    (values.url_or_command, "must be a URL or a command", ["http://", "http:///x", "http://[::1", "curl 'x"]),
    (values.url_or_command, "must be a URL or a command", ["http://example.org:port/"]),
    (values.url_or_command, "must not be empty", [""]),
    (values.url_or_command, "path of the socket goes into health_socket", ["http+unix://%2Frun%2Fsite.sock/"]),
    (values.url_or_none, "must", ["", "None", "osv.example.org", "ftp://x", "https://", "https://x:0/", 3]),
    (values.url_or_none, "must", ["https://x:y/", "https://a b/"]),
    (values.statuses, "must be one or more HTTP statuses", ["", [], [""], "ok", "6xx", "99", "600", "299-200", "2XX"]),
    (values.statuses, "must be one or more HTTP statuses", ["200 301", 200, [200], "200-", "-200", "20x", 200.0]),
    (values.statuses, "must be one or more HTTP statuses", [True, [True], None, {"a": 1}, "٢٠٠"]),
    (values.host, "must be the name of a host", ["http://shop", "shop/health", "ann@shop", "shop:port", "shop:99999"]),
    (values.host, "must be the name of a host", [":80", "a b", "größe", "[::1", "shop?x"]),
    (values.host, "must not be empty", [""]),
    (values.socket_path, "must be the absolute path", ["run/site.sock"]),
    (values.socket_path, "at most 107 bytes", ["/" + 107 * "x", "/" + 54 * "ü"]),
    (values.path, "must be a path", ["~nobody-of-this-name/x"]),
    (values.path, "must not be empty", [""]),
    (values.paths, "must be a path", ["~nobody-of-this-name/x"]),
    (values.paths_inside, "must name a file inside the project", ["../dist", ["/srv"]]),
    (values.paths_inside, "must be paths, none inside another", [["dist", "dist/js"], "dist, dist/"]),
    (values.file_inside, "must name a file inside the project", ["../requirements.txt", "/etc/passwd", "a/../.."]),
    (values.file_inside, "must name another file than", [".", "uv.lock", "./pyproject.toml", ".git/config"]),
    (A_LINK_MODE, "must be one of: clone, copy", ["hardlink", ["copy"]]),
    (BY_PACKAGE, "must be pairs such as", ["django"]),
    (BY_PACKAGE, "must be a table of packages", [5, ["a"]]),
    (BY_PACKAGE, "must be names of packages; '' is not one", [{"": "patch"}]),
    (BY_PACKAGE, r"must be one of: minor, patch \(for a\)", ["a=all"]),
    (values.ids, "separated by commas", [3, None, ["a", 3], {"a": 1}, '["a"]', True, "CVE-1 CVE-2", ["a b"], [" a"]]),
    (values.patterns, "below the top of the checkout", ["/srv", "../lib", ["my media", "a/../../b"]]),
    (sender, "has no @", ["nobody"]),
    (values.services, "must", ["slack"]),
    (values.s3_prefixes, "must", ["s3://b/../c"]),
    (values.package_patterns, "must", ["django>=5"]),
    (sender, "must not be empty", [""]),
    (addresses, "must be an address such as .*not JSON", ["[['A', 'a@b']]", '[["A",', "[" * 20_000]),
    (addresses, "must be an address such as .*not ", ["{}", '{"Ada": "a@b"}', 5]),
    (addresses, "must be an address such as", [" ", "", ","]),
    (addresses, "wrong item 1: the address .* has no @", ["null", "1", "Ada"]),
    (addresses, "wrong item 2: the address .* is not of the form name@domain", ['ada@example.org, "a@b"']),
    (addresses, "wrong item 1: .* is neither a pair", ['[["Ada"]]', '[["A","a@b","x"]]', '[["A",5]]', "[null]"]),
    (addresses, "wrong item 1: .* is neither a pair", [[date(2026, 1, 2)]]),  # which TOML knows, not JSON
    *((addresses, "wrong item 2: .* is neither a pair", [[["Ada", "ada@example.org"], one]]) for one in ODD),
    (addresses, "wrong item 1: the address 'Ada' has no @", ['["Ada", "ada@example.org"]']),
    (addresses, "has no @", ['[["Ada","ada.example.org"]]']),
    (addresses, "is not ASCII", [[["Ada", "ada@exämple.org"]]]),
    *(
        (addresses, "wrong item 1: the address .* is not of the form name@domain", [[["Ada", address]]])
        for address in (
            "@example.org", "ann@", "ann@exam ple.org", "ann@b@c", "a..b@c", "ann@-c", "ann@c.", "ann,bob@c",
            "<ann@c>", "ann@c>", "ann(x)@c", '"ann"@c', "a" * 250 + "@example.org",
        )
    ),
    (addresses, "has control characters", [["ann@example.org\nBcc: all@example.org"]]),
    *(
        (addresses, f"the {part} .* has control characters", [[[f"Ada{name}", f"ada@example.org{address}"]]])
        for bad in "\n\r\0\x1b\x85\u2028\ud800"
        for part, name, address in (("name", bad, ""), ("address", "", bad))
    ),
    (parse_address, "the address", ["", "releaser", "a@b, c@d", "a <b@c> d", "Ada <ada@example.org", "a@b\nX: y"]),
]  # fmt: skip


@pytest.mark.parametrize(("parse", "words", "wrong"), WRONG, ids=named)
def test_what_is_wrong_is_refused_with_what_would_be_right(
    parse: Callable[[Any], Any], words: str, wrong: list[Any]
) -> None:
    for value in wrong:
        with pytest.raises(ValueError, match=words) as caught:
            parse(value)
        assert str(caught.value).isprintable()


def test_an_enormous_wrong_value_is_not_shown_whole() -> None:
    with pytest.raises(ValueError, match="wrong item 1") as caught:
        addresses([["Ann", "x" * 10_000]])
    assert len(str(caught.value)) < 200


def test_no_address_exists_that_cannot_be_mailed_to() -> None:
    with pytest.raises(ValueError, match="not of the form"):
        Address(name="Ann", address="ann@example.org\nBcc: all@example.org")
