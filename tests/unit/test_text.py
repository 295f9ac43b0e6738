"""Text from outside: which forms of a secret are hidden, and which characters are escaped."""

import base64
import json
import os
import shlex
import unicodedata
from urllib.parse import quote

import pytest

from releaser.system import text
from releaser.system.text import escape, escape_lines, find_error_line, find_secrets, hide_secrets, redact

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
#: Variables, separated by spaces, whose values are secrets, and those whose values are not.
SECRET_NAMES = """
    PASSWORD DB_PASS DBPASS PGPASSWORD MYSQL_PWD DB_PASSWD SSH_PASSPHRASE WIFI_PASSCODE PASS_PHRASE SMTP_PASS password
    SECRET_KEY SECRET_KEY_BASE SECRET_KEY_FALLBACKS DJANGO_SECRET_KEY_2 SECRETKEY CLIENT_SECRET clientSecret
    SECRETS_JSON API_KEY APIKEY apiKey X-Api-Key API_KEYS STRIPE_KEY STRIPE_KEY_LIVE AWS_ACCESS_KEY_ID
    AWS_SECRET_ACCESS_KEY KEY private_key ENCRYPTION_KEY_BASE64 SIGNING_KEY_OLD accessToken GITHUB_TOKEN TOKENS TOKEN2
    AUTHTOKEN SALT HASHID_SALT
    SENTRY_DSN DATABASE_PASSWORD_STAGING PASSWORD_PRODUCTION SMTP_PASSWORD_NEW CREDENTIALS GOOGLE_CREDENTIAL DB_CREDS
    FERNET_KEYS REDISCLI_AUTH
"""
PLAIN_NAMES = """
    PASSENGER_APP_ENV PASSENGER_ROOT PASSWORD_RESET_TIMEOUT PASSWORD_HASHERS PASSWORD_FILE TOKEN_TYPE TOKEN_URL
    PWD OLDPWD AUTH_TOKEN_CLASS CACHE_KEY_PREFIX MONKEY HOTKEY TURKEY SECRET_NAME SECRETARY API_KEY_NAME KEYCLOAK_REALM
    KEYBOARD BYPASS BYPASS_CACHE COMPASS_HOME GIT_ASKPASS GIT_CONFIG_KEY_0 SALTED_MODE DSN_HOST AUTHOR
    TOKENIZERS_PARALLELISM USER AUTH_BACKEND SSH_AUTH_SOCK
"""
#: A password with characters that other forms escape, and what programs print of it.
ODD = "pä\"ss\\w0/rd+'<& x"
ODD_FORMS = {
    "plain": ODD,
    "JSON": json.dumps({"password": ODD}),
    "JSON in UTF-8": json.dumps([ODD], ensure_ascii=False),
    "JSON in JSON": json.dumps([json.dumps([ODD])]),
    "Python": repr([ODD]),
    "Python, as ASCII": ascii((ODD,)),
    "Python, as bytes": repr([ODD.encode()]),
    "shell": shlex.quote(ODD),
    "shell, by set -x": ODD.replace("'", "'\\''"),
    "path of a URL": quote(ODD),
    "part of a URL": quote(ODD, safe=""),
    "lower-case hex": quote(ODD).replace("%C3%A4", "%c3%a4").replace("%5C", "%5c").replace("%2B", "%2b")
    .replace("%3C", "%3c"),
    "form": "pw=p%C3%A4%22ss%5Cw0%2Frd%2B%27%3C%26+x&b=1",
    "HTML": "<p>pä&quot;ss\\w0/rd+&#x27;&lt;&amp; x</p>",
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_hidden", {})


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
    hide_secrets({"SECRET_KEY_FALLBACKS": "0ld-key-1,0ld-key-2"})
    hide_secrets({"RELEASER_SMTP_PASSWORD": "pa/ss w0rd", "SHOP_JSON": '{"hosts": [{"token": "abc4567"}]}'})
    hide_secrets(
        "url = 'https://ada:s%2Fcret-x@example.org' and https://tok3n-alone-in-url@example.org, ssh://deployment@host"
    )
    for secret in (
        "pa/ss w0rd",
        "pa%2Fss%20w0rd",
        "abc4567",
        "s%2Fcret-x",
        "s/cret-x",
        "tok3n-alone-in-url",
        "0ld-key-2",
    ):
        assert redact(f"535 no: {secret}!") == "535 no: ***!"
    for plain in ("/srv/shop-of-ada", os.__file__, "core.editor", "deployment"):
        assert redact(plain) == plain


@pytest.mark.parametrize("is_secret", [True, False])
def test_law_28_29_the_last_word_of_a_name_says_that_a_value_is_secret(is_secret: bool) -> None:
    names = (SECRET_NAMES if is_secret else PLAIN_NAMES).split()
    wrong = [name for name in names if bool(find_secrets({name: "production-1"})) != is_secret]
    assert len(names) > 20
    assert not wrong


def test_law_28_29_a_user_alone_in_a_url_is_hidden_there_and_nowhere_else() -> None:
    hide_secrets("https://acme-dev@bitbucket.org/acme/site.git postgres://website1@/website1 https://x-1:@example.org")
    path = "Run `git -C /srv/acme-dev/website1 status`."
    assert redact(path) == path
    assert redact("https://acme-dev@bitbucket.org/ failed") == "https://***@bitbucket.org/ failed"
    for token in ("0123456789abcdef", "glpat-abcDEF_ghiJKLmnop"):
        hide_secrets(f"https://{token}@example.org")
        assert redact(f"no: {token}") == "no: ***"


def test_law_28_29_a_secret_of_letters_alone_is_hidden_as_a_word() -> None:
    hide_secrets({"DB_PASSWORD": "postgres", "PASSWORD": "produktion"})
    for shown in ("the /srv/postgresql of mypostgres", "produktionen postgres_data"):
        assert redact(shown) == shown
    for shown in ("no '§'", "x §", "x\\n§\\n", "§.", "a%3A§%40b", "mysql -p§ shop", "://§:§@"):
        assert "postgres" not in redact(shown.replace("§", "postgres"))


@pytest.mark.parametrize("name", ODD_FORMS)
def test_law_29_a_known_secret_is_hidden_in_other_clothes(name: str) -> None:
    hide_secrets({"DB_PASSWORD": ODD})
    shown = redact(f"got: {ODD_FORMS[name]}")
    assert ("***" in shown, "w0" in shown) == (True, False), shown


def test_law_29_a_known_secret_is_hidden_in_base64() -> None:
    for secret in ("hunter22-Secret", "pä~~ÿÿ??ss>w0rd", "l0ng" * 50):
        hide_secrets({"RELEASER_SMTP_PASSWORD": secret})
        for before in ("", "a:", "ad:", "ada:", "\0mailer\0"):
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                code = encode(f"{before}{secret}".encode()).decode()
                shown = redact(f"535 AUTH PLAIN {code} rejected")
                assert len(shown) < len("535 AUTH PLAIN *** rejected") + len(before) * 4 / 3 + 6, shown


def test_law_28_29_a_secret_may_have_bytes_that_are_no_text() -> None:
    hide_secrets({"PASSWORD": os.fsdecode(b"caf\xe9-secret"), "TOKEN_JSON": '["half \\ud83d of it"]'})
    for shown in (os.fsdecode(b"caf\xe9-secret"), "caf%E9-secret", "caf\ufffd-secret", "half \ud83d of it"):
        assert redact(f"no {shown}") == "no ***"


def test_law_28_what_could_control_a_terminal_or_forge_a_line_is_escaped() -> None:
    odd = [chr(number) for number in range(0x110000) if unicodedata.category(chr(number)) in ("Cc", "Cf", "Zl", "Zp")]
    joiners = "\u200c\u200d"  # of Persian words, and of families of emoji
    assert escape(f"می{joiners[0]}خواهم 👩{joiners[1]}💻") == f"می{joiners[0]}خواهم 👩{joiners[1]}💻"
    odd = [character for character in odd if character not in joiners]
    shown = escape("".join(odd))
    assert (shown.isascii(), shown.replace("\t", "").isprintable()) == (True, True)
    assert escape("a\nb\x1b\x9b\u202e\udce9 é 日本 👍") == "a\\nb\\u001b\\u009b\\u202e\\udce9 é 日本 👍"
    assert escape_lines("a\r\nb\x1b") == "a\nb\\u001b"
    assert redact("caf\udce9") == "caf\\udce9"


#: What programs print, and the line that says why they failed.
FAILURES = {
    "hint: try this\nerror: no such ref\n  cause: it was moved\n": "no such ref: it was moved",
    "Traceback (most recent call last):\n  File x\nValueError: 7\n": "ValueError: 7",
    "a.c: In function f:\na.c:2:7: error: no x before y\n    2 | x y;\n      |   ^\n": "a.c:2:7: error: no x before y",
    "a.c:1:10: fatal error: Python.h: No such file\ncompilation terminated.\n": (
        "a.c:1:10: fatal error: Python.h: No such file"
    ),
    "git-lfs filter-process: 1: git-lfs: not found\nfatal: the remote end hung up unexpectedly": (
        "git-lfs filter-process: 1: git-lfs: not found"
    ),
    "git@a: Permission denied (publickey).\nfatal: Could not read from remote repository.\n\nPlease make sure": (
        "git@a: Permission denied (publickey)"
    ),
    "fatal: the remote end hung up unexpectedly": ("the remote end hung up unexpectedly"),
    "warning: x\nerror: Failed to fetch\n  cause: no route": ("Failed to fetch: no route"),
    "one\ntwo": ("two"),
    "\n": "",
}


@pytest.mark.parametrize("output", FAILURES)
def test_law_28_the_line_that_says_why_a_program_failed(output: str) -> None:
    assert find_error_line(output) == FAILURES[output]
