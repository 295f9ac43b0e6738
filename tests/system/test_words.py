"""Numbers, times and lists in words; long and dirty text is cut in the middle and cleaned."""

import html
import json
import re
import shlex
import time
from collections.abc import Callable
from datetime import timedelta, timezone
from urllib.parse import quote, quote_plus

import markupsafe
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from releaser.system.words import (
    Redactor,
    age,
    duration,
    elapsed,
    first_few,
    fit,
    one_line,
    plural,
    secrets_in_environment,
    secrets_in_urls,
    secrets_in_variables,
    show_time,
    size,
    strip_control,
    table,
    time_of_file,
    truncate,
    web_link,
)


def numbered(count: int) -> str:
    return "\n".join(f"line {number}" for number in range(1, count + 1))


@pytest.mark.parametrize("text", ["", "one line", numbered(200), numbered(201), "x" * 60_000, "a\n\nb\tc"])
def test_what_fits_is_left_alone(text: str) -> None:
    assert truncate(text) == text


def test_the_middle_lines_are_cut_and_counted() -> None:
    lines = truncate(numbered(500)).split("\n")
    assert lines[:40] == [f"line {number}" for number in range(1, 41)]
    assert re.fullmatch(r"\[\.\.\. 300 lines \([\d,]+ characters\) cut \.\.\.\]", lines[40])
    assert lines[41:] == [f"line {number}" for number in range(341, 501)]


@pytest.mark.parametrize(
    ("head", "tail", "kept"),
    [
        (1, 2, ["line 1", "[... 7 lines (49 characters) cut ...]", "line 9", "line 10"]),
        (0, 1, ["[... 9 lines (63 characters) cut ...]", "line 10"]),
        (1, 0, ["line 1", "[... 8 lines (63 characters) cut ...]"]),
    ],
)
def test_other_limits(head: int, tail: int, kept: list[str]) -> None:
    assert truncate(numbered(10), head_lines=head, tail_lines=tail).split("\n") == kept


def test_one_enormous_line_is_cut_by_characters() -> None:
    text = "a" * 500_000 + "b" * 500_000
    first, marker, last = truncate(text).split("\n")
    assert set(first) == {"a"}
    assert set(last) == {"b"}
    assert len(last) > 2 * len(first)
    assert marker == f"[... {len(text) - len(first) - len(last):,} characters cut ...]"
    assert len(truncate(text)) <= 60_000


def test_long_lines_leave_a_bit_of_both_ends() -> None:
    text = "\n".join(f"{number} " + "x" * 10_000 for number in range(1000)) + "\nthe end"
    capped = truncate(text)
    assert capped.startswith("0 xxx")
    assert capped.endswith("\nthe end")
    assert len(capped) <= 60_000
    assert re.search(r"\[\.\.\. 99\d lines \([\d,]+ characters\) cut \.\.\.\]", capped)


def test_lines_of_which_a_part_is_kept_are_not_counted_and_a_short_beginning_leaves_its_room_to_the_end() -> None:
    assert "[... 1 line (" in truncate("a" * 90_000 + "\nmiddle\n" + "b" * 90_000)
    assert "line" not in truncate("a" * 90_000 + "\n" + "b" * 90_000)
    capped = truncate("start\n" + "x" * 200_000, head_lines=1, max_chars=10_000)
    assert capped.startswith("start\n[...")
    assert len(capped) > 9_900


