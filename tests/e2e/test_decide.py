"""`update --dry-run` says what the next `update` does: a table of the states that a site can be in."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from tests.e2e.scenes import CODE, changes, hook, mostly_slow, refused, says, times_of_tree
from tests.support.servers import WAITING_TESTS, meeting
from tests.support.sites import SampleSite, SiteFactory


def nothing(site: SampleSite) -> None:
    """Leave the site as it is."""


def offer(site: SampleSite) -> None:
    """Offer a newer version on the index."""
    site.publish("alpha", "1.1.0")


def offer_beside_a_relative_remote(site: SampleSite) -> None:
    """Offer a newer version; the URL of the remote is relative to the checkout."""
    offer(site)
    site.git("remote", "set-url", "origin", f"../../{site.remote.name}")


def push_code(site: SampleSite) -> None:
    """Push a commit with other code."""
    site.push_from_elsewhere(CODE)


def offer_and_push(site: SampleSite) -> None:
    """Offer a newer version, and push a commit."""
    offer(site)
    push_code(site)


def damage(site: SampleSite) -> None:
    """Delete a file of an installed package."""
    next(site.link.glob("lib/python*/site-packages/beta/__init__.py")).unlink()


def patch(site: SampleSite) -> None:
    """Change a file of an installed package, in the live release alone: releases share files."""
    (module,) = site.link.glob("lib/python*/site-packages/beta/__init__.py")
    text = module.read_text(encoding="utf-8")
    module.unlink()
    module.write_text(f"{text}# mine\n", encoding="utf-8")


def install_by_hand(site: SampleSite) -> None:
    """Install a package that the lock does not have."""
    site.publish("gamma", "1.0.0")
    site.uv("pip", "install", "--quiet", "--python", site.link / "bin" / "python", "gamma")


def copy_by_hand(site: SampleSite) -> None:
    """Put a module beside the installed packages."""
    (packages,) = site.link.glob("lib/python*/site-packages")
    (packages / "local_settings.py").write_text("", encoding="utf-8")


def diverge(site: SampleSite) -> None:
    """Commit here and elsewhere."""
    site.commit("Mine", {"mine.txt": "mine"})
    push_code(site)


def lie_in_the_way(site: SampleSite) -> None:
    """Put an untracked file where a pushed commit has one."""
    site.edit("photo.txt", "mine")
    site.push_from_elsewhere({"photo.txt": "theirs"})


def lock_elsewhere(site: SampleSite) -> None:
    """Let another host push the lock that is live here; the commit of this host was never pushed."""
    site.write_dotenv(git_push="off")
    site.update_to("1.1.0")
    site.write_dotenv()
    site.push_from_elsewhere({}, upgrade=True)


def lock_what_is_on_hold(site: SampleSite) -> None:
    """Let another host push the lock of a version that is on hold here."""
    offer(site)
    site.releaser("hold", "alpha", check=0)
    site.push_from_elsewhere({}, upgrade=True)


def push_late(site: SampleSite) -> None:
    """Push a commit of a person that kept the lock of the live release from being committed."""
    offer(site)
    site.commit("Mine", {"mine.txt": "mine"})
    site.releaser("update", check=7)
    site.push()


def refuse_a_push(site: SampleSite) -> None:
    """Let the remote refuse the commit of an update, once."""
    offer(site)
    refusal = hook(site.remote, "pre-receive")
    site.releaser("update", check=7)
    refusal.unlink()


def fail(site: SampleSite) -> None:
    """Offer a version that fails the tests, and try it."""
    site.publish("alpha", "1.1.0", broken=True)
    site.releaser("update", check=5)


def prepare(site: SampleSite) -> None:
    """Prepare a release."""
    offer_and_push(site)
    site.releaser("update", "--prepare", check=0)


def pause(site: SampleSite) -> None:
    """Pause updates while a version waits."""
    offer(site)
    site.releaser("pause", "the", "sale", check=0)


def kill_while_it_waits(site: SampleSite) -> None:
    """Kill an update when a program that it runs has come to the meeting."""
    with meeting() as met, site.starting("update", env=met.env) as process, met.kept_waiting():
        process.kill()
        process.wait(timeout=30)


def kill_during_tests(site: SampleSite) -> None:
    """Kill an update before the flip."""
    offer(site)
    site.push_from_elsewhere({"site_tests.py": WAITING_TESTS})
    kill_while_it_waits(site)
    assert site.version("alpha") == "1.0.0"


def kill_after_flip(site: SampleSite) -> None:
    """Kill an update while it restarts the site."""
    offer_and_push(site)
    program = site.base / "meet.py"
    program.write_text(f"{WAITING_TESTS}\nunittest.main()\n", encoding="utf-8")
    site.write_dotenv(restart=f"{sys.executable} {program}")
    kill_while_it_waits(site)
    assert site.version("alpha") == "1.1.0"


Versions = Mapping[str, tuple[str | None, str | None]]
ALPHA: Versions = {"alpha": ("1.0.0", "1.1.0")}
GAMMA: Versions = {"gamma": ("1.0.0", None)}
INTERRUPTED = "an interrupted run is finished or undone"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A state, the decision in it, and what the update with these options then moves, of `look`.

    `changes` are those of both answers, `says` words of the dry run. `code` is the exit code of the update; a dry run
    ends with 3 for a refusal, else with 0.
    """

    state: Callable[[SampleSite], None]
    decision: str
    moves: str = ""
    options: tuple[str, ...] = ()
    changes: Versions = field(default_factory=dict)
    says: tuple[str, ...] = ()
    code: int = 0


