"""File logic: the store, the link, the journal, files that are broken, and where a project is found."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from releaser.checkout.products import copy_product
from releaser.errors import PreflightError
from releaser.releases.journal import PUSH, QUICK_PUSH, Entry, Phase, read_entry, write_entry
from releaser.releases.link import Link, make_link_text, read_link
from releaser.releases.release import State
from releaser.releases.store import Store, begin_release, mark_good
from releaser.site.paths import Paths
from releaser.site.project import find_project
from releaser.system.files import LARGEST_STATE, remove_path, replace_files, write_json
from releaser.system.run import UPDATE, Run
from releaser.system.state import read_state, set_aside_if_broken
from tests.unit.samples import NOW, add_release

ID = "20261120T000000Z"


def test_a_store_is_a_value_and_reads_nothing_again(paths: Paths) -> None:
    first, second = add_release(paths), add_release(paths)
    before = Store(paths)
    paths.link.symlink_to(make_link_text(paths, first.id))
    store = mark_good(before, second, NOW)
    assert (store.live, store.without().live) == (None, None)
    store = store.linked(Link("release", "text", second.id))
    remove_path(paths.releases)
    states = [[release.state.state for release in each.releases] for each in (before, store)]
    assert (states, before.live, store.live) == ([["ready"] * 2, ["good", "outdated"]], None, store.get(second.id))
    assert (store.without(second.id).live, before.next_order, store.next_order) == (None, 1, 2)
    assert [release.id for release in store.without(first.id).having(first).releases] == [second.id, first.id]


def test_law_08_of_two_files_that_belong_together_a_full_disk_takes_neither(paths: Paths, fs: FakeFilesystem) -> None:
    paths.pyproject.write_text("earlier")
    fs.set_disk_usage(fs.get_disk_usage()[1] + 1000)
    with pytest.raises(OSError, match="No space left"):
        replace_files({paths.pyproject: b"later", paths.lockfile: b"x" * 2000}, mode=0o644)
    assert (paths.pyproject.read_text(), sorted(os.listdir(paths.project))) == ("earlier", [".git", "pyproject.toml"])


def test_ids_of_one_second_are_ordered_by_number_and_a_clock_may_go_back(paths: Paths) -> None:
    for number in ("", "-9", "-12", "-2"):
        add_release(paths).directory.rename(paths.releases / f"29991120T000000Z{number}")
    assert begin_release(paths).name == "29991120T000000Z-13"
    assert Store(paths).releases == [], "a release has the name that it was sealed by"


@pytest.mark.parametrize(
    ("file", "text", "failed_gate", "state"),
    [("state.json", '{"state": "failed"}', "", "outdated"), ("state.json", '{"state": "failed"}', "tests", "failed"),
     ("state.json", "{", "", "rolled-back"), ("state.json", "{", "tests", "failed"),
     ("state.json", None, "", "rolled-back"),
     ("manifest.json", "{", "", ""), ("manifest.json", None, "", ""), ("manifest.json", '{"id": "x"}', "", ""),
     ("uv.lock", "other", "", ""), ("uv.lock", None, "", "ready")],
)  # fmt: skip
def test_law_09_a_release_is_read_as_it_was_sealed(
    paths: Paths, file: str, text: str | None, failed_gate: str, state: str
) -> None:
    path = add_release(paths, failed_gate=failed_gate).directory / file
    path.unlink() if text is None else path.write_text(text)
    assert [release.state.state for release in Store(paths).releases] == [state] * bool(state)


@pytest.mark.parametrize(
    ("text", "kind"),
    [(f"../.releaser/shop/releases/{ID}/venv", "release"), (f"/srv/.releaser/shop/releases/{ID}-10/venv", "release"),
     (f"/alias/releases/{ID}/venv", "release"), (f"../.releaser/shop/releases/{ID}", "foreign"),
     (f"../.releaser/other/releases/{ID}/venv", "foreign"), ("../.releaser/shop/releases/mine/venv", "foreign"),
     (f"../.releaser/shop/releases/{ID}/lib", "foreign"), ("../venv", "foreign")],
)  # fmt: skip
def test_law_19_a_link_leads_to_a_release_or_is_foreign(paths: Paths, text: str, kind: Any) -> None:
    Path("/alias").symlink_to(paths.state)
    assert read_link(paths) == Link("missing")
    paths.link.symlink_to(text)
    assert read_link(paths) == Link(kind, text, Path(text).parent.name if kind == "release" else None)


def test_law_19_35_what_is_no_link_is_foreign_and_a_project_may_be_reached_by_a_symlink(paths: Paths) -> None:
    for make in (Path.mkdir, Path.touch):
        make(paths.link)
        assert read_link(paths) == Link("foreign")
        remove_path(paths.link)
    Path("/deep/er").mkdir(parents=True)
    Path("/deep/er/shop").symlink_to(paths.project)
    moved = msgspec.structs.replace(paths, link=Path("/deep/er/shop/.venv"))
    moved.link.symlink_to(make_link_text(moved, ID))
    assert read_link(moved) == read_link(paths) == Link("release", f"../.releaser/shop/releases/{ID}/venv", ID)


@pytest.mark.parametrize("phase", get_args(Phase))
def test_law_08_a_journal_is_read_as_written_and_as_an_earlier_version_meant_it(paths: Paths, phase: Phase) -> None:
    texts, flags = ("a", "b", "text", "moved", "plain", "h", "c"), (True, True, False, False)
    for command, facts in (("update", (False, True, PUSH)), ("rollback", (True, False, QUICK_PUSH))):
        entry = Entry(phase, command, "now", *texts, *flags, "why", *facts)
        other = msgspec.structs.replace(entry, is_way_back=True, may_hold=False, push_timeout=9.0)
        assert write_entry(paths, other) == read_entry(paths) == other
        earlier = msgspec.json.decode(paths.journal.read_bytes())
        for name in ("is_way_back", "may_hold", "push_timeout"):
            del earlier[name]
        write_json(paths.journal, earlier)
        assert read_entry(paths) == entry


@pytest.mark.parametrize(
    ("before", "release", "after", "has_flipped"),
    [(None, "b", "b", True), ("a", "b", "a", False), ("a", "b", "b", True), ("a", "b", None, False),
     ("a", "a", "a", False), ("a", "a", "./a", True), ("./a", "a", "a", True), ("a", None, None, False)],
)  # fmt: skip
def test_law_08_the_link_shows_a_change_also_one_that_leaves_a_release_live(
    paths: Paths, before: str | None, release: str | None, after: str | None, has_flipped: bool
) -> None:
    """A link is `a` or, spelled in another way, `./a`."""
    releases = {"a": "20261120T000000Z", "b": "20261121T000000Z"}
    texts = {name: make_link_text(paths, each) for name, each in releases.items()}
    texts |= {f"./{name}": f"./{text}" for name, text in texts.items()}
    entry = Entry("changing", "update", "now", release=release and releases[release], link=before and texts[before])
    if after is not None:
        paths.link.symlink_to(texts[after])
    assert entry.has_flipped(read_link(paths)) == has_flipped
    if release and before and has_flipped:
        assert make_link_text(paths, releases[release], other_than=entry.link) == texts[str(after)]


#: The states and orders of two releases, and the one that the link leads to.
LINKS: list[tuple[tuple[State, State], int, bool]] = [
    ((State("good", 1), State("good", 2)), 1, False),
    ((State("good", 1), State("good", 2)), 0, True),
    ((State("good", 3), State("rolled-back", 2)), 0, False),  # by `releaser rollback`
    ((State("good", 3), State("rolled-back", 2)), 1, True),
    ((State("good", 1), State("ready")), 1, True),
    ((State("good", 1), State("rolled-back", is_lost=True)), 1, False),  # nobody knows
    ((State("rolled-back", is_lost=True), State("good", 2)), 1, False),
]


@pytest.mark.parametrize(("states", "live", "is_moved"), LINKS)
def test_law_19_a_link_that_a_person_has_moved_is_told_by_the_record(
    paths: Paths, states: tuple[State, State], live: int, is_moved: bool
) -> None:
    releases = [add_release(paths) for _ in states]
    for release, state in zip(releases, states, strict=True):
        write_json(release.directory / "state.json", state)
    paths.link.symlink_to(make_link_text(paths, releases[live].id))
    assert Store(paths).is_moved_by_hand == is_moved


BROKEN: dict[str, Callable[[Path], object]] = {
    "directory": Path.mkdir,
    "symlink": lambda path: path.symlink_to("/etc/hostname"),
    "circle": lambda path: path.symlink_to(path),
    "FIFO": os.mkfifo,
    "too large": lambda path: path.write_bytes(bytes(LARGEST_STATE + 1)),
    "no JSON": lambda path: path.write_text("{"),
    "deep JSON": lambda path: path.write_text('{"deep": ' + "[" * 100_000),
    "other JSON": lambda path: path.write_text('{"state": "lost"}'),
    "empty": Path.touch,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_law_09_a_broken_file_is_named_and_set_aside(tmp_path: Path, kind: str) -> None:
    path, run = tmp_path / "state.json", Run("now", UPDATE)
    assert (read_state(path, State, run), run.notes) == (None, [])
    for number in ("", "-2"):
        BROKEN[kind](path)
        assert (read_state(path, State), os.path.lexists(path)) == (None, True), "without a run it stays"
        assert read_state(path, State, run, "all is lost") is None
        assert re.match(rf"{path}: .+\. It is now `{path}.broken{number}`: all is lost\.", run.notes[-1])
        assert (os.path.lexists(path), os.path.lexists(f"{path}.broken{number}")) == (False, True)
    BROKEN[kind](path)
    set_aside_if_broken(path, run, "all is lost")
    assert os.path.lexists(path) == (kind in ("no JSON", "deep JSON", "other JSON", "empty"))


@pytest.mark.parametrize(
    ("start", "found"),
    [("/srv/shop", "/srv/shop /srv/shop"), ("/srv/shop/a/b", "/srv/shop /srv/shop"), ("/srv", "no-project"),
     ("/mono/one/src", "/mono/one /mono"), ("/alias", "/mono/one /mono"), ("/bare", "no-git"), ("/none", "no-project"),
     ("/circle", "no-project"), ("/odd\n", "odd-path")],
)  # fmt: skip
def test_law_35_a_project_is_found_from_a_subdirectory_or_refused(paths: Paths, start: str, found: str) -> None:
    for directory in ("/srv/shop/a/b", "/mono/one/src", "/mono/.git", "/bare", "/odd\n"):
        Path(directory).mkdir(parents=True)
    for directory in ("/mono/one", "/bare", "/odd\n"):
        Path(directory, "pyproject.toml").touch()
    Path("/alias").symlink_to("/mono/one/src")
    Path("/circle").symlink_to("/circle")
    if found.startswith("/"):
        assert " ".join(map(str, find_project(Path(start)))) == found
        return
    with pytest.raises(PreflightError) as refusal:
        find_project(Path(start))
    assert [problem.name for problem in refusal.value.problems] == [found]


def test_law_08_a_product_is_on_the_disk_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut leaves half of it, which passes for a person's file."""
    source, target, calls = tmp_path / "built", tmp_path / "site", list[str]()
    (source / "a").mkdir(parents=True)
    (source / "a/b").write_text("made")
    rename, sync = os.rename, os.fsync

    def note_sync(file: int) -> None:
        calls.append(f"sync {os.fstat(file).st_size}")
        sync(file)

    def note_rename(old: Path, new: Path) -> None:
        calls.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "rename", note_rename)
    copy_product(source, target, Path("a/b"), is_live=True)
    assert (calls, (target / "a/b").read_text()) == (["sync 4", "rename"], "made")


def test_law_34_a_product_does_not_go_through_a_link(tmp_path: Path) -> None:
    """A bundle may name a product below a directory that a commit has made a link."""
    source, target, away = tmp_path / "built", tmp_path / "site", tmp_path / "away"
    for path in (source / "out", target, away):
        path.mkdir(parents=True)
    (source / "out/b").touch()
    (target / "out").symlink_to(away)
    with pytest.raises(NotADirectoryError, match="out"):
        copy_product(source, target, Path("out/b"))
    assert not os.listdir(away)