def test_truncating_twice_changes_nothing() -> None:
    for text in (numbered(500), "x" * 1_000_000, numbered(190) + "\n" + "y" * 90_000, ("z" * 999 + "\n") * 300):
        once = truncate(text)
        assert once != text
        assert truncate(once) == once


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("\x1b[1;31mFAILED\x1b[0m", "FAILED"),
        ("\x9b31mFAILED", "FAILED"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://e.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b(Btext\x1b=", "text"),
        ("a\x00b\x07c\x08d\x7fe", "abcde"),
        ("one\r\ntwo\r\r\nthree\rfour", "one\ntwo\nthree\nfour"),
        ("one\x0btwo\x0cthree\x85four\u2028five", "one\ntwo\nthree\nfour\nfive"),
        ("tab\tstays\n", "tab\tstays\n"),
        ("abc\u202edef\u2066\u061c\u200e", "abcdef"),
        ("\x9d0;title\x9ctext\x90q\x07\x9b31m", "text"),
        ("broken \udcff byte", "broken \ufffd byte"),
        ("a lone escape \x1b", "a lone escape "),
        ("äöü € 漢字 🎉", "äöü € 漢字 🎉"),
    ],
)
def test_control_characters_are_taken_out(dirty: str, clean: str) -> None:
    assert strip_control(dirty) == clean
    assert truncate(dirty) == clean.strip("\n")


def test_hostile_output_is_cleaned_in_linear_time_and_many_secrets_are_looked_for_in_little() -> None:
    begin = time.process_time()
    for unit in ("\x1b", "\x1b[", "\x1b]", "\x1b[0", "\x1bP", "\r", "\x1b "):
        truncate(unit * 100_000)
    assert time.process_time() - begin < 3
    redactor = Redactor([f's3cret-{number}-&"' for number in range(100)])
    begin = time.process_time()
    redactor.clean("a line of a log, as any other\n" * 20_000)
    assert time.process_time() - begin < 1


def test_one_line() -> None:
    assert one_line("  two\nlines\t and\r\nmore ") == "two lines and more"
    assert one_line("a\x00b\x1b[31mc\x85d\u2028e") == "a bc d e"
    assert [one_line("\udcff"), one_line("")] == ["\ufffd", ""]
    assert [one_line("x" * 100, limit=10), one_line("x" * 10, limit=10)] == ["x" * 9 + "…", "x" * 10]


