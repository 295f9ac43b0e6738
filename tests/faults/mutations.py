"""The mutations: releaser with a step of its protocol left out. For each, the fault that shows what the step is for."""

import compileall
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.invariants import unless
from tests.faults.powercut import DiskStage
from tests.faults.scenes import UPDATED, Scenes
from tests.faults.stage import Stage
from tests.faults.test_full_disk import broken_by_rollback_on_full_disk, on_small_disk
from tests.faults.test_git_killed import kill_moving_git
from tests.faults.test_interrupt import interrupt
from tests.faults.test_kill import AFTER_FLIP, BEFORE_FLIP, at_call, kill
from tests.faults.test_two_at_once import broken_after_second_run, broken_by_children_of_killed_run
from tests.faults.tracing import Call
from tests.support import sample
from tests.support.commands import HOUSE, started
from tests.support.servers import WAITING_TESTS, meeting
from tests.support.sites import SampleSite

Find = Callable[[list[Call]], Call]


@dataclass(frozen=True)
class Ground:
    """Scenes whose releaser is the mutated `package`, below `place`."""

    scenes: Scenes
    place: Path
    package: Path

    def stage(self, name: str) -> Stage:
        """Return a scene at its place."""
        stage = Stage(self.scenes, name, self.place)
        use(stage.site, self.package)
        return stage

    def disk_stage(self, name: str) -> DiskStage:
        """Return a scene on a disk of its own."""
        stage = DiskStage(self.scenes, name, self.place)
        use(stage.site, self.package)
        return stage


def use(site: SampleSite, package: Path) -> None:
    """Let the site's programs be a copy of releaser."""
    site.env["PYTHONPATH"] = str(package)
    start = [sys.executable, "-m", "releaser"]

    def words(command: str, args: Sequence[str | Path], project: Path | str | None) -> list[str | Path]:
        return [*start, *command.split(), "--project", project or site.path, *args]

    site._words = words  # type: ignore[method-assign]


@dataclass(frozen=True)
class Mutation:
    """A step that is left out: `old` in the file becomes `new`; `trial` names what is broken then."""

    sentence: str
    file: str
    old: str
    new: str
    trial: Callable[[Ground], list[str]] = field(repr=False)

    def apply(self, place: Path) -> Path:
        """Copy releaser without the step; return the directory of the copy, for PYTHONPATH."""
        package = place / "package"
        shutil.copytree(HOUSE / "releaser", package / "releaser", ignore=shutil.ignore_patterns("__pycache__"))
        file = package / "releaser" / self.file
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(self.old, self.new), encoding="utf-8")
        assert compileall.compile_dir(package, quiet=1)
        return package


# Trials


def killed(name: str, find: Find, *, number: int = 2) -> Callable[[Ground], list[str]]:
    """Kill at a call; by its number, the next command is `prune` or the next update."""

    def trial(ground: Ground) -> list[str]:
        stage = ground.stage(name)
        return kill(stage, number, find(stage.calls()))

    return trial


def cut(name: str, find: Find, *, number: int = 2) -> Callable[[Ground], list[str]]:
    """Cut the power at a call, with changes of directories written."""

    def trial(ground: Ground) -> list[str]:
        stage = ground.disk_stage(name)
        call = find(stage.calls())
        with stage.disk() as disk:
            stage.cut_at(call, disk, entries_written=True)
            return stage.eyewitness.aftermath(number)

    return trial


def ended(name: str) -> Callable[[Ground], list[str]]:
    """Let the command come to its end."""

    def trial(ground: Ground) -> list[str]:
        stage = ground.stage(name)
        finished = stage.site.releaser(stage.command)
        broken = unless(finished.returncode == stage.scene.code, f"it ended wrongly: {finished}")
        return broken + stage.eyewitness.witness.after_command() + stage.eyewitness.aftermath()

    return trial


def interrupted(name: str, find: Find) -> Callable[[Ground], list[str]]:
    """Send SIGTERM at a call before the flip; all is as before then."""

    def trial(ground: Ground) -> list[str]:
        stage = ground.stage(name)
        return interrupt(stage, 1, find(stage.calls()), signal.SIGTERM, is_before_flip=True)

    return trial


def goes_forward_again(ground: Ground) -> list[str]:
    """Kill an automatic rollback; the release that failed passes the health check by chance then, and must not stay."""
    stage = ground.stage("update, ill")
    stage.strike(at_call("rename", "/site/.venv", nth=2)(stage.calls()), "signal=KILL")
    stage.site.write_dotenv(health_check="true")
    stage.site.releaser("prune")
    return unless(stage.site.version("alpha") == "1.1.0", "the automatic rollback was not finished")


