"""How many sites run side by side."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event, Lock
from typing import Any

import pytest

from releaser.commands.many import DEFAULT
from releaser.commands.queries import verify
from releaser.fleet import many_sites
from releaser.fleet.many_sites import ManySites, explain_earlier_failure, explain_failure, is_secret
from releaser.fleet.sites_file import ListedSite
from releaser.reporting.hold_status import OnHold
from releaser.reporting.many_sites import SiteAnswer
from releaser.site.run_lock import Holder
from releaser.site.settings import FIRST_FAILED_VARIABLE
from releaser.system.files import encode_state, plain
from releaser.system.process import Finished, Runner
from tests.reporting.makers import BRIEF, STATUS

SITES = [ListedSite(path=Path(f"/srv/{number}")) for number in range(6)]


def most_at_once(jobs: int, *, expected: int, disk: int = 1024) -> int:
    """Run sites that wait for each other until so many run; return how many did."""
    running, counts, lock, enough = [0], [0], Lock(), Event()

    def work(site: ListedSite) -> SiteAnswer:
        with lock:
            running[0] += 1
            counts.append(running[0])
            if running[0] >= expected:
                enough.set()
        enough.wait(60)
        time.sleep(0.03)  # for one more, which should not come
        with lock:
            running[0] -= 1
        return SiteAnswer(site=str(site.path), exit_code=0)

    found = list(ManySites(SITES, jobs=jobs, environ={})._run_each(SITES, work, disk=disk))
    assert sorted(one.site for one in found) == [str(site.path) for site in SITES]
    return max(counts)


@pytest.mark.parametrize(
    ("memory", "free", "most"), [(9000, 9000, 4), (9000, 0, 1), (0, 9000, 1), (9000, 2100, 2), (1100, 9000, 2)]
)
def test_no_more_run_at_once_than_there_is_memory_and_disk_for(
    monkeypatch: pytest.MonkeyPatch, memory: int, free: int, most: int
) -> None:
    monkeypatch.setattr(many_sites, "_available_memory", lambda: memory)
    monkeypatch.setattr(many_sites, "_free_disk", lambda _: free)
    assert most_at_once(4, expected=most) == most
    if not free:
        assert most_at_once(3, expected=3, disk=0) == 3  # a question needs none


@pytest.mark.parametrize(
    ("name", "value", "is_one"),
    [
        ("RELEASER_SMTP_PASSWORD", "x", True), ("RELEASER_SMTP_PASSWORD_FILE", "../password", True),
        ("RELEASER_SMTP_USER", "x", True), ("RELEASER_NOTIFY", "x", True), ("RELEASER_SOME_TOKEN", "x", True),
        ("RELEASER_CONSTRAINTS", "https://ann:x@example.org/c.txt", True), ("GITHUB_TOKEN", "x", True),
        ("RELEASER_SMTP_HOST", "localhost", False), ("RELEASER_SMTP_SECURITY", "tls", False),
        ("PGPASSWORD", "x", True), ("MYSQL_PWD", "x", True), ("API_KEY", "x", True), ("OLDPWD", "x", False),
        ("DATABASE_URL", "postgres://ann:x@localhost/a", True), ("HTTPS_PROXY", "http://ann:x@localhost", False),
        ("RELEASER_UV", "/opt/uv", False), ("RELEASER_KEEP", "3", False), ("PATH", "/bin", False),
    ],
)  # fmt: skip
def test_secrets_of_whoever_starts_it_are_for_the_summary_alone(name: str, value: str, is_one: bool) -> None:
    assert is_secret(name, value) is is_one


@pytest.mark.parametrize("number", ["1.5", "NaN", "-Infinity", "1e400"])
def test_an_answer_with_a_number_that_is_none_is_no_answer(monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    done = Finished(argv=(), returncode=0, stdout=f'{{"a": {number}}}', stderr="", output="", seconds=0)
    monkeypatch.setattr(Runner, "run", lambda *_, **__: done)
    answer = ManySites(SITES, jobs=1, environ={})._run(("status",), SITES[0], as_json=True).answer
    assert answer == ({"a": 1.5} if number == "1.5" else None)


def test_a_run_that_was_killed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    killed = Finished(argv=(), returncode=-9, stdout="", stderr="", output="", seconds=0)
    monkeypatch.setattr(Runner, "run", lambda *_, **__: killed)
    answer = ManySites(SITES, jobs=1, environ={})._run(("update",), SITES[0], as_json=True)
    assert (answer.exit_code, answer.errors) == (137, ("the run was ended by SIGKILL",))


@pytest.mark.parametrize(
    ("words", "file"),
    [(["--sites"], DEFAULT), (["--sites", "--all"], DEFAULT), (["--sites", "x"], Path("x")), ([], None)],
)
def test_all_sites_are_verified_by_the_usual_file_where_none_is_named(words: list[str], file: Path | None) -> None:
    assert verify.make_context("verify", words).params["sites"] == file


@pytest.mark.parametrize(
    ("code", "answer", "why"),
    [
        (0, {"result": "updated"}, ""),
        (0, {"result": "no-changes", "due_at": "2026-11-23T03:00:00+00:00"}, ""),
        (0, {"on_hold": [{"name": "alpha", "version": "2", "by": "tests"}]}, ""),  # since an earlier night
        (7, {"result": "updated"}, "its update ended with exit code 7"),
        (137, None, "its update ended with exit code 137"),
        (0, [], "its answer is not known"),
        (0, {"blocked": "\x1b[31mevil"}, "its updates are blocked"),
        (0, {"waits": "X is ready and waits: evil"}, "its release waits"),
        (0, {"result": "updated", "culprits": ["evil 1"]}, "its tests failed"),
    ],
)
def test_a_site_that_goes_first_is_well_if_nothing_failed_there(code: int, answer: object, why: str) -> None:
    assert explain_failure(SiteAnswer(site="/srv/first", exit_code=code, answer=answer)) == why


RAN = replace(BRIEF, result="updated", headline="evil")
SAID = dict.fromkeys(("live", "waits", "not_restarted"), "evil")


@pytest.mark.parametrize(
    ("known", "last", "why"),
    [
        ({}, {}, ""),
        ({"on_hold": (OnHold(name="evil", version="2", release="", reason="evil", at="", by="tests"),)}, {}, ""),
        ({"running": Holder(command="prune", pid=1, since="evil")}, {}, ""),
        ({"running": Holder(command="update", pid=1, since="evil")}, {}, "its update is not done yet"),
        ({"blocked": "evil"}, {"exit_code": 6, "result": "rolled-back"}, "its updates are blocked"),
        ({"waiting_reason": "evil"}, {}, "its release waits"),
        ({}, {"exit_code": 5, "result": "failed"}, "its last update failed"),
        ({}, {"command": "rollback"}, "it was rolled back"),
        ({}, {"culprits": ("evil 1",)}, "its tests failed"),
    ],
)
def test_a_first_site_that_was_not_due_is_judged_by_what_its_status_says(
    known: dict[str, Any], last: dict[str, Any], why: str
) -> None:
    status = replace(STATUS, **{**SAID, "last_deployment": replace(RAN, **last), **known})
    answer = json.loads(encode_state(status))
    assert explain_earlier_failure(SiteAnswer(site="/srv/first", exit_code=0, answer=answer)) == why


@pytest.mark.parametrize("answer", [None, [], {}, {"blocked": ""}, {**plain(STATUS), "last_deployment": "well"}])
def test_a_first_site_whose_status_cannot_be_read_is_not_well(answer: object) -> None:
    found = explain_earlier_failure(SiteAnswer(site="/srv/first", exit_code=0, answer=answer))
    assert found == "its status is not known"


NOT_DUE = {"result": "no-changes", "due_at": "2026-11-23T03:00:00+00:00"}


@pytest.mark.parametrize(
    ("code", "update", "last_code", "why"),
    [
        (0, {}, None, ""),
        (5, {}, None, "its update ended with exit code 5"),
        (0, NOT_DUE, 0, ""),
        (0, NOT_DUE, 5, "its last update failed"),
    ],
)
def test_the_other_sites_get_to_know_which_first_site_is_not_well(
    monkeypatch: pytest.MonkeyPatch, code: int, update: dict[str, str], last_code: int | None, why: str
) -> None:
    """One that was not due tells by its status how its last update ended."""
    told: dict[str, str | None] = {}
    status = replace(STATUS, last_deployment=replace(RAN, exit_code=last_code or 0))
    asked = []

    def answer(
        _: ManySites, words: Sequence[str], site: ListedSite, *, more: Mapping[str, str] | None = None, **__: object
    ) -> SiteAnswer:
        if words[0] == "status":
            asked.append(site.path.name)
            return SiteAnswer(site=str(site.path), exit_code=0, answer=json.loads(encode_state(status)))
        told[site.path.name] = (more or {}).get(FIRST_FAILED_VARIABLE)
        is_first = site.goes_first
        return SiteAnswer(site=str(site.path), exit_code=code * is_first, answer=update if is_first else {})

    monkeypatch.setattr(ManySites, "_run", answer)
    sites = [replace(one, goes_first=one.path.name in "01") for one in SITES[:3]]
    many = ManySites(sites, jobs=2, environ={FIRST_FAILED_VARIABLE: "what somebody else says"})
    assert len([*many.update(["update", "--if-due"])]) == 3
    assert sorted(asked) == ([] if last_code is None else ["0", "1"])
    assert (told["0"], told["1"]) == (None, None)
    assert (told["2"] or "").endswith(f"(listed in `first`) did not succeed: {why}" if why else "")
    assert bool(told["2"]) is bool(why)
