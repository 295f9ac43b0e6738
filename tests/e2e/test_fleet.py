"""Roll-outs to five hosts by Ansible: one resolves, builds and tests, the others install its bundle."""

import os
import shutil
import signal
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenes import eventually
from tests.pipelines.test_tampered_bundles import Maker
from tests.support import hosts
from tests.support.commands import run
from tests.support.fleet import PLAYBOOKS, PROGRAMS, Fleet, made
from tests.support.guards import require
from tests.support.sites import RED_TESTS, TESTS, SiteFactory

COUNT = 5
FEW = 3  # hosts of the shorter story


@pytest.fixture(scope="module", autouse=True)
def ansible() -> None:
    require(
        (PROGRAMS / "ansible-playbook").exists(), "ansible-core and ansible-lint are needed: `make .venv-fleet/.ready`"
    )


@pytest.fixture(scope="module")
def fleet(make_scene: SiteFactory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with made(make_scene, tmp_path_factory.mktemp("fleet"), COUNT, small=2) as found:
        yield found


def test_a_release_reaches_all_hosts_or_none_but_the_first_and_all_go_back_from_it(
    make_site: SiteFactory, tmp_path: Path
) -> None:
    (place := tmp_path / "fleet").mkdir()
    with made(make_site, place, FEW) as fleet:
        fleet.run("build.yml", "adopt.yml", "--limit", f"build1,h{FEW}", cron=False)
        all_get_what_the_first_host_ran(fleet)
        the_first_host_keeps_it_from_the_others(fleet)
        (fleet[1].outer / "sick").unlink()
        fleet.run("roll_out.yml", force=True)
        assert fleet.versions() == "1" * FEW
        nothing_of_a_tampered_bundle_runs(fleet)
        fleet.run("rollback.yml")
        assert fleet.versions() == "0" * FEW


@pytest.mark.exhaustive
def test_a_release_reaches_five_hosts_with_everything_in_the_way(fleet: Fleet) -> None:
    said = fleet.run("build.yml", "adopt.yml", "--limit", "build1,h5", cron=False).stdout  # with nothing newer
    assert hosts.recap(said)["build1"]["changed"] > 0
    assert f"code: commit {fleet.builder.head()[:12]} (Begin the site)" in said
    adopted = fleet[5].records()["live"]
    fleet.run("rollback.yml", "--limit", "build1", "-e", "releaser_leave=nothing")  # as there is no channel
    all_get_what_the_first_host_ran(fleet)
    assert fleet[5].records()["live"] == adopted  # which had the same code and packages
    the_first_host_keeps_it_from_the_others(fleet)
    what_failed_there_is_tried_again_only_by_force(fleet)
    check_mode_tells_and_changes_nothing(fleet)
    a_full_disk_stops_it(fleet)
    who_was_away_catches_up(fleet)
    nothing_of_a_tampered_bundle_runs(fleet)
    all_go_back_once(fleet)


def all_get_what_the_first_host_ran(fleet: Fleet) -> None:
    """While it soaks there, another release is built, and a file edited."""
    holding, edited = fleet[1].outer / "holding", fleet[1].site / "manage.py"
    (fleet[1].outer / "held").touch()
    first, text = fleet.builder.live_id(), ""
    with fleet.running("roll_out.yml", soak=2) as (process, log):
        eventually(holding.exists, "the first host asking itself whether it is well")
        fleet.builder.publish("alpha", "1.1.0")
        fleet.run("build.yml")
        (fleet[1].outer / "held").unlink()
        eventually(lambda: "Wait while the first host runs the release" in log(), "the soak")
        text = edited.read_text(encoding="utf-8")
        edited.write_text(text + "# edited\n", encoding="utf-8")
    assert process.returncode == 0, log()
    edited.write_text(text, encoding="utf-8")
    assert fleet.builder.live_id() != first
    assert fleet.versions() == "0" * len(fleet.hosts.all)
    assert len({one.digest() for one in fleet.hosts.all[:-1]}) == 1
    assert fleet.pointer()["release"] == first


def the_first_host_keeps_it_from_the_others(fleet: Fleet) -> None:
    others, pointer = [one.records() for one in fleet.hosts.all[1:]], fleet.pointer()
    (fleet[1].outer / "sick").touch()
    said = fleet.run("roll_out.yml", check=2)
    touched = {host for host, counts in hosts.recap(said.stdout).items() if counts["changed"]}
    assert touched == {"h1"}
    assert "rolled-back" in (fleet[1].state / "history.jsonl").read_text(encoding="utf-8")
    assert [one.records() for one in fleet.hosts.all[1:]] == others
    assert fleet.pointer() == pointer


def what_failed_there_is_tried_again_only_by_force(fleet: Fleet) -> None:
    others, pointer = [one.records() for one in fleet.hosts.all[1:]], fleet.pointer()
    said = fleet.run("roll_out.yml", "--limit", "h1", check=2)
    assert "failed on this host before, and is not live. To try it again, add -e releaser_force=true" in said.stdout
    assert "--force" not in said.stdout
    (fleet[1].outer / "sick").rename(fleet[1].outer / "tired")
    said = fleet.run("roll_out.yml", "--limit", "h1", check=2, soak=4, force=True)
    assert "did not stay well, and was rolled back" in said.stdout
    (fleet[1].outer / "tired").unlink()
    assert fleet.versions() == "00000"
    assert [one.records() for one in fleet.hosts.all[1:]] == others
    assert fleet.pointer() == pointer


def check_mode_tells_and_changes_nothing(fleet: Fleet) -> None:
    before = [one.records() for one in fleet.hosts.all]
    said = fleet.run("roll_out.yml", "--check", "--diff", "--limit", "h3").stdout
    assert said.count("-alpha 1.0.0\n+release to be built, from the bundle of ") == 1
    assert said.count("+alpha 1.1.0\n") == 1
    assert [one.records() for one in fleet.hosts.all] == before


def a_full_disk_stops_it(fleet: Fleet) -> None:
    """The first host gets the whole of its time, although the roll-out was killed meanwhile and began again."""
    filling, pointer, soak = fleet[2].outer / "filling", fleet.pointer(), 6
    size = shutil.disk_usage(filling.parent).free - 200_000
    filling.write_bytes(bytes(size))
    before = [one.records() for one in fleet.hosts.all]
    with fleet.running("roll_out.yml", force=True, soak=600) as (process, log):
        eventually(lambda: "Wait while the first host runs the release" in log(), "the soak")
        os.killpg(process.pid, signal.SIGKILL)
    assert fleet.versions() == "10000"
    said = fleet.run("roll_out.yml", check=2, force=True, soak=soak)
    assert "Free some disk space" in said.stdout
    assert fleet.versions() == "10100"
    assert fleet[3].flipped_at() - fleet[1].flipped_at() >= soak
    assert fleet[2].records()["live"] == before[1]["live"]
    assert [one.records() for one in fleet.hosts.all[3:]] == before[3:]
    assert fleet.pointer() == pointer
    filling.unlink()


def who_was_away_catches_up(fleet: Fleet) -> None:
    assert "releaser" not in fleet[5].run("crontab", "-l").stdout  # by `releaser_cron=false`
    (fleet[2].outer / "slow").touch()
    said = fleet.run("roll_out.yml", away="h5").stdout
    assert "unreachable, to catch up later: h5" in said
    assert fleet.versions() == "11110"
    assert {hosts.recap(said)[name]["changed"] for name in ("h1", "h3")} == {0}
    assert fleet[4].flipped_at() - fleet[2].flipped_at() > 3  # those of the next batch wait for a slow host
    fleet.run("adopt.yml", "--limit", "h5")
    line = fleet[5].run("crontab", "-l").stdout.splitlines()[-1]
    minute, *rest, job = line.split(maxsplit=5)
    assert (minute.isdecimal(), rest) == (True, ["*"] * 4)
    done = fleet[5].run("sh", "-c", job)
    assert done.returncode == 0, done
    assert fleet.versions() == "11111"
    assert len(fleet.digests()) == 1


def nothing_of_a_tampered_bundle_runs(fleet: Fleet) -> None:
    maker = Maker(good=fleet.bundle, key=fleet.key, other_key=fleet.key, scratch=fleet.bundle.parent)
    path = next(name for name in maker.entries if name.startswith("tools/") and "releaser" in name)
    data = (maker.entries[path] or b"") + b"tampered"

    def change(manifest: dict[str, Any]) -> None:
        file = next(one for one in manifest["files"] if one["path"] == path)
        file |= {"sha256": sha256(data).hexdigest(), "size": len(data)}

    tampered = maker.write({path: data, "manifest.json": maker.manifest(change)})
    program = fleet[1].home / ".local" / "bin" / "releaser"
    before = program.readlink()
    said = fleet.run("roll_out.yml", "--limit", "h1", check=2, bundle=tampered)
    assert "Verify the bundle before running anything in it" in said.stdout
    assert program.readlink() == before


def all_go_back_once(fleet: Fleet) -> None:
    """From what was rolled out, although another release was built since, by a releaser that the playbook installs.

    The last host may not push.
    """
    before, live = fleet.pointer(), [one.live() for one in fleet.hosts.all]
    fleet.builder.publish("alpha", "1.2.0")
    fleet.offer_releaser()
    fleet.run("build.yml", "renew.yml", "-e", "releaser_expires=90d", installs=True)
    assert fleet.pointer()["expires"] > before["expires"]
    code_that_is_not_the_remote_head_is_refused(fleet)
    said = fleet.run("rollback.yml", "--limit", "h1", "-e", "releaser_leave=nothing", check=2).stdout
    assert "No host runs nothing, or has left it" in said
    assert [one.live() for one in fleet.hosts.all] == live
    said = fleet.run("rollback.yml", away="build1", check=2).stdout
    assert "The hosts were rolled back, but the channel was not" in said
    assert {name for name, counts in hosts.recap(said).items() if counts["failed"]} == {"build1"}
    assert fleet.versions() == "00000"
    again = hosts.recap(fleet.run("rollback.yml", "--limit", "build1,h1").stdout)
    assert {name for name, counts in again.items() if counts["changed"]} == {"build1"}
    assert fleet.pointer()["release"] < before["release"]


def code_that_is_not_the_remote_head_is_refused(fleet: Fleet) -> None:
    """The tests of the newest commit fail on the builder."""
    fleet.builder.push_from_elsewhere({TESTS: RED_TESTS}, message="Break the tests")
    fleet.builder.releaser("update", check=5)
    said = fleet.run("build.yml", check=2).stdout
    assert "(Break the tests)" in said
    assert "releaser_any_commit=true" in said
    fleet.run("build.yml", any_commit=True)


def test_the_playbooks_are_clean(tmp_path: Path) -> None:
    env = {"PATH": f"{PROGRAMS}:/usr/bin:/bin", "HOME": str(tmp_path), "ANSIBLE_HOME": str(tmp_path)}
    words: list[str | Path] = [
        PROGRAMS / "ansible-lint",
        "--offline",
        "--strict",
        "--profile",
        "production",
        "--nocolor",
        ".",
    ]
    found = run(words, cwd=PLAYBOOKS, env=env, timeout=300)
    assert found.returncode == 0, str(found)
    assert "Passed: 0 failure(s), 0 warning(s)" in found.stderr, str(found)
