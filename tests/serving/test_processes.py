"""Whether a restart has had its effect: judged by processes that are made up, and seen in ones that are not."""

import os
from pathlib import Path
from typing import Any

import pytest

from releaser.releases import startup
from releaser.releases.journal import Flip
from releaser.releases.leases import Process
from releaser.releases.release import Release
from releaser.serving.health import RestartCheck, in_use
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


def test_new_processes_and_no_old_ones_are_as_it_should_be() -> None:
    found = restart_check(new=[process(7, FLIP + 1), process(8, FLIP + 2)])
    assert found.look().has_taken_over
    assert problem_of(found) == ""
    assert found.look().summary == "2 processes have started on the release"
    assert restart_check(new=[process(7, FLIP + 1)]).look().summary == "1 process has started on the release"


def test_only_processes_that_are_seen_prove_that_the_new_release_answers() -> None:
    assert restart_check(new=[process(7, FLIP + 1)]).look().proves_it
    assert not restart_check([process(6, FLIP - 60)], [process(7, FLIP + 1)]).look().proves_it
    assert not restart_check(hidden=(NEW,)).look().proves_it
    assert not restart_check().look().proves_it


def test_where_none_was_seen_before_none_is_waited_for() -> None:
    assert restart_check().look().summary == "releaser sees no process on the release"
    assert not restart_check(was_used=False).can_be_seen


def test_processes_from_before_an_adoption_may_be_there_unseen(tmp_path: Path) -> None:
    def sees_all(**fields: Any) -> bool:
        found = restart_check(target=on_disk, **fields)
        return found.sees_all

    on_disk = on_paper(tmp_path, a_manifest(id=NEW))
    (on_disk.venv / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    assert not restart_check(target=on_disk).can_be_seen  # of a release without the start-up module
    startup.put_into(on_disk.venv)
    assert sees_all()
    assert not sees_all(was_used=False)
    assert not sees_all(origin=None)
    assert not sees_all(origin=on_paper(Path("/releases"), a_manifest(id=OLD, origin="adopted")))


@pytest.mark.parametrize(("began", "counts"), [(FLIP - 60, False), (FLIP - 0.02, False), (FLIP - 0.005, True)])
def test_a_process_counts_when_it_began_after_the_flip_as_exactly_as_the_kernel_tells(
    began: float, counts: bool
) -> None:
    found = restart_check(new=[process(7, began)])  # the release was live before, and is gone back to
    assert found.look().has_taken_over is counts
    nobody = f"no process has started on release {NEW}, so the restart seems to have failed"
    assert problem_of(found) == ("" if counts else nobody)


def test_processes_that_are_left_are_named() -> None:
    found = restart_check([process(7, FLIP - 60)], [process(8, FLIP + 1)])
    assert not found.look().has_taken_over
    message = problem_of(found)
    assert message.startswith(
        f"1 process still runs on release {OLD}, which was live before: 7 (www, python serve.py 7,"
    )
    many = problem_of(restart_check([process(pid, FLIP - 60) for pid in range(7, 17)]))
    assert many.startswith(f"10 processes still run on release {OLD}")
    assert many.endswith(" and 5 more")
    forked_since = restart_check([process(9, FLIP + 5)], [process(8, FLIP + 1)])
    assert not forked_since.look().has_taken_over
    assert "no process has started on release" in problem_of(restart_check())


def test_what_cannot_be_seen_is_known_to_be_there() -> None:
    found = restart_check(hidden=(NEW,))
    assert found.look().has_taken_over
    assert found.look().summary == "processes that releaser cannot see use the release"
    assert problem_of(restart_check(hidden=(OLD, NEW))).startswith(
        f"processes that releaser cannot see still run on release {OLD}"
    )


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
