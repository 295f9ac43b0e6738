"""Settings that are unknown or wrong, wherever they stand: all of them are named in one report, and no secret is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.refusals import Refusal, refused

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory


@pytest.mark.story
def test_unknown_settings_are_reported_all_at_once(make_site: SiteFactory) -> None:
    site = make_site(venv=True, settings={"kep": 3, "colour": "green"}, dotenv={"RELEASER_SMTP_HOTS": "mail"})
    refusal = refused(site, env={"RELEASER_GIT_PUSSH": "off", "RELEASER_PROJECT": "/elsewhere"})
    refusal.says(site.path / "pyproject.toml", "tool.releaser.kep ", "Did you mean keep?")
    refusal.says(site.path / "pyproject.toml", "tool.releaser.colour ", "list of settings")
    refusal.says(site.outer / ".env", "RELEASER_SMTP_HOTS ", "Did you mean RELEASER_SMTP_HOST?")
    refusal.says("environment", "RELEASER_GIT_PUSSH ", "Did you mean RELEASER_GIT_PUSH?")
    assert len(refusal.problems) == 4


def everything_written(site: SampleSite, refusal: Refusal) -> str:
    """Return all that anybody could get to read of a run."""
    files = [path for path in site.state_dir.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files)
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in files]
    mails = [str(part.get_content()) for mail in site.outbox_mails() for part in mail.iter_parts()]
    assert mails
    return "\n".join([refusal.finished.stdout, refusal.finished.stderr, *texts, *mails])


def test_a_wrong_secret_is_not_shown(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    site.write_dotenv({"RELEASER_SMTP_PASWORD": "hunter3secret"})
    with (site.outer / ".env").open("a", encoding="utf-8") as file:
        file.write('RELEASER_SMTP_PASSWORD="hunter2\\nsecret"\n')
    refusal = refused(site)
    refusal.says(site.outer / ".env", "RELEASER_SMTP_PASSWORD ", "one line")
    refusal.says(site.outer / ".env", "RELEASER_SMTP_PASWORD ", "Did you mean RELEASER_SMTP_PASSWORD?")
    assert "hunter" not in everything_written(site, refusal)
