"""Whether a restart has had its effect: judged by processes that are made up, and seen in ones that are not."""

import os
from pathlib import Path
from typing import Any

import pytest

from releaser.releases import startup
from releaser.releases.journal import Flip
from releaser.releases.leases import Process
from releaser.releases.release import Release
from releaser.serving.health import RestartCheck
from releaser.serving.processes import in_use
from releaser.system.uptime import boot_id
from tests.releases.makers import a_manifest, on_paper

FLIP = 1000.0
OLD, NEW = "20261120T061200Z", "20261121T061200Z"


def release(name: str) -> Release:
    return on_paper(Path("/releases"), a_manifest(id=name))


def process(pid: int, began: float) -> Process:
    return Process(pid=pid, user="www", command=f"python serve.py {pid}", began=began)


def restart_check(
    old: list[Process] | None = None, new: list[Process] | None = None, *, hidden: tuple[str, ...] = (), **fields: Any
) -> RestartCheck:
    """Make a flip with these processes on either release; on those that are `hidden` there are some unseen."""
    users = {f"/releases/{OLD}": old or [], f"/releases/{NEW}": new or []}
    known: dict[str, Any] = {"target": release(NEW), "origin": release(OLD), "flipped_at": FLIP, "was_used": True}
    return RestartCheck(
        **known | fields,
        users=lambda directory: users[directory],
        is_used=lambda directory: bool(users[directory]) or Path(directory).name in hidden,
    )


def problem_of(found: RestartCheck) -> str:
    problem = found.problem(found.look())
    return problem.message if problem else ""


BEGUN = process(7, FLIP + 1)
LEFT = process(6, FLIP - 60)
UNSEEN, NOBODY = "processes that releaser cannot see", "no process has started on release"


@pytest.mark.parametrize(
    ("old", "new", "hidden", "has_taken_over", "summary", "problem"),
    [
        ([], [BEGUN, process(8, FLIP + 2)], (), True, "2 processes have started on the release", ""),
        ([], [BEGUN], (), True, "1 process has started on the release", ""),
        ([LEFT], [BEGUN], (), False, "1 process has", "1 process still runs on release"),
        ([process(9, FLIP + 5)], [BEGUN], (), False, "1 process has", "1 process still runs on release"),  # forked
        ([], [], (NEW,), True, f"{UNSEEN} use the release", ""),
        ([], [], (OLD, NEW), False, f"{UNSEEN} use", f"{UNSEEN} still run on release {OLD}"),
        ([], [], (), False, "releaser sees no process on the release", NOBODY),
        # It may have been live before, and is gone back to; the kernel tells no exact beginning.
        ([], [process(7, FLIP - 0.02)], (), False, "releaser sees no process", f"{NOBODY} {NEW}, so the restart"),
        ([], [process(7, FLIP - 0.005)], (), True, "1 process has", ""),
    ],
)
def test_processes_that_are_seen_or_known_to_be_there_tell_whether_the_release_has_taken_over(
    old: list[Process], new: list[Process], hidden: tuple[str, ...], has_taken_over: bool, summary: str, problem: str
) -> None:
    """Only those that are seen prove it."""
    found = restart_check(old, new, hidden=hidden)
    seen, said = found.look(), problem_of(found)
    assert (seen.has_taken_over, seen.proves_it) == (has_taken_over, has_taken_over and bool(new))
    assert seen.summary.startswith(summary)
    assert (said.startswith(problem), bool(said)) == (True, bool(problem))


def test_processes_from_before_an_adoption_may_be_there_unseen(tmp_path: Path) -> None:
    def sees_all(**fields: Any) -> bool:
        found = restart_check(target=on_disk, **fields)
        return found.sees_all

    assert not restart_check(was_used=False).can_be_seen
    on_disk = on_paper(tmp_path, a_manifest(id=NEW))
    (on_disk.venv / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    assert not restart_check(target=on_disk).can_be_seen  # of a release without the start-up module
    startup.put_into(on_disk.venv)
    assert sees_all()
    assert not sees_all(was_used=False)
    assert not sees_all(origin=None)
    assert not sees_all(origin=on_paper(Path("/releases"), a_manifest(id=OLD, origin="adopted")))


def test_processes_that_are_left_are_named() -> None:
    message = problem_of(restart_check([LEFT], [BEGUN]))
    assert message.startswith(
        f"1 process still runs on release {OLD}, which was live before: 6 (www, python serve.py 6,"
    )
    many = problem_of(restart_check([process(pid, FLIP - 60) for pid in range(7, 17)]))
    assert many.startswith(f"10 processes still run on release {OLD}")
    assert many.endswith(" and 5 more")


def test_releaser_itself_and_who_started_it_do_not_count() -> None:
    ours = [process(os.getpid(), FLIP - 60), process(os.getppid(), FLIP - 60)]
    assert restart_check(ours, [process(8, FLIP + 1)]).look().has_taken_over
    assert not restart_check(new=[process(os.getpid(), FLIP + 1)]).look().has_taken_over


def test_a_first_release_has_nothing_before_it() -> None:
    assert restart_check(new=[process(8, FLIP + 1)], origin=None).look().has_taken_over
    assert not in_use(None)


def test_a_flip_of_another_start_of_the_system_was_before_everything() -> None:
    assert Flip(boot=boot_id()).moment(FLIP) == FLIP
    assert Flip(boot="another").moment(FLIP) == 0.0
    assert Flip().moment(None) == 0.0
    assert len(boot_id()) == 36
