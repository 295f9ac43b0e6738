"""No secret of the site gets into a report, a mail, a log, JSON or the output that is kept of its tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.scenes import everything_said

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory

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
print("the last of the leaks")
sys.exit(%d)
"""


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site whose secrets lie in every `.env` there is; its tests print them all."""
    site = make_site.adopted("1.1.0")
    escaped = OUTER.replace("'", "\\'")
    url, file = f"postgresql://shop:{IN_URL}@db/shop", "../site.env"
    site.write_dotenv({"DB_PASSWORD": escaped, "DATABASE_URL": url, "SSH_KEY": PEM, "RELEASER_ENVIRONMENT_FILE": file})
    (site.outer / "site.env").write_text(f"API_TOKEN='{NAMED}'\n", encoding="utf-8")
    (site.path / ".git" / "info" / "exclude").write_text(".env\n", encoding="utf-8")
    (site.path / ".env").write_text(f"SECRET_KEY='{OWN}'\n", encoding="utf-8")
    return site


@pytest.mark.parametrize("status", [0, 1])
def test_secrets_that_tests_and_commits_print_are_masked(site: SampleSite, status: int) -> None:
    site.commit(f"Write {OWN} where all can see it", {"run_tests.py": FORMS % status})
    site.push()
    site.publish("alpha", "1.2.0")
    finished = [site.releaser("update", "-v", *words) for words in ([], ["--json"])]
    answers = [site.releaser(*words) for words in (["show", "live", "--json"], ["status"], ["history", "--json"])]
    live = site.state_dir / "releases" / site.live_id()
    answers.append(site.releaser("show", live.name))
    said = everything_said(site, *(text for one in (*finished, *answers) for text in (one.stdout, one.stderr)))
    said += "".join(path.read_text(encoding="utf-8") for path in site.state_dir.glob("releases/*/test-output.txt"))
    assert "leak: ***" in said
    assert "the last of the leaks" in said
    for secret in (OUTER, OWN, NAMED, IN_URL, *LINES, "p4ss", "w'rd", "0uter", "ss%2Fw"):
        assert secret not in said, secret
