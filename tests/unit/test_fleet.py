"""Commands for many sites and their digest, with a stand-in for what runs a site: it prints what a file there says."""

import json
import os
import pwd
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from releaser.fleet.digest import send_digest
from releaser.fleet.every import Answer, ask_all
from releaser.fleet.sites import ListedSite, SitesFile
from releaser.site.settings import Addresses, Host, MailSettings
from tests.support.commands import HOUSE, run
from tests.support.smtp import MailServer, mail_server, read_mail
from tests.support.terminal import run_on_terminal

OWNER = pwd.getpwuid(os.geteuid()).pw_name
WELL = '{"headline": "Everything is up to date.", "result": "no-changes", "news": "quiet"}'
BROKEN = {"headline": "Its tests fail.", "result": "failed"}


def make_program(place: Path) -> Path:
    """Return what stands in for the Python of releaser."""
    program = place / "python"
    lines = ["#!/bin/sh", 'while [ "$1" != --project ]; do shift; done', 'echo "$@" >"$2/words"', 'cat "$2/answer"', ""]
    program.write_text("\n".join(lines), encoding="utf-8")
    program.chmod(0o755)
    return program


def make_site(place: Path, name: str, answer: str) -> ListedSite:
    (place / name).mkdir()
    (place / name / "answer").write_text(answer, encoding="utf-8")
    return ListedSite(place / name, OWNER)


def write_sites(place: Path, sites: Sequence[ListedSite]) -> str:
    """Write `sites.toml`; return a program in Python that is `releaser`, but for what runs a site."""
    text = "".join(f"[[site]]\npath = '{site.path}'\nowner = '{OWNER}'\n" for site in sites)
    (place / "sites.toml").write_text(text, encoding="utf-8")
    return f"import sys; sys.executable = '{make_program(place)}'; from releaser.cli import main; main()"


def test_law_42_an_answer_that_is_nested_too_deep_is_none_and_harms_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(make_program(tmp_path)))
    sites = [make_site(tmp_path, "well", WELL)]
    sites += [
        make_site(tmp_path, f"deep-{depth}", f'{{"headline": "", "a": {"[" * depth}{"]" * depth}}}')
        for depth in (300, 900, 100_000)
    ]
    for jobs in (1, 2):
        answers = ask_all(sites, ["status"], os.environ, jobs=jobs)
        given = [(each.exit_code, each.reason) for each in answers]
        assert given == [(0, ""), *[(4, "No answer (exit status 0).")] * 3]


def test_law_28_an_owner_or_a_group_that_does_not_exist_is_named(tmp_path: Path) -> None:
    sites = [ListedSite(tmp_path, "nobody-here"), ListedSite(tmp_path, OWNER, "none-here")]
    reasons = [each.reason for each in ask_all(sites, ["status"], os.environ)]
    assert reasons == [
        "This host has no user `nobody-here`. Correct the sites file.",
        f"This host has no user `{OWNER}`, or no group `none-here`. Correct the sites file.",
    ]


def test_law_42_a_site_that_fills_the_disk_harms_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(make_program(tmp_path)))
    monkeypatch.setattr(tempfile, "tempdir", "/dev/full")
    sites = [make_site(tmp_path, name, WELL) for name in ("one", "two")]
    assert [each.exit_code for each in ask_all(sites, ["status"], os.environ, jobs=2)] == [0, 0]


def test_what_a_site_says_controls_no_terminal(tmp_path: Path) -> None:
    text = json.dumps({"headline": "\x1b]0;x\x07", "result": "\x1b[2J\u202e" + "x" * 90})
    sites = [make_site(tmp_path, "é" * 70, text), make_site(tmp_path, "well", WELL)]
    begin = write_sites(tmp_path, sites)
    words = [sys.executable, "-c", begin, "status", "--all", "--sites", str(tmp_path / "sites.toml")]
    code, shown = run_on_terminal(words, cwd=HOUSE, env=os.environ)
    assert (code, "\\u001b[2J" in shown) == (0, True), shown
    assert not {"\x1b", "\x07", "\u202e"} & {*shown}, shown
    assert re.search("^well .* 0  E", shown, re.MULTILINE), "nor does it hide what others say"


def test_options_reach_each_site_as_they_were_given(tmp_path: Path) -> None:
    site = make_site(tmp_path, "site", WELL)
    begin = write_sites(tmp_path, [site])
    options = ["--only", "security", "--wait", "5", "--override", "tea @ file:///tea.whl", "tea", "cake"]
    words = [sys.executable, "-c", begin, "update", "--all", "--sites", str(tmp_path / "sites.toml"), *options]
    run(words, cwd=HOUSE, env=os.environ, check=0)
    shown = (site.path / "words").read_text(encoding="utf-8").split(" --json ")[1]
    assert shown == "--only=security --override=tea @ file:///tea.whl --wait=5.0 -- tea cake\n"


def answer(exit_code: int = 5, **values: Any) -> Answer:
    return Answer("/srv/shop", OWNER, exit_code, answer=BROKEN | values)


class Digests:
    """The digests of nights about one site, and a mail server that may refuse addresses."""

    def __init__(self, place: Path, server: MailServer) -> None:
        self.place, self.server = place, server

    def night(self, *answers: Answer, to: tuple[str, ...] = ("ops@example.org",)) -> tuple[str, list[tuple[Any, str]]]:
        """Return the advice if a mail was refused, and the digests, each with its recipients."""
        settings = MailSettings(updater_admins=Addresses(to), smtp_host=Host(self.server.host))
        sites = SitesFile(self.place / "sites.toml", (), 60, settings)
        problem = send_digest(sites, answers, {"XDG_STATE_HOME": str(self.place)})
        digests = [(recipients, read_mail(mail)) for recipients, mail, _ in self.server.mails]
        self.server.mails.clear()
        return problem.advice if problem else "", digests


def test_law_26_a_digest_is_sent_once_to_whom_the_server_knows(tmp_path: Path) -> None:
    with mail_server() as server:
        server.unknown.add("adda@example.org")
        digests = Digests(tmp_path, server)
        advice, mails = digests.night(answer(), to=("ops@example.org", "adda@example.org"))
        assert advice == "The others have it. Correct `updater_admins`."
        assert [to for to, _ in mails] == [["ops@example.org"]]
        assert mails[0][1].count("Its tests fail.") == 1, mails[0][1]
        assert digests.night(answer()) == ("", []), "it is sent once"
        advice, mails = digests.night(answer(headline="No disk."), to=("adda@example.org",))
        assert ("It waits in" in advice, mails) == (True, [])
        advice, mails = digests.night(answer(headline="No disk."), to=("ada@example.org",))
        assert (advice, [to for to, _ in mails]) == ("", [["ada@example.org"]]), "the address was corrected"


def test_law_26_trouble_of_a_night_without_digest_is_in_the_next_one(tmp_path: Path) -> None:
    """A site that fails as in the night before is quiet; the digest of that night may not have come."""
    with mail_server() as server:
        digests = Digests(tmp_path, server)
        assert len(digests.night(answer(news="quiet"))[1]) == 1
        assert digests.night(answer(news="quiet")) == ("", [])
        updated = Answer("/srv/wiki", OWNER, 0, answer={"headline": "Live.", "result": "updated", "news": "new"})
        (_, text), *_ = digests.night(answer(news="quiet"), updated)[1]
        assert "as before: Its tests fail." in text
