"""How much room an update asks for, and whether there is that much."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from releaser.candidate.space import LEAST_BYTES, LEAST_INODES, release_need, update_needs
from releaser.core.gate import Case, Refusal
from releaser.core.run import Workspace, new_log
from releaser.errors import PreflightError, ToolError
from releaser.gates.space import DiskSpace, download_sizes
from releaser.locks.changes import Change
from releaser.locks.installed import Pin, tags_of
from releaser.locks.lock import EMPTY, LockFile
from releaser.releases.release import Release
from releaser.site.project import Project
from releaser.site.site import Site, SiteFacts
from releaser.site.space import FreeSpace, Need, find_lacks, free_space
from tests.releases.makers import a_manifest, on_paper
from tests.support.guards import other_file_system

MB = 1_000_000
SIZE = 400 * MB
FILES = 20_000
LOCK = LockFile.parse(b"""\
version = 1

[[package]]
name = "changed"
version = "2.0"
wheels = [{ url = "https://example.org/changed-2.0-py3-none-any.whl", size = 5_000_000 }]

[[package]]
name = "added"
version = "1.0"
wheels = [{ url = "https://example.org/added-1.0-py3-none-any.whl", size = 10_000_000 }]

[[package]]
name = "as-it-was"
version = "1.0"
wheels = [{ url = "https://example.org/as_it_was-1.0-py3-none-any.whl", size = 50_000_000 }]
""")
DIFF = (
    Change(name="changed", old="1.0", new="2.0", bump="major"),
    Change(name="added", old=None, new="1.0", bump="added"),
    Change(name="gone", old="1.0", new=None, bump="removed"),
)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Make a checkout of three files."""
    root = tmp_path / "outer" / "site"
    root.mkdir(parents=True)
    (root / "uv.lock").write_bytes(LOCK.data)
    (root / "pyproject.toml").touch()
    (root / "manage.py").touch()
    project = Project.at(root, state_dir=None, venv=".venv")
    settings, pyproject = SimpleNamespace(test_groups=()), SimpleNamespace(table=lambda *_: {})
    found = {"project": project, "state_dir": project.state_dir, "settings": settings, "pyproject": pyproject}
    return cast("Site", SimpleNamespace(**found, git=SimpleNamespace(weigh=dict)))


def a_release(size_bytes: int = SIZE, inodes: int = FILES) -> Release:
    return on_paper(Path("/releases"), a_manifest(size_bytes=size_bytes, inodes=inodes))


