"""A project that is not under git: a directory with pyproject.toml and uv.lock is enough."""

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from releaser.checkout.checks import check_checkout
from releaser.errors import Findings
from releaser.pipelines.preflight import ignored_findings
from releaser.releases.journal import Entry, Journal
from releaser.site.site import open_site
from tests.e2e.scenes import body, outer_snapshot, silent, states, step, steps
from tests.support.sites import SampleSite, SiteFactory
from tests.tools.repository import Repository

# A test command that notes what it sees, and does as a person who works beside it would.
TESTS = """\
import os, pathlib, subprocess, sys
here = pathlib.Path(__file__).parent
seen = sorted(str(one.relative_to(here)) for one in here.rglob("*") if ".venv" not in one.parts)
(here.parent / "seen.txt").write_text("\\n".join(seen + [one for one in seen if (here / one).is_symlink()]))
for name in os.environ.get("EDITS", "").split():
    with open(here.parent / "site" / name, "a") as file:
        file.write("# edited\\n")
"""


def without_git(site: SampleSite) -> SampleSite:
    """Take the repository of a site away."""
    for place in (site.path / ".git", site.remote):
        shutil.rmtree(place)
    return site


@contextlib.contextmanager
def changing(directory: Path) -> Iterator[None]:
    """Let files come and go in a directory, as visitors upload them."""
    ended = threading.Event()

    def change() -> None:
        while not ended.is_set():
            directory.mkdir(exist_ok=True)
            for number in range(50):
                (directory / f"{number}.jpg").touch()
            shutil.rmtree(directory)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.story
def test_a_site_without_git_is_updated_rebuilt_and_goes_back(make_site: SiteFactory) -> None:
    site = without_git(make_site(venv=True))
    site.write_dotenv({"RELEASER_REQUIREMENTS_EXPORT": "requirements.txt"})
    (site.path / "index.html").write_text("hello", encoding="utf-8")
    before = site.lock_text()
    site.releaser("check", check=0)
    site.publish("alpha", "1.1.0")
    untouched = outer_snapshot(site)
    assert site.json("update", "--dry-run")["changes"][0]["name"] == "alpha"
    assert outer_snapshot(site) == untouched
    report = site.json("update")
    first, second = site.releases()
    assert (report["result"], report["release"], report["commit"], report["commits"]) == ("updated", second, None, [])
    assert not {"fetch", "choose commit", "move checkout", "commit", "push"} & {*steps(report)}
    assert "alpha    1.0.0  1.1.0" in body(site)
    assert (site.live_version("alpha"), site.lock_text()) != ("1.0.0", before)
    assert "alpha==1.1.0" in (site.path / "requirements.txt").read_text(encoding="utf-8")
    silent(site.releaser("update"))
    assert {row["commit"] for row in site.json("list")} == {None}
    shown = site.json("show", second)
    assert (shown["commit"], shown["staging_copied"]) == (None, [".gitignore"])
    assert site.json("status")["push_pending"] is False
    assert site.json("outdated") == []
    site.releaser("verify", "--tests", check=0)
    third = site.json("rebuild")["release"]

    site.edit("site_tests.py", (site.path / "site_tests.py").read_text(encoding="utf-8") + "# edited\n")
    gone_back = site.json("rollback", first)
    (told,) = gone_back["problems"]
    assert told.startswith(f"the code stays as it is, and was never tested with the packages of {first}")
    assert (site.live_id(), site.live_version("alpha"), site.lock_text()) == (first, "1.0.0", before)
    assert states(site) == {third: "rolled-back", second: "good", first: "live"}
    assert (site.path / "site_tests.py").read_text(encoding="utf-8").endswith("# edited\n")
    silent(site.releaser("update"))

    site.releaser("uninstall", "--yes", check=0)
    assert not site.link.is_symlink()
    assert not list(site.state_dir.glob("staging*"))
    assert not list(site.outer.glob(".site.releaser-*"))


