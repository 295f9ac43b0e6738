"""Keeping secrets out of what is shown."""

from __future__ import annotations

import pytest

from releaser.system.redaction import Redactor, secrets_in_environment, secrets_in_urls

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


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_secrets_are_masked_and_nothing_else(text: str, expected: str) -> None:
    redactor = Redactor(["hunter22", "hunter222", "a.b*c", "grün", "123", ""])
    assert redactor.clean(text) == expected
    assert redactor.clean(expected) == expected


def test_without_secrets_there_are_still_urls() -> None:
    assert Redactor().clean("https://ann:secret@example.org or hunter22") == "https://***@example.org or hunter22"


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


@pytest.mark.parametrize(("text", "expected"), URLS)
def test_passwords_and_tokens_are_found_in_urls(text: str, expected: set[str]) -> None:
    assert secrets_in_urls(text) == expected


def test_what_was_found_in_a_url_is_masked_where_it_stands_alone() -> None:
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