def free(monkeypatch: pytest.MonkeyPatch, size: int, *, inodes: int = 10**7, free_inodes: int = 10**6) -> None:
    """Let every file system have so much room."""
    found = SimpleNamespace(f_bavail=size // 1000, f_frsize=1000, f_files=inodes, f_favail=free_inodes)
    monkeypatch.setattr(os, "statvfs", lambda _: found)


@pytest.mark.parametrize(
    ("room", "needed", "words"),
    [
        ((10**9, 10**6, 10**5), 0, []),
        ((10**9, 10**6, 10**5), 10**9, []),
        ((10**9, 10**6, 10**5), 10**9 + 4096, ["no space for another release: 1000 MB free"]),
        ((49_000_000, 10**6, 10**5), 1000, ["50 MB needed"]),
        ((10**9, 10**6, 4999), 0, ["too few free inodes for another release: 4999"]),
        ((10**9, 10**6, 5000), 0, []),
        ((10**9, 0, 0), 0, []),  # a file system that does not count them
        ((0, 10**6, 0), 0, ["no space", "too few free inodes"]),
    ],
)
def test_there_must_be_room_for_a_release(
    site: Site, monkeypatch: pytest.MonkeyPatch, room: tuple[int, int, int], needed: int, words: list[str]
) -> None:
    size, inodes, free_inodes = room
    free(monkeypatch, size, inodes=inodes, free_inodes=free_inodes)
    found = list(find_lacks([release_need(site, size_bytes=needed)]))
    assert all(finding.advice for finding in found)
    assert all(word in finding.message for word, finding in zip(words, found, strict=True))
    expected = FreeSpace(bytes=size, inodes=free_inodes if inodes else None)
    assert free_space(site.project.root / "not" / "yet") == expected


def test_what_lies_on_one_file_system_needs_room_together(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 300 * MB)
    root = site.project.root
    release = release_need(site, size_bytes=200 * MB)
    small = Need(what="the staging tree", place=root.parent, bytes=1000, inodes=0)
    cache = Need(what="uv's cache", place=root / "cache" / "uv", bytes=100 * MB, inodes=0, remedy="`uv cache prune`")
    assert list(find_lacks([release, small])) == []
    (found,) = find_lacks([release, small, cache])
    assert found.message == (
        f"no space for another release: 300 MB free at {root.parent}, 300 MB needed (200 MB for another release,"
        " 100 MB for uv's cache)"
    )
    assert (
        found.advice == "Free some space, or prune: `releaser prune`; lower `keep` and `keep_within`; `uv cache prune`."
    )


def test_each_file_system_is_judged_by_itself(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = other_file_system(site.project.root)
    free(monkeypatch, 60 * MB)
    need = Need(what="uv's cache", place=cache, bytes=61 * MB, inodes=0, remedy="`uv cache prune`")
    (found,) = find_lacks([release_need(site), need])
    assert found.message == f"no space for uv's cache: 60 MB free at {cache}, 61 MB needed"
    assert found.advice == "Free some space, or `uv cache prune`."


# What an update needs


@pytest.mark.parametrize(
    ("live", "needed"),
    [
        (None, (LEAST_BYTES, LEAST_INODES)),
        (a_release(1000, 10), (LEAST_BYTES, LEAST_INODES)),
        (a_release(), (int(1.1 * SIZE), int(1.1 * FILES))),
    ],
)
def test_what_the_live_release_takes_is_needed_again(site: Site, live: Release | None, needed: tuple[int, int]) -> None:
    release, tree = update_needs(site, live)
    assert (release.place, release.bytes, release.inodes) == (site.project.state_dir, *needed)
    assert (tree.place, tree.inodes, tree.bytes) == (site.project.outer, 3 + 4, 4 * len(LOCK.data))


@pytest.mark.parametrize(
    ("free_space", "live", "cache", "diff", "told"),
    [
        (541, a_release(), "cache", DIFF, ""),  # 440 MB, 40 MB for what is added, 60 MB for the cache
        (539, a_release(), "cache", DIFF, "540 MB needed (480 MB for another release, 60 MB for uv's cache)"),
        (600, a_release(), "gone", DIFF, "260 MB for uv's cache"),  # everything is downloaded
        (600, a_release(), "empty", DIFF, "260 MB for uv's cache"),
        (309, None, "cache", (), "310 MB needed"),  # as much as a first release is made of
        (311, None, "cache", (), ""),
        (1, a_release(), None, DIFF, ""),  # which is left to the build
    ],
)
def test_what_is_downloaded_and_what_is_added_needs_room(
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    free_space: int,
    live: Release | None,
    cache: str | None,
    diff: tuple[Change, ...],
    told: str,
) -> None:
    (tmp_path / "cache" / "archive-v0").mkdir(parents=True)
    (tmp_path / "empty").mkdir()

    def answer(_: object) -> str:
        if cache is None:
            message = "uv failed"
            raise ToolError(message)
        return f"{tmp_path / cache}\n"

    free(monkeypatch, free_space * MB)
    uv, choice = SimpleNamespace(run=answer), SimpleNamespace(version="3.12.1")
    facts = cast("SiteFacts", SimpleNamespace(uv=uv, choice=choice, group=None))
    log = new_log("update")
    work = Workspace(site=site, log=log, facts=facts, before=facts, live=live, examine_lock=lambda *_: {})
    verdict = DiskSpace().judge(Case(work=work, lock=LOCK, changes=diff))
    if not told:
        assert verdict is None
        return
    assert isinstance(verdict, Refusal)
    assert isinstance(verdict.error, PreflightError)
    (finding,) = verdict.error.findings
    assert told in finding.message


# Downloads

SEVERAL = LockFile.parse(b"""\
version = 1

[[package]]
name = "site"
source = { editable = "." }

[[package]]
name = "alpha"
version = "1.0"
sdist = { url = "https://example.org/alpha.tar.gz", size = 900 }
wheels = [
    { url = "https://example.org/alpha-1.0-cp312-cp312-win_amd64.whl", size = 500 },
    { url = "https://example.org/alpha-1.0-cp312-cp312-linux_x86_64.whl", size = 120 },
    { url = "https://example.org/alpha-1.0-cp311-cp311-linux_x86_64.whl" },
]

[[package]]
name = "beta"
version = "1.0"
sdist = { url = "https://example.org/beta.tar.gz", size = 30 }

[[package]]
name = "gamma"
version = "1.0"
wheels = [{ path = "gamma.whl" }]
""")


@pytest.mark.parametrize(
    ("names", "python", "sizes"),
    [
        ([], "3.12", {}),
        (["alpha"], "3.12", {"alpha": 120}),
        (["alpha"], "3.13", {"alpha": 900}),  # no wheel for that: the source
        (["beta", "gamma"], "3.12", {"beta": 30, "gamma": 0}),
        (["gone"], "3.12", {}),
    ],
)
def test_downloads_are_the_wheel_for_here_or_the_source(names: list[str], python: str, sizes: dict[str, int]) -> None:
    tags = tags_of(python, platforms=["linux_x86_64"])
    assert download_sizes(SEVERAL, [Pin(name, "1.0") for name in names], tags) == sizes
    assert download_sizes(SEVERAL, [Pin(name, "2.0") for name in names], tags) == {}
    assert download_sizes(EMPTY, [Pin(name, "1.0") for name in names], tags) == {}