def written_by_tests(ground: Ground) -> list[str]:
    """Let tests write a file among the packages of their candidate, which is not mounted read-only."""
    site, code = ground.stage("rollback").site, "import alpha\nopen(alpha.__path__[0] + '/cache.txt', 'w')\n"
    site.write_dotenv(shadow="off")
    site.push_commit("Write", {"site_tests.py": code + sample.SITE_TESTS})
    finished, live = site.releaser("update"), site.live()
    return unless(finished.returncode == 5, f"a release that its tests had changed is live: {live}")


def goes_back_too_late(ground: Ground) -> list[str]:
    """Kill a run that publishes; the site falls ill later, and a good release must stay."""
    stage = ground.stage("update")
    stage.strike(at_call("rename", "/.pending.json.releaser.new")(stage.calls()), "signal=KILL")
    stage.site.write_dotenv(health_check="false")
    stage.site.releaser("prune")
    return unless(UPDATED.items() <= stage.site.versions().items(), "a good release was rolled back")


def edited_during_tests(ground: Ground) -> list[str]:
    """Let a person edit a file while the candidate is tested."""
    site = ground.stage("rollback").site
    site.push_commit("Wait", {"site_tests.py": WAITING_TESTS})
    live = site.live()
    with meeting() as place, site.starting("update", env=place.env) as update:
        with place.kept_waiting():
            site.edit("shop.py", "edited")
        update.communicate(timeout=60)
    return unless((update.returncode, site.live()) == (3, live), "a candidate went live over an edited file")


def signalled_as_it_restarts(ground: Ground) -> list[str]:
    """Send SIGTERM while the restart command runs: it comes to its end."""
    site = ground.stage("rollback").site
    program, done = site.base / "restart.py", site.base / "restarted"
    end = f"import time\nunittest.main(exit=False)\ntime.sleep(1)\nopen({str(done)!r}, 'w')\n"
    program.write_text(f"{WAITING_TESTS}\n{end}", encoding="utf-8")
    site.write_dotenv(restart=f"{sys.executable} {program}")
    site.push_commit("Go live", {"notes.txt": "new"})
    with meeting() as place, site.starting("update", env=place.env) as update:
        with place.kept_waiting():
            update.send_signal(signal.SIGTERM)
        update.communicate(timeout=60)
    broken = unless(update.returncode == 128 + signal.SIGTERM, f"it ended with {update.returncode}")
    return broken + unless(done.exists(), "the restart was ended by a signal")