def test_a_repository_that_is_gone_is_no_git_when_somebody_says_so(make_site: SiteFactory) -> None:
    whole = make_site.adopted()
    commit, site = whole.head(), without_git(whole)
    before, first = site.lock_text(), site.live_id()
    site.write_dotenv({"RELEASER_GIT_PULL": "false"})  # which says nothing of git
    (told,) = site.json("update", check=3)["problems"]
    assert told.startswith(f"{site.path} was under git when {first} was built, but no .git exists here or above now")
    moved = {"checkout": {"before": "0" * 40, "after": "1" * 40}}
    journal = Journal(state_dir=site.state_dir)
    journal.write(Entry(command="update", run_id="20261120T061200Z-42", phase="pulling", actions=moved))
    (told,) = site.json("update", check=3)["problems"]
    assert "was interrupted. To finish or undo it, releaser needs .git" in told
    assert journal.read() is not None
    site.write_dotenv({"RELEASER_GIT": "false"})
    site.publish("alpha", "1.1.0", broken="collectstatic")
    report = site.json("update", check=6)
    assert (report["result"], site.live_version("alpha"), site.lock_text()) == ("rolled-back", "1.0.0", before)
    site.publish("beta", "1.1.0", broken=True)  # which the tests hold, with the same code
    site.releaser("update", check=5)
    silent(site.releaser("update"))
    site.update_to("beta", "1.2.0")
    tested = f"without .git, releaser cannot restore commit {commit[:12]}, with which {first} was tested"
    assert tested in site.releaser("rollback", "--dry-run", first, check=0).stdout
    assert tested in str(site.json("rollback", first)["problems"])


def test_the_tests_get_a_copy_and_nothing_goes_live_that_was_edited_meanwhile(make_site: SiteFactory) -> None:
    settings = {"test_command": "python look.py", "staging_link": ["media"], "staging_omit": ["dumps"]}
    site = without_git(make_site(venv=True, settings=settings, files={"look.py": TESTS}))
    for name, size in (("media/a.html", 3), ("dumps/b.html", 3), ("app/large.bin", 1 << 21), ("app/small.bin", 3)):
        (site.path / name).parent.mkdir(exist_ok=True)
        (site.path / name).write_bytes(b"x" * size)
    os.mkfifo(site.path / "app" / "pipe")
    (site.path / "app" / "link").symlink_to("small.bin")
    (site.path / "away").symlink_to("/nowhere")
    (site.path / "other" / "bin").mkdir(parents=True)
    (site.path / "other" / "pyvenv.cfg").touch()
    (site.path / "uv.lock").rename(site.path / "app" / "uv.lock")
    (site.path / "uv.lock").symlink_to(site.path / "app" / "uv.lock")  # through which uv would write
    site.publish("alpha", "1.1.0")
    lock = site.lock_text()

    report = site.json("update", env={"EDITS": "look.py uv.lock media/a.html app/small.bin"}, check=3)
    lock_told, code_told = report["problems"]
    assert lock_told.startswith(f"{site.path / 'app' / 'uv.lock'} was changed during this run")
    assert code_told.startswith("edited during this run, and not tested: look.py")
    assert (site.live_version("alpha"), site.lock_text()) == ("1.0.0", f"{lock}# edited\n")

    with changing(site.path / "uploads"):
        report = site.json("update")
    assert (report["result"], site.live_version("alpha")) == ("updated", "1.1.0")
    assert (site.path / "uv.lock").is_symlink()
    assert "paths linked" in step(report, "untracked files")["detail"]
    seen = (site.outer / "seen.txt").read_text(encoding="utf-8").splitlines()
    assert [one for one in seen if one.startswith(("app/", "media", "dumps", "other", "away"))] == [
        "app/large.bin", "app/link", "app/small.bin", "app/uv.lock", "away", "media",
        "app/large.bin", "app/link", "away", "media",
    ]  # fmt: skip


def test_a_repository_above_that_ignores_the_project_is_refused(tmp_path: Path) -> None:
    above = Repository(tmp_path.resolve(), "top")
    root = above.path / "sites" / "shop"
    root.mkdir(parents=True)
    for name, text in {"pyproject.toml": '[project]\nname = "a"\n', "uv.lock": "version = 1\n"}.items():
        (root / name).write_text(text, encoding="utf-8")
    above.call("init", "--quiet", "--initial-branch=main")
    above.commit({".gitignore": "sites/\n"})

    def told(**settings: str) -> str:
        site = open_site(root, {**above.env, **settings})
        checkout = check_checkout(site, Findings(()), frozenset(), frozenset())
        return " ".join(one.message for one in ignored_findings(site, checkout))

    assert f"the repository {above.path} ignores {root}" in told()
    assert "ignores" not in told(RELEASER_GIT="false")
    above.call("add", "--force", root)
    above.commit({})
    assert "ignores" not in told()