FORCE, PREPARE = ("--force",), ("--prepare",)
ROWS = {
    "nothing": Row(state=nothing, decision="nothing"),
    "damaged": Row(state=damage, decision="build", moves="link tests"),
    "a hotfix": Row(state=patch, decision="refused", says=("beta/__init__.py", "update --force"), code=3),
    "a hotfix, forced": Row(state=patch, decision="build", moves="link tests", options=FORCE),
    "a package by hand": Row(state=install_by_hand, decision="refused", says=("gamma 1.0.0",), code=3),
    "a package by hand, forced": Row(
        state=install_by_hand, decision="build", moves="link tests", options=FORCE, changes=GAMMA
    ),
    "a module by hand": Row(state=copy_by_hand, decision="refused", says=("local_settings.py",), code=3),
    "a module by hand, forced": Row(state=copy_by_hand, decision="build", moves="link tests", options=FORCE),
    "diverged": Row(state=diverge, decision="refused", says=("diverged",), code=3),
    "a file in the way": Row(state=lie_in_the_way, decision="refused", says=("photo.txt",), code=3),
    "a lock-only commit": Row(state=lock_elsewhere, decision="lock-news", moves="head"),
    "a lock-only commit of what is on hold": Row(state=lock_what_is_on_hold, decision="lock-news", moves="head"),
    "a commit that is due": Row(state=push_late, decision="lock-news", moves="head remote"),
    "an unpushed commit": Row(state=refuse_a_push, decision="lock-news", moves="remote"),
    "a new version": Row(state=offer, decision="build", moves="link tests head remote", changes=ALPHA),
    "a new version, a relative remote": Row(
        state=offer_beside_a_relative_remote, decision="build", moves="link tests head remote", changes=ALPHA
    ),
    "a new version, prepared": Row(state=offer, decision="build", moves="tests", options=PREPARE, changes=ALPHA),
    "a new commit": Row(state=push_code, decision="build", moves="link tests head"),
    "a new version and commit": Row(
        state=offer_and_push, decision="build", moves="link tests head remote", changes=ALPHA
    ),
    "failed before": Row(state=fail, decision="still-failing", code=5),
    "failed before, forced": Row(state=fail, decision="build", moves="tests", options=FORCE, changes=ALPHA, code=5),
    "ready": Row(state=prepare, decision="ready", moves="link head remote", changes=ALPHA),
    "ready, prepared again": Row(state=prepare, decision="ready", options=PREPARE, changes=ALPHA),
    "paused": Row(state=pause, decision="paused", says=("the sale",)),
    "killed during the tests": Row(
        state=kill_during_tests, decision="build", moves="link tests head remote", changes=ALPHA, says=(INTERRUPTED,)
    ),
    "killed after the flip": Row(state=kill_after_flip, decision="nothing", moves="head remote", says=(INTERRUPTED,)),
}


def look(site: SampleSite) -> dict[str, object]:
    """Return what an update moves: the link, the runs of the tests, HEAD, and the branches of the remote."""
    return {
        "link": os.readlink(site.link),
        "tests": len(site.test_runs()),
        "head": site.head(),
        "remote": site.git("for-each-ref", cwd=site.remote),
    }


