"""Code of a candidate finds no secrets in its environment."""

import json
import os
import shlex
import sys
from pathlib import Path

import pytest

from releaser.system.environment import kind_of, of_git, of_uv
from tests.support.sites import SampleSite, SiteFactory
from tests.support.wheels import build_sdist

OWN = {"RELEASER_SMTP_PASSWORD": "letmein", "CREDENTIALS_DIRECTORY": "/run/credentials/it"}
INDEX = {"UV_INDEX_MINE_USERNAME": "me", "UV_INDEX_MINE_PASSWORD": "letmein", "UV_GITHUB_TOKEN": "letmein"}
AGENT = {"SSH_AUTH_SOCK": "/run/agent", "GIT_ASKPASS": "/bin/answers", "GIT_SSH_COMMAND": "ssh -i key"}
TOKENS = {"SLACK_TOKEN": "letmein", "STRIPE_SECRET": "letmein", "AWS_SECRET_ACCESS_KEY": "letmein", "TOKEN": "letmein"}
NEEDED = {"DATABASE_URL": "postgres://shop:letmein@localhost/shop", "SECRET_KEY": "letmein", "AWS_DEFAULT_REGION": "eu"}

_SPY = """
import json, os, sys
with open({place!r}, "a") as file:
    place = dict(PREFIX=os.path.realpath(sys.prefix), LIVE=os.path.realpath({link!r}))
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:2], {{**os.environ, **place}}]) + "\\n")
"""


def seen_in(place: Path) -> list[tuple[str, dict[str, str]]]:
    """Return what was started, by its last word, with its environment."""
    return [(words[-2], words[-1]) for words in map(json.loads, place.read_text(encoding="utf-8").splitlines())]


def spied_on(site: SampleSite, place: Path, version: str = "1.1.0") -> None:
    """Offer a version that writes down what it finds, and let restart and health check do the same."""
    spy = _SPY.format(place=str(place), link=str(site.link))
    site.publish("alpha", version, modules={"alpha/__init__.py": f'__version__ = "{version}"\n{spy}'})
    script = site.outer / "spy.py"
    script.write_text(spy, encoding="utf-8")
    python = shlex.quote(sys.executable)
    site.write_dotenv({f"RELEASER_{name}": f"{python} {script} {name}" for name in ("RESTART", "HEALTH_CHECK")})


def test_neither_a_candidate_nor_a_restart_finds_secrets_of_releaser(make_site: SiteFactory, tmp_path: Path) -> None:
    site, place = make_site.adopted("1.1.0"), tmp_path / "seen"  # it has static files, so that with a commit
    manage = (site.path / "manage.py").read_text(encoding="utf-8")  # they could be collected before that is live
    spy = _SPY.format(place=str(place), link=str(site.link))
    site.push_from_elsewhere({"manage.py": manage.replace("\nimport ", f"{spy}\nimport ", 1)})
    spied_on(site, place, "1.2.0")
    alone = {"RELEASER_MIGRATIONS": "off"}  # else Django says with these where static files go
    site.releaser("update", check=0, env={**OWN, **INDEX, **AGENT, **TOKENS, **NEEDED, **alone})
    found = seen_in(place)
    assert {"test", "collectstatic", "RESTART", "HEALTH_CHECK"} <= {word for word, _ in found}
    assert {environ["PREFIX"] == environ["LIVE"] for word, environ in found if word == "shell"} == {True, False}
    for word, environ in found:
        assert not {*OWN, *INDEX, *AGENT} & environ.keys(), word
        assert NEEDED.items() <= environ.items(), word
        of_live = word in ("RESTART", "HEALTH_CHECK", "collectstatic")
        if word in ("shell", "collectstatic"):  # the tokens are for what is live
            of_live = environ["PREFIX"] == environ["LIVE"]
            assert of_live or word == "shell"
        assert (TOKENS.items() <= environ.items()) if of_live else not TOKENS.keys() & environ.keys(), word


def test_a_build_backend_finds_no_secret(make_site: SiteFactory, tmp_path: Path) -> None:
    site, place = make_site.adopted(), tmp_path / "seen"
    spy = _SPY.format(place=str(place), link=str(site.link))
    first = f"import sys\nsys.argv = ['uv', 'build']\n{spy}"
    build_sdist(site.index.path, "alpha", "1.1.0", mark=Path(os.devnull), first=first)
    site.releaser("update", check=0, env={**OWN, **INDEX, **AGENT, **TOKENS, **NEEDED})
    assert site.live_version("alpha") == "1.1.0"
    for word, environ in seen_in(place):
        assert word == "build"
        assert not {*OWN, *INDEX, *AGENT, *TOKENS} & environ.keys()
        assert NEEDED.items() <= environ.items()


def test_tests_get_the_secrets_that_are_named_and_say_what_they_lack(make_site: SiteFactory, tmp_path: Path) -> None:
    site, place = make_site.adopted(), tmp_path / "seen"
    spied_on(site, place)
    needs = 'import os\nos.environ["SLACK_TOKEN"]\n'
    site.publish("alpha", "1.1.0", modules={"alpha/__init__.py": f'__version__ = "1.1.0"\n{needs}'})
    finished = site.releaser("update", check=5, env=TOKENS)
    assert "  releaser did not pass it SLACK_TOKEN; name allowed variables in `test_environment`\n" in finished.stderr
    site.releaser("update", "--force", check=0, env={**TOKENS, "RELEASER_TEST_ENVIRONMENT": "SLACK_TOKEN"})
    assert site.live_version("alpha") == "1.1.0"


@pytest.mark.parametrize(
    "name", ["RELEASER_KEEP", "UV_CACHE_DIR", "PATH", "GIT_CONFIG_GLOBAL", "CSRF_TOKENS", "PIP_INDEX_URL"]
)
def test_an_ordinary_variable_is_not_treated_as_a_secret(name: str) -> None:
    assert kind_of(name, "https://index.example.org/simple") is None


@pytest.mark.parametrize("name", ["RELEASER_VULNERABILITY_SERVICE", "PIP_INDEX_URL", "UV_WHATEVER"])
def test_a_password_in_a_url_is_treated_as_a_secret(name: str) -> None:
    assert kind_of(name, "https://me:letmein@example.org/") is not None


@pytest.mark.parametrize(
    ("line", "starts_git"),
    [
        ("", False),
        ('source = { git = "https://example.org/x" }', True),
        ('"x @ git+ssh://example.org/x"', True),
        ('keyring-provider = "subprocess"', True),
        ('digit = "1"\nlegit+ = "2"\nmy_keyring-provider = "3"\nkeyring-providers = "4"', False),
    ],
)
def test_uv_gets_the_passwords_of_indexes_and_what_git_needs_where_it_starts_git(
    tmp_path: Path, line: str, *, starts_git: bool
) -> None:
    (tmp_path / "uv.lock").write_text(line, encoding="utf-8")
    environ = {**OWN, **INDEX, **AGENT, **TOKENS, **NEEDED}
    expected = {**INDEX, **NEEDED, **({**AGENT, **TOKENS} if starts_git else {})}
    assert of_uv(environ, tmp_path) == {**expected, "GIT_OPTIONAL_LOCKS": "0", "UV_NO_WRAP": "1"}
    assert of_git(environ) == {**AGENT, **TOKENS, **NEEDED}
