"""Damage by others: each gets a plain diagnosis and the safe outcome, and an update heals it."""

import datetime
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path

import pytest

from releaser.capabilities import state_files
from tests.e2e.scenes import silent
from tests.faults.clock import at_another_time
from tests.faults.invariants import Witness, unless
from tests.faults.scenes import Scenes
from tests.faults.tally import Tallies
from tests.support.sites import SampleSite

NEWEST = {"alpha": "1.1.1", "beta": "1.0.0"}
MANIFEST = "manifest.json"


class There:
    """A site with three releases: directories, newest first."""

    def __init__(self, site: SampleSite) -> None:
        self.site = site
        self.live, self.kept, self.adopted = releases(site)


Act = Callable[[There], object]
ALL = ("live", "kept", "adopted")


@dataclass(frozen=True)
class Harm:
    """Something that somebody does to a site, and what releaser has to say to it.

    `seen` matches a problem that `status` names, `told` the one mail about it (None: there is nothing to tell);
    `hurts` names the releases that are not what they were.
    """

    do: Act
    seen: str | None
    told: str | None
    hurts: Sequence[str] = ()


@pytest.fixture(scope="module")
def grown(scenes: Scenes, tmp_path_factory: pytest.TempPathFactory) -> SampleSite:
    """Make a site with three good releases: one adopted, one kept, one live."""
    site = scenes.copy("rollback", tmp_path_factory.mktemp("grown"))
    site.update_to("alpha", "1.1.1")
    return site


def releases(site: SampleSite) -> list[Path]:
    """Return the directories of the releases, newest first."""
    return [Path(row["path"]).parent for row in site.json("list")]


def module(release: Path, name: str = "alpha/__init__.py") -> Path:
    return next(release.glob("venv/lib/*/site-packages")) / name


