"""What comes into a staging tree of what git does not track: when, how, and how much of it."""

import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from releaser.checkout import staging, untracked
from releaser.checkout.staging import complete_tree, staging_link_findings, staging_tree
from releaser.checkout.untracked import Carrier, Way, find_needed, skipped_warnings
from releaser.errors import PreflightError
from releaser.site.site import Carried, Site
from releaser.site.staging_settings import StagingSettings
from tests.checkout.project import Project
from tests.support.logs import a_log

LINKED, OPEN = Way(links=True), Way(links=False, reason="nothing shuts them in", remedy="Shut them in")
PYPROJECT = """\
[project]
name = "shop"
version = "1"
requires-python = ">=3.11"
dependencies = ["inner", "outer @ file:///${PROJECT_ROOT}/vendored/outer"]

[tool.uv]
find-links = ["./wheels"]

[tool.uv.sources]
inner = { path = "libraries/inner", editable = true }

[tool.uv.workspace]
members = ["members/*"]

[tool.ruff]
exclude = ["media"]
"""
LOCK = """\
version = 1

[[package]]
name = "third"
version = "1.0"
source = { path = "downloads/third-1.0-py3-none-any.whl" }
"""


def a_site(tmp_path: Path, *, pyproject: str = PYPROJECT, **environ: str) -> Site:
    """Make a project under git that ignores most of what lies in it."""
    files = {"pyproject.toml": pyproject, "uv.lock": LOCK, ".gitignore": "", "media/.gitkeep": "", "seen.txt": "mine"}
    project = Project(tmp_path, files)
    (project.path / ".git" / "info" / "exclude").write_text("*\n", encoding="utf-8")
    return project.site(**environ)


def write(site: Site, *names: str, size: int = 10) -> None:
    for name in names:
        path = site.project.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)


def contents(there: Site) -> tuple[int, int, int]:
    """Count the files of a tree that are copies of what git does not track, their bytes, and the symlinks."""
    place = there.project.root
    tracked = {*there.git.tracked_files(), ".git"}
    files = [one for one in place.rglob("*") if str(one.relative_to(place)) not in tracked]
    copies = [one for one in files if one.is_file() and not one.is_symlink()]
    return len(copies), sum(one.stat().st_size for one in copies), sum(one.is_symlink() for one in files)


@pytest.fixture
def way(monkeypatch: pytest.MonkeyPatch) -> Callable[[Way], None]:
    """Let all sites have one way into their trees."""

    def choose(chosen: Way) -> None:
        monkeypatch.setattr(untracked, "way_into_tree", lambda _: chosen)

    return choose


@pytest.mark.parametrize(("chosen", "expected"), [(LINKED, (20, 200, 30)), (OPEN, (20, 200, 0))])
def test_small_uploads_cost_a_quiet_night_nothing_and_an_update_little(
    tmp_path: Path,
    way: Callable[[Way], None],
    monkeypatch: pytest.MonkeyPatch,
    chosen: Way,
    expected: tuple[int, int, int],
) -> None:
    way(chosen)
    monkeypatch.setattr(untracked, "MOST_FILES", 20)
    site = a_site(tmp_path)
    write(site, *(f"media/{number}.jpg" for number in range(50)))
    with staging_tree(site, a_log(), site.git.commit("HEAD"), whole=False) as there:
        assert contents(there) == (0, 0, 0)
        complete_tree(there, a_log())
        assert contents(there) == expected
        complete_tree(there, a_log())  # once is enough
        staging.remake_tree(there, there.tree)
        assert contents(there) == expected
    with staging_tree(site, a_log(), site.git.commit("HEAD")) as there:
        assert contents(there) == expected


@pytest.mark.parametrize("chosen", [LINKED, OPEN])
def test_what_resolving_needs_is_there_at_once_and_a_link_only_until_code_runs(
    tmp_path: Path, way: Callable[[Way], None], chosen: Way
) -> None:
    way(chosen)
    site = a_site(tmp_path)
    needed = (
        "libraries/inner/pyproject.toml",
        "vendored/outer/pyproject.toml",
        "wheels/a.whl",
        "downloads/third-1.0-py3-none-any.whl",
        "members/one/pyproject.toml",
    )
    write(site, *needed, "media/a.jpg", "notes.txt", "other/a.txt")
    write(site, "wheels/large.whl", size=11_000_000)
    with staging_tree(site, a_log(), site.git.commit("HEAD"), whole=False) as there:
        root = there.project.root
        assert [name for name in (*needed, "wheels/large.whl") if not (root / name).is_file()] == []
        assert [name for name in ("media/a.jpg", "notes.txt", "other") if os.path.lexists(root / name)] == []
        assert (root / "wheels").is_symlink()
        complete_tree(there, a_log())
        assert (root / "notes.txt").is_file()
        assert (root / "wheels" / "large.whl").stat().st_size == 11_000_000
        links = [one for one in root.rglob("*") if one.is_symlink()]
        assert (links == []) is (chosen is OPEN)