def test_counts_are_in_the_singular_and_the_plural_and_of_many_names_the_first_few_are_named() -> None:
    nouns = ("package", "vulnerability", "process")
    assert [plural(1, noun) for noun in nouns] == ["1 package", "1 vulnerability", "1 process"]
    assert [plural(2, noun) for noun in nouns] == ["2 packages", "2 vulnerabilities", "2 processes"]
    assert [first_few("abc"[:count], most=2) for count in range(4)] == ["", "a", "a, b", "a, b and 1 more"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 seconds"),
        (59, "59 seconds"),
        (3599, "59 minutes"),
        (3600, "1 hour"),
        (86399, "23 hours"),
        (86400, "1 day"),
        (89 * 86400, "89 days"),
        (90 * 86400, "3 months"),
        (729 * 86400, "24 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_a_length_of_time_is_said_roughly(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize("seconds", [-1e300, -7e10, 0, 3e11, 1e300])
def test_each_time_of_a_file_exists_in_every_time_zone(seconds: float) -> None:
    """XFS and Btrfs keep years that `datetime` has none for; `touch -d @300000000000` sets one."""
    found = time_of_file(seconds)
    assert [show_time(found.astimezone(timezone(timedelta(hours=hours)))) for hours in (-14, 14)]


def test_times_and_sizes_in_columns_and_of_settings() -> None:
    exact = [duration(seconds, exact=True) for seconds in (90 * 86400, 36 * 3600, 90)]
    assert exact == ["90 days", "36 hours", "90 seconds"]
    assert [age(seconds) for seconds in (-1, 40, 300, 3 * 3600, 12 * 86400)] == ["0 s", "40 s", "5 min", "3 h", "12 d"]
    assert [elapsed(seconds) for seconds in (0, 12.34, 185)] == ["0.0 s", "12.3 s", "3 min 05 s"]
    assert [size(count) for count in (None, 999, 42_000_000, 12_300_000_000)] == ["-", "999 B", "42 MB", "12.3 GB"]


# Which links of strangers get into a mail


LINKS = [
    "https://example.org/changes",
    "http://example.org",
    "HTTPS://Example.org/?a=1&b=2#top",
    "https://example.org:8443/a_(b)%20c",
    "https://[2001:db8::1]/x",
]
NO_LINKS = [
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
]


def test_a_link_to_a_page_is_taken_as_it_is_and_anything_else_is_no_link() -> None:
    assert [web_link(f"  {text}\n") for text in LINKS] == LINKS
    assert [text for text in NO_LINKS if web_link(text) is not None] == []


# Keeping secrets out of what is shown


TEXTS = [
    # credentials in URLs
    ("https://ann:secret@example.org/x", "https://***@example.org/x"),
    ("https://ghp_0123456789@example.org/x.git", "https://***@example.org/x.git"),
    ("https://:secret@example.org", "https://***@example.org"),
    ("https://ann:@example.org", "https://***@example.org"),
    ("https://ann:p%40ss@example.org", "https://***@example.org"),
    ("https://ann:p@ss@example.org", "https://***@example.org"),
    ("https://ann:se:cr:et@example.org", "https://***@example.org"),
    ("git+https://ann:secret@example.org/x", "git+https://***@example.org/x"),
    ("ssh://git@example.org/x", "ssh://***@example.org/x"),
    ("HTTPS://Ann:Secret@example.org", "HTTPS://***@example.org"),
    ("(https://ann:secret@example.org)", "(https://***@example.org)"),
    ('url = "https://ann:secret@example.org"', 'url = "https://***@example.org"'),
    ("one https://a:b@x.example two http://c:d@y.example", "one https://***@x.example two http://***@y.example"),
    ("https://ann:secret@[::1]:8080/", "https://***@[::1]:8080/"),
    ("line https://ann:secret@example.org\nnext", "line https://***@example.org\nnext"),
    # what only looks like it
    ("https://example.org/x", "https://example.org/x"),
    ("https://example.org/@scope/name", "https://example.org/@scope/name"),
    ("https://example.org?to=ann@example.org", "https://example.org?to=ann@example.org"),
    ("https://example.org#ann@example.org", "https://example.org#ann@example.org"),
    ("see https://example.org or write to ann@example.org", "see https://example.org or write to ann@example.org"),
    ("git@example.org:x.git", "git@example.org:x.git"),
    ("ann@example.org", "ann@example.org"),
    ("", ""),
    # secrets that it was told of
    ("the password is hunter22.", "the password is ***."),
    ("hunter22hunter22", "******"),
    ("Hunter22", "Hunter22"),
    ("a.b*c", "***"),
    ("axbbc", "axbbc"),
    ("hunter222", "***"),
    ("grün & größer", "*** & größer"),
    ("a pin of 123 is short", "a pin of 123 is short"),
]


def test_secrets_are_masked_and_nothing_else() -> None:
    redactor = Redactor(["hunter22", "hunter222", "a.b*c", "grün", "123", ""])
    for text, expected in TEXTS:
        assert redactor.clean(text) == expected
        assert redactor.clean(expected) == expected
    assert Redactor().clean("https://ann:secret@example.org or hunter22") == "https://***@example.org or hunter22"
    assert redactor.line("hun\x1b[31mter22") == "***"  # whatever colour stands in it


URLS = [
    ("https://ann:secret@example.org", {"secret"}),
    ("https://ann:p%40ss@example.org", {"p%40ss", "p@ss"}),
    ("https://ann:p@ss@example.org", {"p@ss"}),
    ("https://ann:se:cret@example.org", {"se:cret"}),
    ("https://:secret@example.org", {"secret"}),
    ("https://glpat-0123456789@example.org/x", {"glpat-0123456789"}),
    ("https://glpat-0123456789:@example.org/x", {"glpat-0123456789"}),
    ("https://glpat-0123456789:x-oauth-basic@example.org/x", {"glpat-0123456789"}),
    ("https://oauth2:glpat-0123456789@example.org/x", {"glpat-0123456789"}),
    ("git+https://token-1234@example.org/x", {"token-1234"}),
    ("ssh://git@example.org/x", set()),
    ("ssh://deploy:secret@example.org/x", {"secret"}),
    ("https://example.org/a:b@c", set()),
    ("https://example.org?user=a:b@c", set()),
    ("git@example.org:x.git", set()),
    ('[remote "origin"]\n\turl = https://a:one1@x.example\n\turl = https://b:two2@y.example\n', {"one1", "two2"}),
    ("", set()),
]


def test_passwords_and_tokens_are_found_in_urls_and_masked_where_they_stand_alone() -> None:
    assert [(text, secrets_in_urls(text)) for text, _ in URLS] == URLS
    redactor = Redactor(secrets_in_urls("https://ghp_0123456789:@example.org"))
    assert redactor.clean("fatal: bad token ghp_0123456789") == "fatal: bad token ***"


def test_the_environment_may_hold_secrets_for_uv() -> None:
    environ = {
        "UV_INDEX_PRIVATE_PASSWORD": "one1",
        "UV_INDEX_PRIVATE_USERNAME": "ann",
        "UV_PUBLISH_TOKEN": "two2",
        "UV_PUBLISH_PASSWORD": "three3",
        "UV_GITHUB_TOKEN": "four4",
        "UV_INDEX_URL": "https://ann:five5@example.org/simple",
        "UV_EXTRA_INDEX_URL": "https://a:six66@x.example https://b:seven7@y.example",
        "UV_CACHE_DIR": "/var/cache/uv",
        "MY_INDEX_URL": "https://ann:eight8@example.org",
        "PASSWORD": "nine9",
    }
    assert secrets_in_environment(environ) == {"one1", "two2", "three3", "four4", "five5", "six66", "seven7"}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DB_PASSWORD", "s3cret", {"s3cret"}),
        ("SECRET_KEY", "django-insecure-x", {"django-insecure-x"}),
        ("API_TOKEN_2", "correcthorsebattery", {"correcthorsebattery"}),
        ("STRIPEKEY", "0123456789ab", {"0123456789ab"}),
        ("SECRETKEY_1", "0123456789ab", {"0123456789ab"}),
        ("APIKEY_LIVE", "0123456789ab", {"0123456789ab"}),
        ("MYSQLPASSWORD_2", "0123456789ab", {"0123456789ab"}),
        ("sentry_dsn", "https://0123456789abcdef@sentry.example.org/4", {"0123456789abcdef"}),
        ("DATABASE_URL", "postgresql://shop:f1ve%2Fvfive@db/shop", {"f1ve%2Fvfive", "f1ve/vfive"}),
        ("KEYS", "one-first-key,two-second-key", {"one-first-key", "two-second-key"}),
        ("KEY", "-----BEGIN KEY-----\nMIIEvQIBADAN\nzz\n-----END KEY-----", {"MIIEvQIBADAN"}),
        ("KEY", "-----BEGIN KEY-----\\nMIIEvQIBADAN\\n-----END KEY-----", {"MIIEvQIBADAN"}),
        # what would tear ordinary text apart
        ("SECRET_BACKEND", "django", set()),
        ("TOKEN_CHECK", "true", set()),
        ("TOKEN_SECONDS", "86400000", set()),
        ("DB_PASSWORD", "postgres", {"postgres"}),
        ("DB_PASSWORD", "abc", set()),
        ("SECRET_ROTATION", "true", set()),
        ("DATABASE_URL", "postgresql://postgres:postgres@db/postgres", set()),
        ("TOKEN_ALGORITHM", "RS256", set()),
        ("SSL_KEY_FILE", "/etc/ssl/private/shop.pem", set()),
        ("PASSKEY_RP_ID", "shop.example.org", set()),
        ("KEYCLOAK_HOST", "login.example.org", set()),
        ("TOKENIZER", "sentence-piece", set()),
        ("PASSWORD_HASHER", "argon2-cffi", set()),
        ("CACHE_KEY_PREFIX", "shop-2026", set()),
        ("SHOP_NAME", "p4ssw0rd-of-nobody", set()),
        ("SECRET", "", set()),
    ],
)
def test_secrets_are_known_by_their_names_and_in_urls(name: str, value: str, expected: set[str]) -> None:
    found = secrets_in_variables({name: value})
    assert expected <= found
    assert found <= expected | {value}
    assert bool(found) == bool(expected)


