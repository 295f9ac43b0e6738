"""releaser deletes only files that it created."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.scenes import silent
from tests.support.sites import SiteFactory

ID = "20200101T000000Z"
COMMANDS = (["init"], ["update"], ["update", "--dry-run"], ["rebuild"], ["rollback"], ["prune"], ["check"])


def of_capistrano(place: Path) -> None:
    """Lay out what another tool deploys to."""
    for name in ("20260101000000", "20260102000000"):
        (place / "releases" / name).mkdir(parents=True)
        (place / "releases" / name / "app.rb").write_text("code", encoding="utf-8")
    (place / "current").symlink_to("releases/20260102000000")


def of_documents(place: Path) -> None:
    """Keep documents, under names that releaser would use."""
    (place / "releases" / ID).mkdir(parents=True)
    (place / "releases" / ID / "contract.txt").write_text("signed", encoding="utf-8")
    (place / ".letter.new").write_text("draft", encoding="utf-8")


def of_nx(place: Path) -> None:
    """Lay out what another tool describes in a file of the same name, open to a group."""
    (place / "src" / "releases").mkdir(parents=True)
    (place / "project.json").write_text('{"name": "shop", "root": "apps/shop", "version": 2}', encoding="utf-8")
    (place / "project.json.unreadable-1").write_text("draft", encoding="utf-8")
    for path in (place, *place.rglob("*")):
        path.chmod(path.stat().st_mode | 0o020)


def seen(place: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path.relative_to(place)): (path.lstat().st_mode, path.read_text(errors="replace") if path.is_file() else "")
        for path in sorted(place.rglob("*"))
    }


@pytest.mark.parametrize(
    ("lay_out", "by_symlink"), [(of_capistrano, False), (of_documents, True), (of_nx, False), (of_nx, True)]
)
def test_a_directory_of_another_user_is_not_used_as_state_directory(
    make_site: SiteFactory, tmp_path: Path, lay_out: Callable[[Path], None], *, by_symlink: bool
) -> None:
    place = tmp_path / "theirs"
    lay_out(place)
    before, state_dir = seen(place), place
    if by_symlink:
        state_dir = tmp_path / "link"
        state_dir.symlink_to(place)
    site = make_site(venv=True, dotenv={"RELEASER_STATE_DIR": str(state_dir)})
    for words in COMMANDS:
        finished = site.releaser(*words, check=3)
        assert f"state_dir {state_dir} is not empty, and releaser did not create it" in finished.stderr, words
        assert "Set `state_dir`" in finished.stderr
    assert seen(place) == before
    assert not site.link.is_symlink()


@pytest.mark.parametrize("by_symlink", [False, True])
def test_files_of_others_among_the_releases_stay_and_are_reported(make_site: SiteFactory, *, by_symlink: bool) -> None:
    site = make_site.adopted()
    theirs = site.outer.parent / "theirs"
    of_documents(theirs)
    before = seen(theirs)
    place = site.state_dir / "releases"
    names = [ID, f".doomed-{ID}"] if by_symlink else [ID, "notes", ".doomed-notes", f".doomed-{ID}"]
    for name in names:
        if by_symlink:
            (place / name).symlink_to(theirs)
        else:
            of_documents(place / name)
    if not by_symlink:
        (place / ID / "venv").mkdir()
        (place / ID / "venv" / "pyvenv.cfg").write_text("home = /usr/bin", encoding="utf-8")
    kept, doomed = seen(theirs if by_symlink else place / ID), seen(place / f".doomed-{ID}")
    site.publish("alpha", "1.1.0")
    site.releaser("update", check=0, env={"RELEASER_KEEP": "0"})
    site.releaser("prune", check=0)
    assert (seen(theirs), seen(theirs if by_symlink else place / ID)) == (before, kept)
    assert seen(place / f".doomed-{ID}") == doomed
    assert {*names} <= {path.name for path in place.iterdir()}
    problems = " ".join(site.json("status")["problems"])
    assert all(f"{place / name} was not made by releaser; releaser leaves it there" in problems for name in names)
    silent(site.releaser("update"))


@pytest.mark.parametrize("name", ["releases", "logs", "outbox", "run"])
def test_a_symlink_in_the_place_of_a_directory_is_not_followed(
    make_site: SiteFactory, tmp_path: Path, name: str
) -> None:
    site = make_site.adopted()
    theirs = tmp_path / "theirs"
    (site.state_dir / name).rename(theirs)
    (theirs / ID).mkdir(parents=True)
    (theirs / ID / ".releaser").touch()
    for number in range(40):
        (theirs / f"20200101T0000{number:02}Z-1.log").touch()
    (site.state_dir / name).symlink_to(theirs)
    before = seen(theirs)
    for words in ("update", "prune", "list", "check"):
        said = site.releaser(words, check=3).stderr
        assert f"{site.state_dir / name} is a symlink" in said
        assert "To keep state elsewhere, set `state_dir`." in said
    assert seen(theirs) == before


def test_a_log_and_a_directory_of_a_person_are_kept(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    state, own = site.state_dir, site.state_dir / "logs" / "cron.log"
    own.write_text("theirs", encoding="utf-8")
    for number in range(40):
        log = state / "logs" / f"20200101T0000{number:02}Z-1.log"
        log.touch()
        os.utime(log, (1_577_836_860, 1_577_836_860))  # a minute after midnight, when the run had ended
    # The second is a name of releaser's own, so it is put aside.
    letters = [state / name / "letter.txt" for name in (".draft.new", ".project.json.new", ".test-packages-mine.new")]
    letters.append(state / ".letter.new")
    for letter in letters:
        letter.parent.mkdir(exist_ok=True)
        letter.write_text("dear", encoding="utf-8")
    left = state / ".live-copy.new"
    left.mkdir()
    (left / ".releaser").touch()
    silent(site.releaser("update"))
    (told,) = [one for one in site.json("history")[0]["steps"] if one["step"] == "clean up"]
    why = "12 logs, because only the newest 30 are kept"
    assert told["detail"] == f"deleted leftovers of an earlier run: {left.name}; {why}"
    site.update_to("alpha", "1.1.0")
    assert own.read_text(encoding="utf-8") == "theirs"
    assert len(list(own.parent.glob("*.log"))) == 31
    kept = [*state.rglob("letter.txt"), *state.rglob(".letter.new")]
    assert [path.read_text(encoding="utf-8") for path in kept] == ["dear"] * 4


def test_a_state_directory_is_marked_before_anything_else_and_known_by_its_releases(make_site: SiteFactory) -> None:
    """Also after the advice to delete `project.json` of a project that is gone."""
    site = make_site(venv=True)
    site.state_dir.mkdir(parents=True)
    (site.state_dir / ".project.json.new").touch()  # all that a run that was cut off had come to
    site.releaser("init", check=0)
    (release,) = (site.state_dir / "releases").iterdir()
    assert (release / ".releaser").is_file()
    (site.state_dir / "project.json").unlink()
    site.link.unlink()
    site.releaser("prune", check=0)
    assert (site.state_dir / "project.json").is_file()
    assert site.link.is_symlink()


@pytest.mark.parametrize("kind", ["a directory", "a symlink", "a file"])
def test_files_at_the_place_of_a_staging_tree_are_kept_and_reported(
    make_site: SiteFactory, tmp_path: Path, kind: str
) -> None:
    site = make_site.adopted()
    places = [site.outer / f".site.releaser-staging{suffix}" for suffix in ("", "-live", "-beside")]
    theirs = tmp_path / "theirs"
    of_documents(theirs)
    before = seen(theirs)
    for place in places:
        if kind == "a directory":
            of_documents(place)
        elif kind == "a symlink":
            place.symlink_to(theirs)
        else:
            place.write_text("draft", encoding="utf-8")
    site.publish("alpha", "1.1.0")
    finished = site.releaser("update", check=0)
    assert seen(theirs) == before
    for place in places:
        aside = place.with_name(f"{place.name}.unreadable-1")
        assert f"{place} was not made by releaser; it is now {aside.name}." in finished.stderr
        assert aside.read_text(encoding="utf-8") == "draft" if kind == "a file" else seen(aside) == before
    silent(site.releaser("update"))


def test_a_run_names_the_files_it_deletes(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0")
    first = site.releases()[0]
    cut_off = site.state_dir / "releases" / ID
    cut_off.mkdir()
    (cut_off / ".releaser").touch()
    (site.state_dir / "..venv.new").touch()
    tree = site.outer / ".site.releaser-staging"
    site.git("worktree", "add", "--quiet", "--detach", tree)
    site.publish("alpha", "1.2.0")
    site.publish("alpha", "1.3.0")
    env = {"RELEASER_KEEP": "0", "RELEASER_KEEP_WITHIN": "0", "RELEASER_KEEP_AT_LEAST": "0"}
    steps = {one["step"]: one["detail"] for one in site.json("update", env=env)["steps"]}
    for path in (cut_off, tree, site.state_dir / "..venv.new"):
        assert not path.exists()
        assert path.name in steps["clean up"]
    assert first not in site.releases()
    assert first in steps["prune"]