def prunes_what_is_used(ground: Ground) -> list[str]:
    """Let the policy delete a release while a process runs on it."""
    site = ground.stage("rollback").site
    site.write_dotenv(keep="0", keep_within="0s")
    site.update_to("1.1.5")
    used, python = site.live(), site.link / "bin" / "python"
    with started(
        [python, "-c", "print(1, flush=True); input()"], cwd=site.outer, env=site.env, stdin=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        site.update_to("1.1.6")
        site.update_to("1.1.7")
        site.releaser("prune", check=0)
        return unless(used in site.releases(), "a release that a process uses was deleted")


def full_disk_stops_rollback(ground: Ground) -> list[str]:
    """Roll back without a free inode."""
    with on_small_disk(ground.scenes, "rollback", ground.place) as (site, disk):
        use(site, ground.package)
        return broken_by_rollback_on_full_disk(site, disk, "inodes")


def replaces_a_file_of_the_site(ground: Ground) -> list[str]:
    """Let a build write what lies in the checkout already."""
    site = ground.stage("init, fresh").site
    site.edit("made.ignored", "mine")
    finished, text = site.releaser("init"), (site.path / "made.ignored").read_text(encoding="utf-8")
    return unless((finished.returncode, text) == (0, "mine"), f"a file of the site did not stay: {finished}")


def moves_a_tracked_product(ground: Ground) -> list[str]:
    """Let a build make a file that was tracked."""
    site = ground.stage("rollback").site
    (site.path / "made.ignored").unlink()
    site.push_from_elsewhere({"made.ignored": "tracked"})
    site.write_dotenv(before_build="true")
    site.releaser("update", check=0)
    site.push_from_elsewhere({"more.txt": ""}, remove="made.ignored")
    site.write_dotenv()
    finished = site.releaser("update")
    return unless(finished.returncode == 0, f"a tracked file did not become a product: {finished}")


def runs_stale_byte_code(ground: Ground) -> list[str]:
    """Leave byte code of a source that a commit changes, which Python takes in any case."""
    site = ground.stage("update").site
    site.push_from_elsewhere({"shop.py": "EDITION = 2\nBROKEN = False\n"})
    python, mode = site.link / "bin" / "python", "py_compile.PycInvalidationMode.UNCHECKED_HASH"
    site.run(python, "-c", f"import py_compile; py_compile.compile('shop.py', invalidation_mode={mode})")
    site.releaser("update", check=0)
    edition = site.run(python, "-c", "import shop; print(shop.EDITION)").stdout.strip()
    return unless(edition == "2", f"Python runs edition {edition} of the code")


def leaves_a_lock_of_git(ground: Ground) -> list[str]:
    """Kill git while it moves the checkout, which releaser outlives."""
    stage = ground.stage("update")
    return kill_moving_git(stage, stage.site.live(), times=1) + stage.eyewitness.aftermath()


def calls_half_a_way_back_one(ground: Ground) -> list[str]:
    """Kill each git that moves the checkout back."""
    stage = ground.stage("update, ill")
    live = stage.site.live()
    broken = kill_moving_git(stage, live, times=9, back=True)
    return broken + unless(stage.site.live() != live, "the earlier release is live on the code of the new one")


def exchange(calls: list[Call]) -> Call:
    """Find the call that puts the link in the place of the directory."""
    return next(call for call in calls if call.name in ("symlink", "renameat2") and call.concerns("/site/.venv"))


# fmt: off
MUTATIONS = (
    Mutation("A state file is synced before its rename", "system/files.py",
             "                os.fsync(file.fileno())\n        for target,",
             "        for target,", cut("update", at_call("fsync", "/.releaser/site", nth=3))),
    Mutation("The link is replaced by one rename", "system/files.py",
             "        os.rename(temporary, link)",
             "        link.unlink(missing_ok=True)\n        os.rename(temporary, link)", killed("update", BEFORE_FLIP)),
    Mutation("What goes live is written out before the flip", "system/files.py",
             "        if libc.syncfs(descriptor) != 0:", "        if libc is None:",
             cut("update", at_call("rename", "/site/.venv", after=True))),
    Mutation("A candidate is closed before its tests", "candidate/trial.py",
             "        if changes := find_differences(place.venv, trial.sealed):",
             "        trial = msgspec.structs.replace(trial, sealed=close_venv(place, plan))\n"
             "        if changes := find_differences(place.venv, trial.sealed):", written_by_tests),
    Mutation("The manifest comes last", "candidate/trial.py",
             '    with run.step("build") as detail:',
             '    (directory / "manifest.json").write_text("{}")\n    with run.step("build") as detail:',
             killed("update", at_call("write", "/.state.json.releaser.new"))),
    Mutation("The journal says `changing` before anything changes", "live/change.py",
             "        write_entry(site.paths, entry)\n        try:", "        try:", killed("update", BEFORE_FLIP)),
    Mutation("The journal says `going-back` before an automatic rollback", "live/change.py",
             'write_entry(site.paths, msgspec.structs.replace(entry, phase="going-back", may_hold=may_hold))',
             'msgspec.structs.replace(entry, phase="going-back", may_hold=may_hold)', goes_forward_again),
    Mutation("The journal says `publishing` once a release is good", "live/change.py",
             '    entry = write_entry(site.paths, msgspec.structs.replace(entry, phase="publishing"))',
             '    entry = msgspec.structs.replace(entry, phase="publishing")', goes_back_too_late),
    Mutation("The journal is dropped at the end", "report/tell.py",
             "        _write(site, drop_entry, paths)", "        pass", ended("rollback")),
    Mutation("The journal says `telling` until the news is safe", "report/tell.py",
             "    if telling.mail and (error := ", "    drop_entry(paths)\n    if telling.mail and (error := ",
             killed("update", at_call("mkdir", "/outbox"))),
    Mutation("Recovery tells of what an earlier run has done", "pipelines/recover.py",
             "    save_news(site, earlier, telling)\n", "    drop_entry(site.paths)\n", killed("update", AFTER_FLIP)),
    Mutation("The checkout is written out with the change", "checkout/move.py",
             "    sync_file_system(site.paths.top)", "    pass", cut("update", AFTER_FLIP)),
    Mutation("git syncs what it writes", "checkout/repository.py",
             '"core.fsync": "all"', '"core.fsync": "none"',
             cut("update", at_call("syncfs", "/outer/site", nth=2))),
    Mutation("The checkout is compared with the start of the run right before the flip", "pipelines/conclude.py",
             "    require_unchanged(site, repository, snapshot)\n", "", edited_during_tests),
    Mutation("One run holds the lock", "site/run_lock.py",
             "        lock.acquire()", "        pass",
             lambda ground: broken_after_second_run(ground.stage("rollback").site, "prune")),
    Mutation("A change that does not come to its flip is undone", "live/change.py",
             "            undo_change(site, run, repository, entry)\n            raise", "            raise",
             interrupted("update", at_call("rename", "/site/uv.lock"))),
    Mutation("A signal waits until a change is whole", "live/change.py",
             "    with defer_signals():", "    if True:", signalled_as_it_restarts),
    Mutation("Recovery undoes a change whose flip was not done", "pipelines/recover.py",
             "    undo_change(site, run, repository, entry)\n", "    drop_entry(site.paths)\n",
             killed("update", BEFORE_FLIP)),
    Mutation("Recovery finishes a change whose flip was done", "pipelines/recover.py",
             "_finish_change(site, run, repository, finish_change(site, run, repository, entry))",
             "_finish_change(site, run, repository, ChangeResult(entry))", killed("update", AFTER_FLIP)),
    Mutation("What is half-built is deleted", "pipelines/recover.py",
             "    run.store = sweep_releases(run.store, run)\n", "    pass\n",
             killed("update", at_call("write", "/.manifest.json.releaser.new"))),
    Mutation("The site is restarted after an automatic rollback, too", "live/change.py",
             "    for action in ACTIONS:", "    for action in ACTIONS[:2]:", ended("update, ill")),
    Mutation("Products go live with the flip", "checkout/move.py",
             "    place_products(products)\n", "", ended("update")),
    Mutation("Products go back together with the code", "checkout/move.py",
             "plan_products(site, repository, entry, back=back)", "plan_products(site, repository, entry, back=False)",
             ended("update, ill")),
    Mutation("A file that lies untracked in the checkout is not replaced", "candidate/trial.py",
             "is_site_file(site, deployed, path, by_installer=path in installed)", "False",
             replaces_a_file_of_the_site),
    Mutation("A file that was tracked becomes a product", "checkout/products.py",
             "ABSENT if path in tracked else read_content(top, path, leaving)", "read_content(top, path, leaving)",
             moves_a_tracked_product),
    Mutation("Byte code of what a checkout changes is deleted", "checkout/move.py",
             "    _delete_byte_code(site.paths.top, repository, [*sources, *products.paths])\n", "",
             runs_stale_byte_code),
    Mutation("A lock that a killed git has left is removed", "checkout/repository.py",
             "                    lock.unlink()", "                    pass", leaves_a_lock_of_git),
    Mutation("A way back whose checkout stops half-way goes on in the next run", "live/change.py",
             "            if not isinstance(error, ChangeError | PreflightError) and action in UP_TO_FLIP:",
             "            if False:", calls_half_a_way_back_one),
    Mutation("Static files are collected from the new release", "live/django.py",
             'str(entry.final) / "venv"', 'str(entry.earlier) / "venv"',
             ended("update")),
    Mutation("Static files go back together with the code", "live/django.py",
             'str(entry.final) / "venv"', 'str(entry.release) / "venv"',
             ended("update, ill")),
    Mutation("Prune asks the lease whether a process uses a release", "releases/lease.py",
             "    return bool(struct.unpack_from", "    return False and bool(struct.unpack_from", prunes_what_is_used),
    Mutation("A new process of a release takes its lease", "releases/startup/_releaser.py",
             "    fcntl.fcntl(descriptor, _OFD_SETLK", "    (descriptor, _OFD_SETLK", prunes_what_is_used),
    Mutation("An automatic rollback puts on hold what it removed", "pipelines/conclude.py",
             "        holds = make_release_holds(left, release, entry.reason)\n", "", ended("update, ill")),
    Mutation("A venv is adopted by one exchange", "releases/link.py",
             "        exchange(directory, paths.link)",
             "        os.unlink(directory)\n        os.rename(paths.link, directory)\n"
             "        os.symlink(make_link_text(paths, release), paths.link)",
             killed("init, adopt", exchange)),
    Mutation("On a full disk the reserve is deleted", "releases/reserve.py",
             "            (directory / str(number)).unlink()", "            pass", full_disk_stops_rollback),
    Mutation("The next run ends the children of a killed run", "pipelines/recover.py",
             '    ended = end_marked(f"{site.paths.state}/")', "    ended = []",
             lambda ground: broken_by_children_of_killed_run(ground.stage("rollback").site)),
)
# fmt: on
