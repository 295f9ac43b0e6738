"""Many sites on one host: what is broken on three stops none of the others; if the first fails, the others wait."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.commands import console_script, run
from tests.support.crowds import OLD_TESTS, OPTIONS, TESTS, crowd_environment, make_crowd, without_django, write_sites
from tests.support.sites import SampleSite, SiteFactory

COUNT = 14


def update(site: SampleSite, file: Path, *, check: int) -> list[dict[str, Any]]:
    words: list[str | Path] = [console_script(), "update", "--sites", file, "--jobs", "2", "--json"]
    done = run(words, cwd=Path("/"), env=crowd_environment(site), check=check, timeout=500)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_of_many_sites_three_are_broken_and_a_first_one_holds_up_the_rest(
    make_site: SiteFactory, tmp_path: Path
) -> None:
    """What goes first holds up five others in a second scene: six sites, for the sake of time."""
    model = make_site.adopted(prepare=without_django, **OPTIONS)
    sites = make_crowd(model, tmp_path / "srv", COUNT)
    mail, sendmail = tmp_path / "mail", tmp_path / "sendmail"
    sendmail.write_text(f"#!/bin/sh\ncat > {mail}\n")
    sendmail.chmod(0o755)
    wanted = f'mail_to = ["ops@example.org"]\nmail = {{ sendmail = "{sendmail}", mail_from = "ops@example.org" }}'
    *well, unreadable, red, dead = sites
    (unreadable.path / "pyproject.toml").write_text("broken")
    red.push_commit("Need the alpha of old", {TESTS: OLD_TESTS})
    red.releaser("update", check=0)
    dead.write_dotenv({"RELEASER_RESTART": "false"})
    model.publish("alpha", "1.1.0")

    found = update(model, write_sites(tmp_path / "sites.toml", sites, more=wanted), check=6)
    told = [(Path(one["site"]), one["exit_code"]) for one in found if one["exit_code"]]
    assert told == [(dead.path, 6), (red.path, 5), (unreadable.path, 3)]
    assert [(Path(one["site"]), one["answer"]["result"]) for one in found[3:]] == [
        (site.path, "activated") for site in well
    ]
    assert f"\n{COUNT} sites, 3 failed, {COUNT - 3} updated on " in mail.read_text()

    well[0].write_dotenv({"RELEASER_RESTART": "false"})
    model.publish("beta", "1.1.0")
    found = update(model, write_sites(tmp_path / "sites.toml", well[:6], first=well[:1]), check=6)
    waits = f"{well[0].path}, which goes first, did not end well: its update ended with exit code 6"
    assert [one["waits"].partition(" is ready and waits: ")[2] for one in found] == ["", *[waits] * 5]
    assert {one["answer"]["result"] for one in found[1:]} == {"unchanged"}
