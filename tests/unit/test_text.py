"""Text from outside: which forms of a secret are hidden, and which characters are escaped."""

import os
import unicodedata

import pytest

from releaser.system import text
from releaser.system.text import escape, escape_lines, hide_secrets, redact

SECRET = "hunTer2xQ9kLmN4pRs7"
#: What programs, servers and people print around a secret.
FORMS = [
    "https://ada:§@example.org/shop.git",
    "https://§@example.org/shop.git",
    "https://§:x-oauth-basic@example.org/shop.git",
    "https://ada:it's§@example.org/simple",
    "https://ada:a@§@example.org/simple",
    "postgres://shop:§@localhost:5432/shop",
    "postgres://shop:a/b§@localhost/shop",
    "redis://:§@localhost:6379/0",
    "mongodb+srv://shop:§@cluster.example.org/?tls=true",
    "host=db user=shop password=§ dbname=shop",
    "host=db user=shop password='a §' dbname=shop",
    "Server=db;Database=shop;Uid=shop;Pwd=§;",
    "AccountName=shop;AccountKey=§==;EndpointSuffix=core.windows.net",
    "Authorization: Basic §=",
    "Authorization: Bearer §",
    "authorization: token §",
    "Proxy-Authorization: Basic §",
    '{"Authorization": "Basic §"}',
    "{'Authorization': 'Bearer §', 'Accept': '*/*'}",
    '"headers": "{\\"Authorization\\": \\"Bearer §\\"}"',
    "X-Api-Key: §",
    "x-auth-token: §",
    "PRIVATE-TOKEN: §",
    "Cookie: sessionid=§; csrftoken=§",
    "Set-Cookie: sessionid=§; HttpOnly; Path=/",
    "curl -u ada:§ https://example.org",
    "curl --user ada:§ https://example.org",
    "mysqldump --password=§ shop",
    "mysqldump --password § shop",
    "twine upload --token §",
    "machine example.org login ada password §",
    "ALTER USER shop IDENTIFIED BY '§'",
    "DB_PASSWORD=§",
    "export SECRET_KEY='§'",
    "SECRET_KEY = 'django-insecure-§'",
    "STRIPE_KEY=§",
    "api_key: §",
    '"password": "§"',
    '"client_secret" : "a §, with words"',
    "{'NAME': 'shop', 'PASSWORD': '§', 'PORT': ''}",
    "?X-Amz-Signature=§&part=1",
    "https://example.org/hook?access_token=§",
    "aws_secret_access_key = §",
    "-----BEGIN OPENSSH PRIVATE KEY-----\n§\n§==\n-----END OPENSSH PRIVATE KEY-----",
    "-----BEGIN RSA PRIVATE KEY-----\\n§\\n-----END RSA PRIVATE KEY-----\\n",
    "-----BEGIN PRIVATE KEY-----\n§",
]
#: Tokens that show what they are.
TOKENS = [
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "gho_16C7e42F292c6912E7710c838347Ae178B4a",
    "github_pat_11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz0123456789ABCDEFG", "glpat-abcDEF123456_7890xyz",
    "pypi-AgEIcHlwaS5vcmcCJDU0", "AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE",
    "AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY",
    "xoxb-123456789012-abcdefghijkl", "sk_live_4eC39HqLyjWDarjtT1zdp7dc", "npm_abcdefghijklmnopqrstuvwxyz0123456789",
    "SG.ngeVfQFYQlKU0ufo8x5d1A.TwL2iGABf9DHoTf09kqeF8tAmbihYzrnopKc", "sk-proj-abcdefghij0123456789abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
]  # fmt: skip
#: Sentences that stay as they are.
PLAIN = [
    "The release 20261129T080000Z is live.",
    "Correct `smtp_password`.",
    "Set `RELEASER_SMTP_PASSWORD` in /srv/shop/.env.",
    "git+ssh://example.org/shop.git at http://localhost:8000/a@b",
    "django 5.2.1 -> 5.2.2, pypi-attestations 0.0.20, authlib 1.3, keyring 25.0, tokenize-rt 6.0",
    "sort(key=str.lower), cache-keys = 3, monkey: 4",
    "E   AssertionError: 3 == 4",
]


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_hidden", set())


@pytest.mark.parametrize("form", FORMS)
def test_law_29_the_usual_forms_of_secrets_are_hidden(form: str) -> None:
    shown = redact(form.replace("§", SECRET))
    assert SECRET not in shown
    assert "***" in shown
    assert redact(shown) == shown


@pytest.mark.parametrize("token", TOKENS)
def test_law_29_tokens_that_show_what_they_are_are_hidden(token: str) -> None:
    assert redact(f"remote: {token} is no user") == "remote: *** is no user"


@pytest.mark.parametrize("sentence", PLAIN)
def test_nothing_else_is_hidden(sentence: str) -> None:
    assert redact(sentence) == sentence


def test_law_29_known_values_are_hidden_wherever_they_stand() -> None:
    hide_secrets({"PWD": "/srv/shop-of-ada", "SSH_ASKPASS": os.__file__, "GIT_CONFIG_KEY_0": "core.editor"})
    hide_secrets({"RELEASER_SMTP_PASSWORD": "pa/ss w0rd", "SHOP_JSON": '{"hosts": [{"token": "abc4567"}]}'})
    hide_secrets(
        "url = 'https://ada:s%2Fcret-x@example.org' and https://tok3n-alone@example.org, ssh://deployment@host"
    )
    for secret in ("pa/ss w0rd", "pa%2Fss%20w0rd", "abc4567", "s%2Fcret-x", "s/cret-x", "tok3n-alone"):
        assert redact(f"535 no: {secret}!") == "535 no: ***!"
    for plain in ("/srv/shop-of-ada", os.__file__, "core.editor", "deployment"):
        assert redact(plain) == plain


def test_law_28_what_could_control_a_terminal_or_forge_a_line_is_escaped() -> None:
    odd = [chr(number) for number in range(0x110000) if unicodedata.category(chr(number)) in ("Cc", "Cf", "Zl", "Zp")]
    shown = escape("".join(odd))
    assert (shown.isascii(), shown.replace("\t", "").isprintable()) == (True, True)
    assert escape("a\nb\x1b\x9b\u202e\udce9 é 日本 👍") == "a\\nb\\u001b\\u009b\\u202e\\udce9 é 日本 👍"
    assert escape_lines("a\r\nb\x1b") == "a\nb\\u001b"
    assert redact("caf\udce9") == "caf\\udce9"