QUOTED = "p/ss 'w\"örd'\\1&"


@pytest.mark.parametrize(
    "form", [str, repr, ascii, quote, quote_plus, shlex.quote, html.escape, markupsafe.escape, json.dumps]
)
def test_a_secret_is_masked_however_it_is_quoted(form: Callable[[str], str]) -> None:
    assert "rd" not in Redactor([QUOTED]).clean(f"<{form(QUOTED)}> {quote(QUOTED, safe='')}")


def test_what_programs_look_up_is_masked_in_urls_alone() -> None:
    content = {
        "path": "/srv/shop-2026",
        "changes": [{"name": "shop-2026", "old": "https://ann:shop-2026@x.example", "through": ["shop-2026"]}],
        "headline": "shop-2026",
    }
    assert Redactor(["shop-2026"]).clean_all(content) == {
        "path": "/srv/shop-2026",
        "changes": [{"name": "shop-2026", "old": "https://***@x.example", "through": ["***"]}],
        "headline": "***",
    }


def test_columns_are_as_wide_as_they_must_be_and_lines_end_with_their_last_word() -> None:
    assert table([["a", "bb", ""], ["ccc", "d", ""], ["", "", "e"]]) == ["a    bb", "ccc  d", "         e"]
    assert table([]) == []


AUDIT = [
    ["PACKAGE", "VERSION", "VULNERABILITY", "ABOUT"],
    ["djangorestframework-simplejwt", "5.1.2", "GHSA-aaaa-bbbb-cccc (CVE-2026-12345)", "a long story of five words"],
]