def edit(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")


def empty(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.mkdir()


def relink(site: SampleSite, target: Path | str) -> None:
    site.link.unlink()
    site.link.symlink_to(target)


def sync_with(site: SampleSite, lock: Path) -> None:
    site.edit("uv.lock", lock.read_text(encoding="utf-8"))
    site.uv("sync", "--quiet", "--frozen", "--group", "local")
    site.git("checkout", "--quiet", "uv.lock")


def change_twice(path: Path) -> None:
    """Rewrite a file to the same size."""
    path.write_text(path.read_text(encoding="utf-8").replace("1", "2"), encoding="utf-8")


def nullify(path: Path) -> None:
    path.write_bytes(b"\0" * 99)


def link_harm(target: str) -> Harm:
    """Let the link lead nowhere."""
    return Harm(lambda it: relink(it.site, target), "is dangling", "was dangling")


LINK: Mapping[str, Harm] = {
    "deleted": Harm(lambda it: it.site.link.unlink(), "is missing", "was missing"),
    "dangling": link_harm("nowhere"),
    "to a release that is gone": link_harm("../.releaser/site/releases/20200101T000000Z/venv"),
    "to itself": link_harm(".venv"),
    "uv venv --clear": Harm(
        lambda it: it.site.uv("venv", "--clear", "--quiet", it.site.link), "is damaged", "is damaged", ["live"]
    ),
}


def live_harm(do: Act, words: str) -> Harm:
    """Harm the live release."""
    return Harm(do, words, words, ["live"])


GONE = "interpreter is gone|dangling"
LIVE: Mapping[str, Harm] = {
    "a module edited": live_harm(lambda it: edit(module(it.live)), r"alpha/__init__\.py is changed"),
    "a module of the same size": live_harm(lambda it: change_twice(module(it.live)), r"alpha/__init__\.py is changed"),
    "a module deleted": live_harm(lambda it: module(it.live).unlink(), r"alpha/__init__\.py is missing"),
    "a .pth file added": live_harm(lambda it: module(it.live, "x.pth").touch(), r"x\.pth is added"),
    "a package removed": live_harm(
        lambda it: it.site.uv("pip", "uninstall", "--quiet", "--python", it.site.link, "beta"), r"beta 1\.0\.0 removed"
    ),
    "uv sync with another lock": live_harm(
        lambda it: sync_with(it.site, it.kept / "uv.lock"), r"is damaged: alpha 1\.1\.1 → 1\.1\.0\b"
    ),
    "its venv emptied": live_harm(lambda it: empty(it.live / "venv"), GONE),
    "its interpreter gone": live_harm(
        lambda it: (it.live / "venv/bin/python").unlink(), "interpreter is gone|dangling"
    ),
    "its directory gone": live_harm(lambda it: shutil.rmtree(it.live), "dangling"),
    "its directory emptied": live_harm(lambda it: empty(it.live), "dangling"),
    "its manifest gone": live_harm(lambda it: (it.live / MANIFEST).unlink(), "manifest"),
    "its manifest is garbage": live_harm(lambda it: nullify(it.live / MANIFEST), "manifest"),
    "its manifest is a list": live_harm(lambda it: (it.live / MANIFEST).write_text("[]"), "manifest"),
    "its lock gone": live_harm(lambda it: (it.live / "uv.lock").unlink(), r"uv\.lock cannot be read"),
    "its lock is garbage": live_harm(lambda it: nullify(it.live / "uv.lock"), r"uv\.lock has been changed"),
}


def kept_harm(do: Act, seen: str, told: str | None = None) -> Harm:
    """Harm the release before the live one."""
    return Harm(do, seen, told, ["kept"])


KEPT: Mapping[str, Harm] = {
    "a module edited": kept_harm(lambda it: edit(module(it.kept)), r"alpha/__init__\.py is changed"),
    "its venv emptied": kept_harm(lambda it: empty(it.kept / "venv"), "interpreter is gone"),
    "its lock gone": kept_harm(lambda it: (it.kept / "uv.lock").unlink(), r"uv\.lock cannot be read"),
    "its directory gone": kept_harm(lambda it: shutil.rmtree(it.kept), "gone from", "gone from"),
    "its manifest gone": kept_harm(
        lambda it: (it.kept / MANIFEST).unlink(), "manifest of release", "manifest was missing"
    ),
}

CONTENTS = {
    "empty": b"",
    "zeros": b"\0" * 512,
    "random": bytes(range(255, 0, -1)) * 3,
    "a list": b"[]\n",
    "a number": b"3\n",
    "an object": b'{"version": 2}\n',
    "wrong types": (
        b'{"version": 2, "marks": 3, "candidates": {}, "entries": 1, "phase": [], "untracked": 5, "push": "x"}\n'
    ),
}


def garbage(name: str, content: str, *, of_live: bool = False) -> Act:
    """Return what puts garbage in the place of a state file, or of a file of the live release."""

    def do(it: There) -> None:
        path = (it.live if of_live else it.site.state_dir) / name
        before = path.read_bytes() if path.exists() else b'{"version": 2, "paths": []}\n'
        if content == "a directory":
            path.unlink(missing_ok=True)
            path.mkdir()
        else:
            path.write_bytes(CONTENTS.get(content, before[: len(before) // 2]))

    return do


def garbled(name: str, *, of_live: bool = False) -> dict[str, Harm]:
    """Return each kind of garbage in the place of a state file."""
    told = "journal" if name == "journal.json" else re.escape(name)
    return {
        f"{name}{' of a release' if of_live else ''}: {content}": Harm(
            garbage(name, content, of_live=of_live), rf"{re.escape(name)} cannot be read", rf"{told} could not be read"
        )
        for content in ("truncated", "a directory", *CONTENTS)
    }


def state_gone(name: str, seen: str | None, told: str | None, hurts: Sequence[str] = ()) -> Harm:
    """Remove a directory of the state directory, or all of it."""
    return Harm(lambda it: shutil.rmtree(it.site.state_dir / name), seen, told, hurts)


STATE_FILES = [file.name for file in state_files() if is_dataclass(file.type)]
STATE: Mapping[str, Harm] = {
    **{case: harm for name in STATE_FILES for case, harm in garbled(name).items()},
    "history.jsonl: truncated": Harm(garbage("history.jsonl", "truncated"), None, None),
    "history.jsonl: random": Harm(garbage("history.jsonl", "random"), None, None),
    "history.jsonl: a directory": Harm(garbage("history.jsonl", "a directory"), None, "history"),
    "ledger.json: gone": Harm(lambda it: (it.site.state_dir / "ledger.json").unlink(), None, "was lost"),
    **garbled("state.json", of_live=True),
    "state.json of a release: gone": Harm(
        lambda it: (it.live / "state.json").unlink(), None, "state.json` of release .* was lost"
    ),
    "the outbox gone": state_gone("outbox", None, None),
    "the logs gone": state_gone("logs", None, None),
    "all releases gone": state_gone("releases", "is dangling", "gone from", ALL),
    "the state directory gone": state_gone("", None, "site: updated", ALL),
}


def occupied(place: str, name: str, by: str) -> Harm:
    """Occupy a temporary name; the next update has something to do."""

    def do(it: There) -> None:
        path = getattr(it.site, place) / name
        if by == "a directory":
            (path / "deep").mkdir(parents=True)
        elif by == "a file":
            path.touch()
        else:
            path.symlink_to(it.kept)
        edit(module(it.live))

    return live_harm(do, "is damaged")


NAMES = ("..venv.new", ".uv.lock.new", ".ledger.json.new")
OCCUPIED: Mapping[str, Harm] = {
    f"{name} is {by}": occupied(place, name, by)
    for place, name in (*(("state_dir", name) for name in NAMES), ("outer", ".site.releaser-staging"))
    for by in ("a directory", "a file", "a link")
}


def tried(harm: Harm, site: SampleSite) -> list[str]:
    """Do harm to a site; return what does not hold then, and after the next update."""
    before = Witness.of(site)
    there = There(site)
    harm.do(there)
    hurt = {getattr(there, name).name for name in harm.hurts}
    good = {name: seen for name, seen in before.good.items() if name not in hurt}
    witness = replace(before, good=good, live=None, beside=frozenset(os.listdir(site.outer)))
    broken = said(site, harm.seen)
    finished = site.releaser("update")
    for aside in site.state_dir.glob("journal.json.unreadable-*"):
        aside.rmdir() if aside.is_dir() else aside.unlink()
    broken += witness.after_update(finished, told=harm.told, versions=NEWEST)
    if broken:
        return broken
    again = Witness.of(site)
    finished = site.releaser("update")
    broken = again.after_update(finished, versions=NEWEST)
    is_silent = not (finished.stdout or finished.stderr) and len(again.mails) == len(Witness.of(site).mails)
    return broken + unless(is_silent, f"I5: the update after healing is not silent: {finished}")


def said(site: SampleSite, seen: str | None) -> list[str]:
    """See that status, check and list say what is wrong; return what they do not."""
    answers = {
        "status": "\n".join(site.json("status")["problems"]),
        "check": site.releaser("check").stderr,
        "list": site.releaser("list", "-v").stderr,
    }
    if seen is None:
        return []
    return [f"{name} does not say {seen!r}: {text}" for name, text in answers.items() if not re.search(seen, text)]


# Each with how manyth of it are in the spread.
GROUPS: Mapping[str, tuple[Mapping[str, Harm], int]] = {
    ".venv": (LINK, 4),
    "the live release": (LIVE, 5),
    "a kept release": (KEPT, 4),
    "state": (STATE, 16),
    "temporary names": (OCCUPIED, 11),
}


@pytest.mark.parametrize("group", GROUPS)
def test_damage_is_named_and_healed(
    group: str, grown: SampleSite, tmp_path: Path, tally: Tallies, all_points: bool
) -> None:
    points, (harms, every) = tally("damage by others"), GROUPS[group]
    for number, name in enumerate([*harms][:: 1 if all_points else every]):
        site = grown.copy(tmp_path / str(number))
        points.add("update", f"{group}, {name}", tried(harms[name], site))
        shutil.rmtree(tmp_path / str(number))
    points.check()


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", list(KEPT)[::2])
def test_no_rollback_goes_to_a_damaged_release(name: str, grown: SampleSite, tmp_path: Path) -> None:
    site = grown.copy(tmp_path)
    there = There(site)
    kept, adopted = there.kept, there.adopted
    KEPT[name].do(there)
    if kept.exists() and (kept / MANIFEST).exists():
        finished = site.releaser("rollback", kept.name, check=9)
        assert "is damaged" in finished.stderr
        assert f"releaser rollback {adopted.name}" in finished.stderr
    report = site.json("rollback")
    assert (report["result"], report["release"]) == ("rolled-back", adopted.name)
    assert any(kept.name in problem for problem in report["problems"])
    assert site.live_id() == adopted.name


def test_without_a_sound_release_a_rollback_says_why(grown: SampleSite, tmp_path: Path) -> None:
    site = grown.copy(tmp_path)
    there = There(site)
    edit(module(there.kept))
    edit(module(there.adopted))
    finished = site.releaser("rollback", check=9)
    assert "no earlier good release" in finished.stderr
    assert finished.stderr.count("is damaged") == 2
    assert site.live_id() == there.live.name


def test_data_that_the_site_itself_changes_is_replaced_by_each_update(scenes: Scenes, tmp_path: Path) -> None:
    site = scenes.copy("rollback", tmp_path)
    site.publish("alpha", "1.1.1", modules={"alpha/__init__.py": "", "alpha/data.json": "{}"})
    site.releaser("update", check=0)
    ids = {site.live_id()}
    for _ in range(3):
        data = module(site.state_dir / "releases" / site.live_id(), "alpha/data.json")
        data.write_text('{"seen": 1}', encoding="utf-8")
        finished = site.releaser("update", check=0)
        ids.add(site.live_id())
        assert "data.json is changed" in finished.stderr
    assert len(ids) == 4
    assert not any(site.live_id() in problem for problem in site.json("status")["problems"])


CLOCKS = {
    "ten years ahead": datetime.timedelta(days=3650),
    "1970": datetime.datetime(1970, 1, 2, tzinfo=datetime.UTC) - datetime.datetime.now(datetime.UTC),
}


@pytest.mark.spread(1)
@pytest.mark.parametrize("name", CLOCKS)
def test_the_clock_decides_nothing(name: str, grown: SampleSite, tmp_path: Path, tally: Tallies) -> None:
    site = grown.copy(tmp_path)
    before = site.live_id()
    site.publish("alpha", "1.2.0")
    points, witness = tally("the clock set otherwise"), Witness.of(site)
    finished = at_another_time(site, CLOCKS[name], "update")
    broken = witness.after_update(finished, told=r"1\.2\.0", versions={"alpha": "1.2.0"})
    other = site.live_id()
    points.add("update", name, broken)
    site.publish("alpha", "1.2.1")
    broken = Witness.of(site).after_update(site.releaser("update"), told=r"1\.2\.1", versions={"alpha": "1.2.1"})
    broken += unless(releases(site)[1].name == other, f"the order is {releases(site)}")
    points.add("update", f"{name}, and back", broken)
    broken = []
    for expected in (other, before):
        finished = at_another_time(site, CLOCKS[name], "rollback")
        broken += unless(site.live_id() == expected, f"a rollback went to {site.live_id()}: {finished}")
    points.add("rollback", name, broken)
    silent(site.releaser("update"))
    points.check()


def test_what_is_damaged_is_healed_even_if_what_is_newer_fails(scenes: Scenes, tmp_path: Path) -> None:
    site = scenes.copy("update, tests fail", tmp_path)
    site.withdraw("alpha", "1.2.0")
    site.releaser("update", check=0)
    site.publish("alpha", "1.2.0", broken=True)
    edit(module(site.state_dir / "releases" / site.live_id()))
    witness = replace(Witness.of(site), good={}, live=None)
    told = r"alpha/__init__\.py is changed"
    assert witness.after_update(site.releaser("update"), told=told, versions={"alpha": "1.1.0"}) == []
    site.releaser("update", check=5)
    silent(site.releaser("update"))
    assert site.live_version("alpha") == "1.1.0"