def test_a_project_that_is_built_to_learn_what_it_needs_gets_all(tmp_path: Path) -> None:
    dynamic = '[build-system]\nrequires = []\n\n[project]\nname = "shop"\ndynamic = ["version"]\n'
    site = a_site(tmp_path, pyproject=dynamic)
    assert find_needed(site, site.project.root, ("version.txt", "media/")) == ("version.txt", "media/")


def test_small_files_are_copies_and_the_rest_is_linked_or_stays_away(
    tmp_path: Path, way: Callable[[Way], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no test changes what is small. A directory is a link, unless the commit adds it; caches stay away."""
    way(LINKED)
    real = os.open

    def without_pid_of_root(path: Any, *given: Any, **options: Any) -> int:
        if str(path).endswith("server.pid"):
            raise PermissionError
        return real(path, *given, **options)

    monkeypatch.setattr(os, "open", without_pid_of_root)
    site = a_site(tmp_path, RELEASER_STAGING_COPY="fixtures", RELEASER_STAGING_OMIT="*.sql")
    write(
        site, "media/a.jpg", "uploads/a.jpg", ".pytest_cache/file", "fixtures/file", "local.ini", "server.pid", "x.sql"
    )
    write(site, "big.bin", size=1024 * 1024 + 1)
    with staging_tree(site, a_log(), site.git.commit("HEAD")) as there:
        root, carried = there.project.root, there.tree.carried
        assert {"fixtures", "local.ini", "media/a.jpg"} <= {*carried.copied}
        assert {"big.bin", "uploads", "server.pid"} <= {*carried.linked}
        assert [name for name in (".pytest_cache", "x.sql") if os.path.lexists(root / name)] == []
        for name in ("local.ini", "seen.txt", "litter.txt"):
            (root / name).write_text("spoilt", encoding="utf-8")
    top = site.project.root
    assert ((top / "local.ini").read_bytes(), (top / "seen.txt").read_bytes()) == (b"x" * 10, b"mine")
    assert not (top / "litter.txt").exists()
    assert not [*site.project.outer.glob(".*staging*")]


# Where nothing throws away what tests write


def test_nothing_that_can_be_written_to_is_linked_where_no_sandbox_is(
    tmp_path: Path, way: Callable[[Way], None]
) -> None:
    """Neither by a link of somebody's own, in a directory or not."""
    way(OPEN)
    site = a_site(tmp_path)
    outside = site.project.outer / "shared"
    outside.mkdir()
    write(site, "local.ini", "small/a.txt", "../shared/a.txt")
    write(site, "db.sqlite3", "../shared/large.bin", size=2_000_000)
    write(site, *(f"photos/{number}.jpg" for number in range(501)))
    root = site.project.root
    (root / "small" / "out").symlink_to(outside)
    (root / "small" / "in").symlink_to("a.txt")
    (root / "one").symlink_to("../shared/a.txt")
    (root / "many").symlink_to(outside)
    (root / "absolute").symlink_to(root / "db.sqlite3")
    with staging_tree(site, a_log(), site.git.commit("HEAD")) as there:
        tree = there.project.root
        assert {one.rstrip("/") for one in there.tree.carried.skipped} == {"absolute", "db.sqlite3", "photos"}
        links = [str(one.relative_to(tree)) for one in tree.rglob("*") if one.is_symlink()]
        assert links == ["small/in"]
        assert (tree / "local.ini").read_bytes() == (tree / "one").read_bytes() == b"x" * 10
        assert (tree / "many" / "large.bin").stat().st_size == 2_000_000
    (warning,) = skipped_warnings(site)
    assert "nothing shuts them in: absolute (1 file, 2.0 MB), db.sqlite3 (1 file, 2.0 MB), photos (501 files" in (
        warning.message
    )
    assert warning.advice.startswith("Shut them in; ")
    assert 'staging_copy = ["absolute"]' in warning.advice


@pytest.mark.parametrize(("name", "refused"), [("media", True), ("gone", False)])
def test_a_link_that_somebody_wants_is_refused_where_no_sandbox_is(
    tmp_path: Path, way: Callable[[Way], None], name: str, refused: bool
) -> None:
    site = a_site(tmp_path, RELEASER_STAGING_LINK=name)
    assert list(staging_link_findings(site)) == []
    way(OPEN)
    findings = list(staging_link_findings(site))
    assert bool(findings) is refused
    for one in findings:
        assert "RELEASER_STAGING_LINK links media of the live site" in one.message
        assert "`staging_copy` or `staging_omit`" in one.advice


@pytest.mark.parametrize("is_own", [False, True])
def test_what_this_user_cannot_write_may_be_linked_unless_it_owns_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_own: bool
) -> None:
    """An owner may change the mode, through the link too."""
    site = a_site(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    write(site, "large.bin", size=2_000_000)
    carrier = Carrier(
        settings=StagingSettings(), top=site.project.root, place=tmp_path / "tree", excluded=frozenset(), way=OPEN
    )
    if not is_own:
        monkeypatch.setattr(os, "geteuid", lambda: os.stat(site.project.root).st_uid + 1)
    carrier.carry(carrier.plan(["large.bin"]), carried := Carried())
    assert (carried.linked, carried.skipped) == (([], ["large.bin"]) if is_own else (["large.bin"], []))


# Files that come and go


def carry(path: Path, place: Path) -> Carried:
    """Bring one path, as where there is no git."""
    carried, nothing = Carried(), frozenset[Path]()
    carrier = Carrier(
        settings=StagingSettings(), top=path.parent, place=place, excluded=nothing, way=LINKED, is_generous=True
    )
    carrier.carry(carrier.plan([path.name]), carried)
    return carried


def test_a_directory_that_goes_and_comes_back_meanwhile_is_not_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing may be asked twice about a directory: it was gone when its rights were asked, and there again after."""
    uploads = tmp_path / "top" / "uploads"
    uploads.mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != uploads and os.path.exists(path))
    assert carry(uploads, tmp_path / "place").linked == []
    assert stat.S_ISDIR((tmp_path / "place" / "uploads").lstat().st_mode)


def test_a_file_that_goes_before_it_is_read_is_not_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is gone is none that this user may not read, which would be linked."""
    upload = tmp_path / "top" / "a.jpg"
    upload.parent.mkdir()
    upload.touch()

    def just_too_late(call: Callable[..., Any], *given: Any, **options: Any) -> Any:
        upload.unlink(missing_ok=True)
        return call(*given, **options)

    for name in ("open", "access"):
        monkeypatch.setattr(os, name, partial(just_too_late, getattr(os, name)))
    carried = carry(upload, tmp_path / "place")
    assert not os.path.lexists(tmp_path / "place" / "a.jpg")
    assert (carried.copied, carried.linked) == ([], [])


# Room


def test_copies_are_counted_before_the_first_is_made(
    tmp_path: Path, way: Callable[[Way], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    way(OPEN)
    site = a_site(tmp_path, RELEASER_STAGING_COPY="fixtures")
    write(site, *(f"fixtures/{number}.json" for number in range(100)), size=100_000)
    found = SimpleNamespace(f_bavail=9_000, f_frsize=1000, f_files=10**6, f_favail=10**6)
    monkeypatch.setattr(os, "statvfs", lambda _: found)
    with staging_tree(site, a_log(), site.git.commit("HEAD"), whole=False) as there:
        with pytest.raises(PreflightError) as caught:
            complete_tree(there, a_log())
        assert contents(there) == (0, 0, 0)
    (finding,) = caught.value.findings
    assert "no space for the copies of untracked files in the staging tree: 9 MB free" in finding.message
    assert "10 MB needed" in finding.message
    assert "to `staging_omit` (the largest: fixtures)" in finding.advice
    found.f_bavail, found.f_favail = 10**9, 50
    with pytest.raises(PreflightError, match="too few free inodes"), staging_tree(site, a_log(), "HEAD"):
        pass
    assert not list(site.project.outer.glob(".*staging*"))