def test_a_table_fits_and_loses_nothing() -> None:
    words = [word for row in AUDIT for cell in row for word in cell.split()]
    for width in (120, 100, 80, 60, 40):
        lines = fit(AUDIT, width)
        assert max(map(len, lines)) <= max(width, len(AUDIT[1][0]))
        assert " ".join(lines).split() == words


def test_what_leaves_no_room_for_the_others_goes_below_and_the_last_column_is_wrapped() -> None:
    assert fit(AUDIT, 60) == [
        "PACKAGE                        VERSION",
        "    VULNERABILITY  ABOUT",
        "djangorestframework-simplejwt  5.1.2",
        "    GHSA-aaaa-bbbb-cccc (CVE-2026-12345)  a long story of",
        "    five words",
    ]
    rows = [["", "RELEASE", "WHY"], ["keep", "20261120T061200Z", "it is live; a process is using it"]]
    assert fit(rows, 52) == [
        "      RELEASE           WHY",
        "keep  20261120T061200Z  it is live; a process is",
        "                        using it",
    ]
    assert fit(rows, 80) == table(rows)


@given(st.lists(st.text("ab é\t\n\x1b[m\ud800", max_size=6), max_size=6))
@example(["the", "word", "hush"])
@example(["ends with a secret: hu", "sh-sh"])
@example([" edge", "edge ", "two  blanks"])
@example(["https://user:password@example.org/"])
@example(["long " * 500, "short"])
@example(["plain", "a table of words"])
def test_many_texts_are_cleaned_as_each_of_them_is(texts: list[str]) -> None:
    redactor = Redactor(["hush", "hu\nsh-sh"])
    assert redactor.lines(texts) == [redactor.line(text) for text in texts]
