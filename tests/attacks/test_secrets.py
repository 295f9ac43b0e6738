"""No secret of the site gets into a report, a mail, a log, JSON or the stored output of its tests."""

import grp
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.e2e.scenes import everything_said
from tests.support.guards import require
from tests.support.sites import SampleSite, SiteFactory, variables

OUTER, OWN, NAMED, IN_URL = "0uter&\"pa ss/w'rd", "0wn-secret-of-the-site", "n4med-token-of-file", "p4ss%2Fof-db"
LINES = ("MIIEvQIBADANBgkqhkiG9w0B", "AQEFAASCBKcwggSjAgEAAoIB")
PEM = "\n".join(("-----BEGIN PRIVATE KEY-----", *LINES, "-----END PRIVATE KEY-----"))
FORMS = """\
import html, json, os, re, shlex, sys, urllib.parse
from pathlib import Path

text = Path("../.env").read_text() + Path(".env").read_text() + Path("../site.env").read_text()
for value in re.findall(r"='(.*?)'\\n", text, re.DOTALL):
    value = value.replace("\\\\'", "'")
    coloured = f"{value[:4]}\\x1b[31m{value[4:]}"
    for form in (str, repr, json.dumps, shlex.quote, html.escape, urllib.parse.quote, urllib.parse.quote_plus):
        print("leak:", form(value), coloured)
sys.stdout.write("x" * 4_000_000 + "\\n")
print("the last of the leaks: sunshine, but sunshines are no secret")
sys.exit(%d)
"""


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site whose secrets lie in every `.env` there is; its tests print them all."""
    site = make_site.adopted("1.1.0")
    url, file = f"postgresql://shop:{IN_URL}@db/shop", "../site.env"
    secrets = {"DB_PASSWORD": OUTER, "DATABASE_URL": url, "SSH_KEY": PEM, "OUTER_SECRET": "abc"}
    site.write_dotenv({**secrets, "RELEASER_ENVIRONMENT_FILE": file})
    (site.outer / "site.env").write_text(f"API_TOKEN='{NAMED}'\nNAMED_SECRET=abc\n", encoding="utf-8")
    (site.path / ".git" / "info" / "exclude").write_text(".env\n", encoding="utf-8")
    (site.path / ".env").write_text(f"SECRET_KEY='{OWN}'\nADMIN_PASSWORD=sunshine\nPIN_SECRET=abc\n", encoding="utf-8")
    return site


@pytest.mark.parametrize("status", [0, 1])
def test_secrets_that_tests_and_commits_print_are_masked(site: SampleSite, status: int) -> None:
    site.push_commit(f"Write {OWN} where all can see it", {"run_tests.py": FORMS % status})
    site.publish("alpha", "1.2.0")
    finished = [site.releaser("update", "-v", *words) for words in ([], ["--json"])]
    answers = [site.releaser(*words) for words in (["show", "live", "--json"], ["status"], ["history", "--json"])]
    live = site.state_dir / "releases" / site.live_id()
    answers.append(site.releaser("show", live.name))
    said = everything_said(site, *(text for one in (*finished, *answers) for text in (one.stdout, one.stderr)))
    said += "".join(path.read_text(encoding="utf-8") for path in site.state_dir.glob("releases/*/test-output.txt"))
    assert "leak: ***" in said
    assert "the last of the leaks: ***, but sunshines are no secret" in said
    told = " ".join(site.releaser("check").stderr.split())
    assert all(f"{name}_SECRET: too short to be masked" in told for name in ("PIN", "OUTER", "NAMED"))
    for secret in (OUTER, OWN, NAMED, IN_URL, *LINES, "p4ss", "w'rd", "0uter", "ss%2Fw"):
        assert secret not in said, secret


@pytest.mark.parametrize("name", [".env", "site.env", "directory", "behind a symlink", ".env of a group", "a group"])
def test_a_file_of_variables_that_others_may_write_is_not_read(site: SampleSite, name: str) -> None:
    file = {"RELEASER_ENVIRONMENT_FILE": "../site.env"}
    site.write_dotenv(file if name == "site.env" else {**file, "RELEASER_UV": "/tmp/evil"})
    place = site.outer / {"site.env": name, "directory": "", "a group": ""}.get(name, ".env")
    if name == "behind a symlink":
        place = place.rename(site.outer / "real.env")
        (site.outer / ".env").symlink_to(place)
    usual, (who, letter) = place.stat().st_mode & 0o7777, ("all users", "o")
    if "group" in name:
        require(os.geteuid() == 0, "root gives files to a group")
        group = next(one for one in grp.getgrall() if one.gr_gid not in (0, 65534))
        os.chown(place, -1, group.gr_gid)
        who, letter = f"the group {group.gr_name}", "g"
    place.chmod(usual | (0o002 if letter == "o" else 0o020))
    before, live = site.snapshot(), site.live_id()
    for words in (["check"], ["status"], ["update"], ["rollback"], ["run", "--", "true"]):
        finished = site.releaser(*words, check=3)
        assert f"{who} can write to" in finished.stderr
        assert f"`chmod {letter}-w {place}`" in finished.stderr
        assert "/tmp/evil" not in finished.stderr
    assert (site.snapshot(), site.live_id()) == (before, live)
    place.chmod(0o1777 if place.is_dir() and letter == "o" else usual)  # as /tmp: nobody may replace files of others
    site.write_dotenv()
    site.releaser("check", check=0)


def test_a_dotenv_in_the_checkout_that_everybody_may_write_keeps_updates_away(site: SampleSite) -> None:
    (site.path / ".env").chmod(0o646)
    for words in (["check"], ["update"]):
        assert f"all users can write to {site.path / '.env'} (mode 0646)" in site.releaser(*words, check=3).stderr
    for words in (["run", "--", "true"], ["rollback"]):
        site.releaser(*words, check=0)


def test_secrets_that_every_user_can_read_are_reported(make_site: SiteFactory) -> None:
    base = Path(tempfile.mkdtemp(prefix="open-"))  # pytest's own directories are for one user alone
    base.chmod(0o755)
    try:
        site = make_site.adopted().copy(base)
        site.path.chmod(0o755)
        (site.path / ".git" / "info" / "exclude").write_text(".env\n", encoding="utf-8")
        site.write_dotenv(variables(environment_file="../site.env", smtp_password_file="../password"))
        files = [site.outer / ".env", site.path / ".env", site.outer / "site.env", site.outer / "password"]
        for file in files:
            with file.open("a", encoding="utf-8") as out:
                out.write("s3cr3t-password\n" if file.name == "password" else "DB_PASSWORD=s3cr3t-password\n")
        told = "contains a secret, but all users of this host can read it (mode 0644)"
        for outer, mode, expected in ((0o755, 0o644, files), (0o755, 0o640, []), (0o750, 0o644, [])):
            site.outer.chmod(outer)
            for file in files:
                file.chmod(mode)
            warnings = " ".join(site.json("check")["warnings"])
            assert [file for file in files if f"{file} {told}" in warnings] == expected
    finally:
        shutil.rmtree(base)
