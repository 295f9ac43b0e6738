"""How many sites run side by side."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from threading import Event, Lock

import pytest

from releaser.cli.many import DEFAULT
from releaser.cli.queries import verify
from releaser.pipelines import many_sites
from releaser.pipelines.many_sites import ManySites, is_secret, why_not_well
from releaser.reporting.many_sites import SiteAnswer
from releaser.site.settings import FIRST_FAILED_VARIABLE
from releaser.site.sites_file import ListedSite
from releaser.system.process import Finished, Runner

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

    found = list(ManySites(SITES, jobs=jobs, environ={})._each(SITES, work, disk=disk))
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


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400"])
def test_an_answer_with_a_number_that_is_none_is_no_answer(monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    done = Finished(argv=(), returncode=0, stdout=f'{{"a": {number}}}', stderr="", output="", seconds=0)
    monkeypatch.setattr(Runner, "run", lambda *_, **__: done)
    assert ManySites(SITES, jobs=1, environ={})._run(("status",), SITES[0], as_json=True).answer is None
    done = replace(done, stdout='{"a": 1.5}')
    assert ManySites(SITES, jobs=1, environ={})._run(("status",), SITES[0], as_json=True).answer == {"a": 1.5}


@pytest.mark.parametrize(
    ("words", "file"),
    [(["--sites"], DEFAULT), (["--sites", "--all"], DEFAULT), (["--sites", "x"], Path("x")), ([], None)],
)
def test_all_sites_are_verified_by_the_usual_file_where_none_is_named(words: list[str], file: Path | None) -> None:
    assert verify.make_context("verify", words).params["sites"] == file


@pytest.mark.parametrize(
    ("code", "answer", "why"),
    [
        (0, {"result": "activated"}, ""),
        (0, {"result": "unchanged", "due_at": "2026-11-23T03:00:00+00:00"}, ""),
        (0, {"held_back": [{"name": "alpha", "version": "2", "by": "tests"}]}, ""),  # since an earlier night
        (7, {"result": "activated"}, "its update ended with exit code 7"),
        (137, None, "its update ended with exit code 137"),
        (0, [], "its answer is not known"),
        (0, {"blocked": "\x1b[31mevil"}, "its updates are blocked"),
        (0, {"waits": "X is ready and waits: evil"}, "its release waits"),
        (0, {"result": "activated", "culprits": ["evil 1"]}, "its tests failed"),
    ],
)
def test_a_site_that_goes_first_is_well_if_nothing_failed_there(code: int, answer: object, why: str) -> None:
    assert why_not_well(SiteAnswer(site="/srv/first", exit_code=code, answer=answer)) == why


@pytest.mark.parametrize("code", [0, 5])
def test_the_other_sites_get_to_know_which_first_site_is_not_well(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    told: dict[str, str | None] = {}

    def answer(_: ManySites, __: object, site: ListedSite, *, more: dict[str, str], **___: object) -> SiteAnswer:
        told[site.path.name] = more.get(FIRST_FAILED_VARIABLE)
        return SiteAnswer(site=str(site.path), exit_code=code if site.goes_first else 0, answer={})

    monkeypatch.setattr(ManySites, "_run", answer)
    sites = [replace(one, goes_first=one.path.name in "01") for one in SITES[:3]]
    many = ManySites(sites, jobs=2, environ={FIRST_FAILED_VARIABLE: "what somebody else says"})
    assert len([*many.update(["update"])]) == 3
    assert (told["0"], told["1"]) == (None, None)
    assert (told["2"] or "").endswith("did not end well: its update ended with exit code 5" if code else "")
