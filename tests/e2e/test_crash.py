"""Kills, signals, broken state and two runs at once: the next command finishes or undoes what was begun."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.scenes import CODE, during_tests, eventually, is_open, mostly_slow, no_change, refused, says, silent
from tests.support.servers import WAITING_TESTS, meeting
from tests.support.sites import SampleSite, SiteFactory

NEVER_BREAKS = {0, 7}


@pytest.fixture
def waiting(make_site: SiteFactory) -> SampleSite:
    """A site whose tests wait for ours, with a newer package and a newer commit."""
    site = make_site.live(files={"site_tests.py": WAITING_TESTS}, due="1.1.0")
    site.push_from_elsewhere(CODE)
    return site


def leftovers(site: SampleSite) -> list[str]:
    """Return what no run leaves behind in the state directory."""
    names = [path.name for path in site.state.iterdir()]
    return [name for name in names if name.startswith("shadow-") or name == "journal.json"]


@pytest.mark.parametrize("name", mostly_slow(["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"], "SIGTERM"))
def test_law_08_a_run_that_is_ended_during_the_tests_changes_nothing(waiting: SampleSite, name: str) -> None:
    site, number = waiting, signal.Signals[name]
    code = -number if name == "SIGKILL" else 128 + number
    with no_change(site), during_tests(site, code=code) as run:
        run.process.send_signal(number)
        run.process.wait(timeout=30)
        assert name == "SIGKILL" or not leftovers(site), "a signal cleans up at once"
    site.releaser("prune", check=0)
    assert (leftovers(site), site.version("alpha"), len(site.releases())) == ([], "1.0.0", 1)
    site.releaser("update", check=0)
    assert (site.version("alpha"), site.remote_head(), site.status()) == ("1.1.0", site.head(), "")


@pytest.mark.parametrize("command", mostly_slow(["update", "prune", "rollback"], "prune"))
def test_law_08_a_run_that_is_killed_after_the_flip_is_finished_by_the_next_command(
    make_site: SiteFactory, command: str
) -> None:
    site = make_site.live(due="1.1.0")
    site.push_from_elsewhere(CODE)
    program = site.base / "meet.py"
    program.write_text(WAITING_TESTS + "\nunittest.main()\n", encoding="utf-8")
    site.write_dotenv(restart=f"{sys.executable} {program}")
    first = site.live()
    with meeting() as met, site.starting("update", env=met.env) as process, met.kept_waiting():
        assert site.version("alpha") == "1.1.0"
        process.kill()
        process.wait(timeout=30)
    second = site.live()
    assert site.json("status", check=10)["attention"]
    finished = site.releaser(command)
    assert finished.returncode == 0, str(finished)
    assert leftovers(site) == []
    assert site.states()[second] in {"live", "rolled-back"}
    assert site.live() == (first if command == "rollback" else second)
    if command == "update":
        assert (site.remote_head(), site.status()) == (site.head(), "")
    assert site.git("fsck", "--no-progress", "--no-dangling") == ""


@pytest.mark.slow
@pytest.mark.parametrize("left", mostly_slow(["nothing", "a part", "a release's", "no file", "a person's"], "a part"))
def test_law_08_14_a_lock_that_a_power_cut_has_cut_short_is_put_back(site: SampleSite, left: str) -> None:
    first, old, commit = site.live(), site.lock(), site.head()
    second = site.update_to("1.1.0")
    new, head, link = site.lock(), site.head(), os.readlink(site.link)
    entry = {"phase": "changing", "command": "rollback", "run": first, "from": second, "to": first, "link": link}
    (site.state / "journal.json").write_text(json.dumps(entry | {"head": head, "commit": commit}), encoding="utf-8")
    site.git("reset", "--quiet", "--hard", commit)  # the move has come so far
    text, is_own = {"a part": old[:-9], "a release's": new, "a person's": f"{old}# mine\n"}, left == "a person's"
    site.edit("uv.lock", text.get(left, ""))
    (site.path / "uv.lock").unlink() if left == "no file" else None
    says(site.releaser("prune", check=3 if is_own else 0), *(["uv.lock", "checkout HEAD"] if is_own else []))
    assert site.lock() == (text[left] if is_own else new)
    assert is_own or (site.head(), site.status(), site.live()) == (head, "", second)


def test_law_08_a_file_that_became_a_directory_half_way_comes_back(site: SampleSite) -> None:
    head, live = site.commit("A file", {"data": "old"}), site.live()
    site.git("rm", "--quiet", "data")
    commit = site.commit("A directory", {"data/new": "new"})
    site.git("reset", "--quiet", "--hard", head)
    site.git("read-tree", "-m", "-u", "HEAD", commit)  # the move has come so far
    entry = {"phase": "changing", "command": "update", "run": live, "from": live, "to": live, "head": head}
    (site.state / "journal.json").write_text(json.dumps(entry | {"commit": commit, "link": os.readlink(site.link)}))
    site.releaser("prune", check=0)
    assert ((site.path / "data").read_text(), site.status()) == ("old", "")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "broken JSON": lambda path: path.write_text('{"phase": "chan', encoding="utf-8"),
    "other JSON": lambda path: path.write_text('["a list", 5]', encoding="utf-8"),
    "binary": lambda path: path.write_bytes(b"\xff\x00" * 4096),
    "empty": lambda path: path.write_bytes(b""),
    "directory": lambda path: (path / "mine").mkdir(parents=True),
    "FIFO": os.mkfifo,
    "dangling link": lambda path: path.symlink_to("nowhere"),
}
#: The journal says what recovery does, so it breaks alone; the others break together, as on a disk that lost blocks.
FILES = {
    "journal": ("journal.json",),
    "others": ("holds.json", "pause.json", "pending.json", "history.jsonl", "decision.json"),
}


@pytest.mark.parametrize("files", mostly_slow(FILES, "journal"))
@pytest.mark.parametrize("damage", mostly_slow(DAMAGE, "broken JSON"))
def test_law_09_broken_state_files_do_not_stop_the_next_update(make_site: SiteFactory, files: str, damage: str) -> None:
    site = make_site.live("1.1.0", due="1.2.0")
    paths = [site.state / name for name in FILES[files]]
    for path in paths:
        path.unlink(missing_ok=True)
        DAMAGE[damage](path)
    # Each update writes these two: only what stands in the way of the file is kept as `.broken`.
    rewritten = {"history.jsonl"} | ({"decision.json"} if (site.state / "decision.json").is_file() else set())
    for command in ("status", "list", "check"):
        assert site.releaser(command).returncode in {0, 3, 10}, command
    finished = site.releaser("update")
    assert finished.returncode in NEVER_BREAKS, str(finished)
    assert site.version("alpha") == "1.2.0"
    for path in paths:
        if path.name not in rewritten and damage != "empty":
            says(finished, f"{path.name}.broken")
            assert os.path.lexists(f"{path}.broken")
        assert path.is_file() or not os.path.lexists(path)
    silent(site.releaser("update"))


def test_law_09_a_hold_that_cannot_be_read_is_named_and_set_aside(site: SampleSite) -> None:
    site.releaser("hold", "alpha", check=0)
    path = site.state / "holds.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r'("since": ?"[^"]+)Z"', r'\1"', text), encoding="utf-8")  # a time without a zone
    assert path.read_text(encoding="utf-8") != text
    site.publish("alpha", "1.1.0")
    says(site.releaser("update"), "holds.json.broken", "timezone", "nothing is on hold any more")
    assert (site.version("alpha"), site.json("status")["on_hold"]) == ("1.1.0", [])
    assert "alpha" in (site.state / "holds.json.broken").read_text(encoding="utf-8")
    silent(site.releaser("update"))


BROKEN = [f"{damage} {file}" for damage in ("broken JSON", "directory") for file in ("state.json", "manifest.json")]


@pytest.mark.slow
@pytest.mark.parametrize("broken", mostly_slow([*BROKEN, "deleted uv.lock", "broken JSON uv.lock"], BROKEN[0]))
@pytest.mark.parametrize("which", mostly_slow(["live", "previous", "only"], "live"))
def test_law_09_a_release_with_a_broken_record_stops_nothing(make_site: SiteFactory, broken: str, which: str) -> None:
    damage, _, file = broken.rpartition(" ")
    site = make_site.live(*([] if which == "only" else ["1.1.0"]), due="1.2.0")
    path = site.release([*site.states()][which == "previous"]) / file
    path.unlink()
    DAMAGE.get(damage, Path)(path)
    if which != "previous" and file != "state.json":
        assert f"The live release {path.parent.name} has" in " ".join(site.releaser("status").stdout.split())
    go_on(site)
    assert site.version("alpha") == "1.2.0"
    finished = site.releaser("rollback")
    assert finished.returncode in {0, 7, 9}, str(finished)
    says(finished)
    assert site.python("import alpha; print(alpha.__version__)") == site.version("alpha")


def go_on(site: SampleSite) -> None:
    """Update; if that is refused, do first as the refusal says: it names a command that goes on."""
    finished = site.releaser("update")
    says(finished)
    if finished.returncode not in NEVER_BREAKS:
        assert finished.returncode == 3, str(finished)
        advice = re.search(r"`releaser ([^`]+)`", finished.stderr)
        assert advice is not None, f"no command is named: {finished}"
        assert site.releaser(*advice[1].split()).returncode in NEVER_BREAKS, advice[1]
        site.releaser("update", check=0)


@pytest.mark.parametrize("name", ["lock", "logs", "cache", "reserve", "releases"])
@pytest.mark.parametrize("damage", ["binary", "FIFO", "dangling link"])
@pytest.mark.slow
def test_law_09_another_kind_of_entry_in_the_state_directory_is_named_or_moved(
    make_site: SiteFactory, name: str, damage: str
) -> None:
    site = make_site.live(due="1.1.0")
    path = site.state / name
    path.rename(site.base / "taken")
    DAMAGE[damage](path)
    finished = site.releaser("update")
    says(finished)
    if finished.returncode not in NEVER_BREAKS:
        assert finished.returncode in {3, 9}, str(finished)
        says(finished, str(path))
        path.unlink()
        (site.base / "taken").rename(path)
        site.releaser("update", check=0)
    assert site.version("alpha") == "1.1.0"


@pytest.mark.slow
def test_law_09_a_deleted_state_directory_is_made_again(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0")
    shutil.rmtree(site.outer / ".releaser")
    finished = site.releaser("status", check=10)
    assert "releaser init" in finished.stdout + finished.stderr
    go_on(site)
    assert (site.version("alpha"), site.status()) == ("1.1.0", "")
    site.update_to("1.2.0")


@pytest.mark.slow
def test_law_09_a_moved_outer_directory_goes_on(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0")
    site.outer.rename(site.base / "moved")
    moved = SampleSite(site.base, uv_cache=Path(site.env["UV_CACHE_DIR"]), outer="moved")
    moved.remote = site.remote
    assert moved.python("import alpha; print(alpha.__version__)") == "1.1.0"
    assert moved.json("status")["well"] is True
    moved.update_to("1.2.0")
    for version in ("1.1.0", "1.0.0"):
        moved.releaser("rollback", check=0)
        assert moved.python("import alpha; print(alpha.__version__)") == version


@pytest.mark.slow
def test_law_10_a_second_run_ends_and_names_the_first(waiting: SampleSite) -> None:
    site = waiting
    with during_tests(site) as run:
        for command in ("update", "rollback", "prune", "init"):
            finished = refused(site, command, code=8)
            says(finished, str(run.process.pid), "update")
        assert site.json("update", check=8)["result"] == "refused"
        assert site.json("update", "--wait", "1", check=8)["exit_code"] == 8
        assert site.releaser("list").returncode == 0  # questions wait for nobody
        assert site.releaser("status").returncode in {0, 10}
    assert site.version("alpha") == "1.1.0"


@pytest.mark.slow
def test_law_10_a_run_waits_for_the_lock_if_asked(waiting: SampleSite) -> None:
    with contextlib.ExitStack() as stack:
        with during_tests(waiting):
            second = stack.enter_context(waiting.starting("prune", "--wait", "60"))
            with pytest.raises(subprocess.TimeoutExpired):
                second.wait(timeout=1)
        assert second.wait(timeout=60) == 0


@pytest.mark.slow
def test_law_05_10_a_rollback_ends_an_update_that_has_not_flipped(waiting: SampleSite) -> None:
    site = waiting
    first, second = site.live(), site.update_to("1.1.0")
    site.publish("alpha", "1.2.0")
    with during_tests(site, code=143) as run:
        running = site.json("status")["running"]
        assert {name: running[name] for name in ("command", "pid", "step")} == {
            "command": "update",
            "pid": run.process.pid,
            "step": "test",
        }
        assert abs(datetime.fromisoformat(running["since"]).timestamp() - time.time()) < 60
        with site.starting("prune", "--wait", "60") as waiter:  # a signal ends a wait, too
            eventually(lambda: is_open(waiter.pid, site.state / "lock"), "the wait for the lock")
            waiter.send_signal(signal.SIGTERM)
            assert waiter.wait(timeout=10) == 143
        says(
            refused(site, "rollback", "no-such-release", code=8), str(run.process.pid)
        )  # it would be refused: no reason
        says(site.releaser("rollback", check=0), "Ending `releaser update`", str(run.process.pid), first)
    assert (site.live(), site.version("alpha"), leftovers(site)) == (first, "1.0.0", [])
    status = site.json("status")
    assert (status["running"], status["well"], site.states()[second]) == (None, True, "rolled-back")


@pytest.mark.slow
def test_law_10_a_rollback_does_not_end_an_update_after_its_flip(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0", due="1.2.0")
    program = site.base / "meet.py"
    program.write_text(WAITING_TESTS + "\nunittest.main()\n", encoding="utf-8")
    site.write_dotenv(restart=f"{sys.executable} {program}")
    with meeting() as met, site.starting("update", env=met.env) as update:
        with met.kept_waiting():
            says(refused(site, "rollback", code=8), str(update.pid), "step restart", "--wait")
            assert "interrupted" not in site.releaser("status").stdout
            says(refused(site, "update", "--dry-run", code=8), str(update.pid), "not known yet")
        assert (update.wait(timeout=60), site.version("alpha")) == (0, "1.2.0")


@pytest.mark.slow
def test_law_08_a_signal_to_all_of_its_service_blames_no_release(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    script = site.base / "restart.sh"
    asked = f"'{site.base}/asked'"
    script.write_text(f"test -e {asked} || {{ touch {asked}; kill -TERM $PPID $$; }}\n", encoding="utf-8")
    site.write_dotenv(restart=f"sh {script}")
    site.releaser("update", check=143)
    site.releaser("prune", check=0)
    held = site.json("status", check=10)["on_hold"]
    assert (site.version("alpha"), held, site.status()) == ("1.1.0", [], "")


@pytest.mark.slow
def test_law_10_a_rollback_that_waited_for_another_release_leaves_it(waiting: SampleSite) -> None:
    """Nothing was there to go back to when it was typed, so the update went on."""
    site = waiting
    with contextlib.ExitStack() as stack:
        with during_tests(site):
            rollback = stack.enter_context(site.starting("rollback", "--wait", "60"))
            eventually(lambda: is_open(rollback.pid, site.state / "lock"), "the wait for the lock")
        _, stderr = rollback.communicate(timeout=60)
    assert (rollback.returncode, site.version("alpha")) == (8, "1.1.0"), stderr
    assert f"{site.live()} went live while this rollback waited" in stderr
    site.releaser("rollback", check=0)
    assert site.version("alpha") == "1.0.0"


@pytest.mark.slow
def test_law_20_a_number_that_another_process_has_now_runs_nothing(waiting: SampleSite) -> None:
    site = waiting
    with during_tests(site, code=-signal.SIGKILL) as run:
        record = json.loads((site.state / "lock").read_text(encoding="utf-8"))
        run.process.kill()
        run.process.wait(timeout=30)
    started = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    record[1]["pid"] = os.getpid()
    for number in (record[0], started):
        (site.state / "lock").write_text(json.dumps([number, record[1]]), encoding="utf-8")
        answer = site.json("status", check=10)
        assert (answer["running"], "unfinished" in [each["code"] for each in answer["attention"]]) == (None, True)
    with (site.state / "lock").open() as file:  # another holder of the lock, which has not said its name yet
        fcntl.flock(file, fcntl.LOCK_EX)
        (site.state / "lock").write_text(json.dumps([record[0], record[1]]), encoding="utf-8")
        says(refused(site, "prune", code=8), "Another run of releaser holds the lock")
        assert json.loads(site.releaser("status", "--json").stdout)["running"]["pid"] is None
    site.releaser("prune", check=0)


#: Tests that leave a child in their process group, and a daemon.
LEAVING_TESTS = """\
import os, subprocess, sys, unittest

class Leaving(unittest.TestCase):
    def test_leaves(self):
        sleep = [sys.executable, "-c", "import time; time.sleep(120)", os.environ["SITE_RECORD"]]
        quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for is_daemon in (False, True):
            subprocess.Popen(sleep, start_new_session=is_daemon, **quiet)
        open(os.environ["SITE_RECORD"] + ".left", "w").close()
"""


def children(site: SampleSite) -> list[str]:
    """Return the processes that the tests of the site have left; their own ids are those of a namespace."""
    found = []
    for path in [Path("/proc", name, "cmdline") for name in os.listdir("/proc") if name.isdigit()]:
        with contextlib.suppress(OSError):
            found += [path.parent.name] if path.read_bytes().endswith(b"\0" + os.fsencode(site.record) + b"\0") else []
    return found


@pytest.mark.parametrize("shadow", ["auto", "off"])
def test_law_10_children_do_not_outlive_a_run(make_site: SiteFactory, shadow: str) -> None:
    site = make_site(files={"site_tests.py": LEAVING_TESTS})
    site.write_dotenv(shadow=shadow)
    site.releaser("init", check=0)
    assert Path(f"{site.record}.left").exists()
    eventually(lambda: not children(site), "the end of the children", seconds=5)