@pytest.mark.parametrize("name", mostly_slow(ROWS, "a lock-only commit"))
def test_law_37_a_dry_run_says_what_the_update_does(site: SampleSite, name: str) -> None:
    row = ROWS[name]
    row.state(site)
    before, tree = look(site), times_of_tree(site.outer)
    code = 3 if row.decision == "refused" else 0
    shown = site.releaser("update", "--dry-run", *row.options, check=code)
    dry = site.json("update", "--dry-run", *row.options, check=code)
    assert (look(site), times_of_tree(site.outer)) == (before, tree), "a dry run writes nothing"

    real = site.json("update", *row.options, check=row.code)
    assert " ".join(key for key, value in look(site).items() if before[key] != value) == row.moves
    assert changes(real) == row.changes
    assert changes(dry) == row.changes
    is_idle = row.decision == "nothing" and INTERRUPTED not in row.says
    assert ("Everything is up to date." in shown.stderr) == is_idle, shown.stderr
    if is_idle:
        assert site.json("status")["last_run"]["headline"] == "Everything is up to date."
    elif row.decision in {"nothing", "lock-news", "ready", "build"}:
        says(shown, "Would ")
    assert ("not built again" in shown.stderr) == (row.decision == "ready"), shown.stderr
    if row.decision == "refused":
        assert dry["problems"] == real["problems"] != []
    says(shown, *row.says, *([real["failed_release"]] if row.decision == "still-failing" else []))
    assert (dry["decision"], real["decision"]) == (row.decision, row.decision)


def plant_file(site: SampleSite) -> None:
    """Put a file in the place of a directory."""
    (site.state / "reserve").rename(site.state / "reserve.old")
    (site.state / "reserve").touch()


def plant_pipe(site: SampleSite) -> None:
    """Put a pipe in the place of a directory."""
    (site.state / "replaced").rmdir() if (site.state / "replaced").exists() else None
    os.mkfifo(site.state / "replaced")


STATES = {each.__name__: each for each in (plant_file, plant_pipe)}


@pytest.mark.parametrize("name", mostly_slow(STATES, "plant_file"))
def test_law_37_check_and_status_name_what_refuses_each_update(site: SampleSite, name: str) -> None:
    STATES[name](site)
    refusal = site.json("update", check=3)["problems"]
    assert refusal
    for command, code in (("check", 3), ("status", 10)):
        answer = site.json(command, check=code)
        assert all(problem in answer["problems"] for problem in refusal), command
    assert site.json("status", check=10)["well"] is False


@pytest.mark.slow
def test_law_37_41_check_names_settings_of_versions_that_do_not_apply(site: SampleSite) -> None:
    site.write_dotenv(ignore="Alhpa", upgrade_packages='{"alpha": "all"}', constraints="../../none.txt")
    for command in ("check", "update"):
        says(refused(site, command), "`constraints` is `../../none.txt`, which cannot be read")
    site.write_dotenv(ignore="Alhpa", upgrade_packages='{"alpha": "all"}')
    says(site.releaser("check", check=0), "`ignore` or `upgrade_packages` names alhpa: not in uv.lock.")


@pytest.mark.slow
def test_law_23_what_a_hold_keeps_back_is_named(make_site: SiteFactory) -> None:
    site = make_site.live()
    site.publish("alpha", "1.1.0")
    site.publish("beta", "1.1.0", requires=["alpha>=1.1"])
    site.releaser("hold", "alpha", check=0)
    words = ("alpha 1.1.0 is on hold by you", "beta 1.1.0 needs alpha 1.1.0, which is on hold by you")
    says(site.releaser("update", "--dry-run", check=0), *words)
    says(site.releaser("update", "-v", check=0), *words)
    decision = site.json("status")["decision"]
    assert (decision["kind"], {each["name"] for each in decision["skipped"]}) == ("nothing", {"alpha", "beta"})
    assert "\nskipped " in site.releaser("status", check=0).stdout
    site.releaser("unhold", "--all", check=0)
    assert site.json("status")["decision"]["skipped"] == []
    assert "\nskipped " not in site.releaser("status", check=0).stdout
    assert changes(site.json("update")) == {"alpha": ("1.0.0", "1.1.0"), "beta": ("1.0.0", "1.1.0")}
