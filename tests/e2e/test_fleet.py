"""Roll-outs to six hosts by Ansible: one resolves, builds and tests, the others install its bundle."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from releaser.system.signals import MARK, end_orphans
from tests.e2e.scenes import eventually
from tests.e2e.test_group_use import base_python
from tests.pipelines.test_tampered_bundles import Maker
from tests.support import hosts
from tests.support.commands import Finished, console_script, run
from tests.support.guards import require
from tests.support.hosts import Host, Hosts
from tests.support.signing import make_key
from tests.support.sites import SampleSite, SiteFactory

REPOSITORY = Path(__file__).resolve().parents[2]
PLAYBOOKS = REPOSITORY / "scripts" / "ansible"
PROGRAMS = REPOSITORY / ".venv-fleet" / "bin"
COUNT = 6

# What each site asks of itself. A sick one is well on 1.0.0 alone, a tired one for some seconds.
HEALTH = """\
#!/bin/sh
cd "$(dirname "$0")"
[ ! -e slow ] || sleep 3
while [ -e held ]; do touch holding; sleep 0.1; done
[ ! -e sick ] || site/.venv/bin/python -c 'import alpha, sys; sys.exit(alpha.__version__ != "1.0.0")' || exit 1
[ ! -e tired ] || [ $(($(date +%s) - $(stat -c %Y site/.venv))) -lt 4 ]
"""
SETTINGS = """\
RELEASER_ENVIRONMENT=local
RELEASER_HEALTH_CHECK={outer}/health
RELEASER_HEALTH_RETRIES=0
RELEASER_HEALTH_TIMEOUT=2m
RELEASER_HEALTH_SECONDS=0
RELEASER_SENDMAIL=none
"""


@pytest.fixture(scope="module", autouse=True)
def ansible() -> None:
    require(
        (PROGRAMS / "ansible-playbook").exists(), "ansible-core and ansible-lint are needed: `make .venv-fleet/.ready`"
    )


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """A site that builds, and hosts that get what it has built."""

    builder: SampleSite
    hosts: Hosts
    bundle: Path
    key: Path
    signers: Path
    channel: Path

    def __getitem__(self, number: int) -> Host:
        return self.hosts.all[number - 1]

    def run(self, *words: str, check: int = 0, **given: Any) -> Finished:
        """Run playbooks."""
        found = run(self.words(*words, **given), cwd=PLAYBOOKS, env=self.env(), timeout=900)
        assert (found.returncode == 0) == (check == 0), str(found)
        return found

    @contextlib.contextmanager
    def running(self, *words: str, **given: Any) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
        """Run playbooks beside the block; give the process, and what tells what it has printed."""
        log, argv = self.bundle.with_name("running.log"), self.words(*words, **given)
        with open(log, "wb") as file:
            process = subprocess.Popen(argv, cwd=PLAYBOOKS, env=self.env(), stdout=file, start_new_session=True)
        try:
            yield process, partial(log.read_text, encoding="utf-8")
            process.wait(timeout=900)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            end_orphans(str(self.bundle))
            sys.stdout.write(log.read_text(encoding="utf-8"))

    def env(self) -> dict[str, str]:
        """Return the environment of playbooks; each worker has a session of its own, and is found by a mark in it."""
        env = self.builder.environment({"ANSIBLE_HOME": str(self.bundle.parent / "ansible"), "ANSIBLE_NOCOLOR": "1"})
        env[MARK] = str(self.bundle)
        return env | {"PATH": f"{PROGRAMS}:{env['PATH']}", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.hosts.base / "c")}

    def words(
        self, *words: str, away: str = "", soak: float = 0, force: bool = False, bundle: Path | None = None
    ) -> list[str | Path]:
        """Write the inventory; return the command that runs playbooks with it."""
        shared = {
            "releaser_bundle": bundle or self.bundle,
            "releaser_signers": self.signers,
            "releaser_key": self.key,
            "releaser_soak_seconds": soak,
            "releaser_channel": self.channel,
            "releaser_force": str(force).lower(),
        }
        reached = "ansible_host=127.0.0.1 ansible_port=1" if away == "build1" else "ansible_connection=local"
        builder = (
            f"build1 {reached} ansible_python_interpreter={sys.executable} "
            f"releaser_project={self.builder.path} releaser_program={console_script()} "
            f"releaser_home={self.bundle.parent / 'tools'}"
        )
        inventory = self.bundle.with_name("hosts.ini")
        text = ["[builder]", builder, self.hosts.inventory(away=away), "[all:vars]"]
        text += [f"{key}={value}" for key, value in shared.items()]
        inventory.write_text("\n".join([*text, ""]), encoding="utf-8")
        return [PROGRAMS / "ansible-playbook", "-i", inventory, *words]

    def pointer(self) -> dict[str, Any]:
        """Return what the channel says."""
        place = ("--at", self.channel.parent, "--signers", self.signers)
        found: dict[str, Any] = self.builder.json("channel show", self.channel.name, *place)
        return found

    def versions(self) -> str:
        """Return the version of alpha on each host, of which the last number tells."""
        return "".join(one.version("alpha").split(".")[1] for one in self.hosts.all)

    def digests(self) -> set[str]:
        return {one.digest() for one in self.hosts.all}


@pytest.fixture(scope="module")
def fleet(make_scene: SiteFactory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    base = tmp_path_factory.mktemp("fleet")
    key, signers = make_key(base)
    line = signers.read_text(encoding="utf-8")
    signers.write_text(line.replace('"releaser-bundle"', '"releaser-bundle,releaser-channel"'), encoding="utf-8")
    builder = make_scene(outer="builder", settings={"python": base_python(), "collectstatic": "off"})
    builder.env["UV_PYTHON"] = base_python()
    builder.make_venv()
    with hosts.made(COUNT) as found, small_disk(found.all[1].outer):
        shutil.copytree(builder.outer, found.all[-1].outer, symlinks=True)  # which has a site already
        for one in found.all:
            one.outer.mkdir(exist_ok=True)
            (one.outer / ".env").write_text(SETTINGS.format(outer=one.outer), encoding="utf-8")
            (one.outer / "health").write_text(HEALTH, encoding="utf-8")
            (one.outer / "health").chmod(0o755)
            one.give()
        builder.releaser("init", check=0)
        (channels := found.base / "channels").mkdir()
        yield Fleet(
            builder=builder,
            hosts=found,
            bundle=(bundle := base / "shop.bundle"),
            key=key,
            signers=signers,
            channel=channels / "production",
        )
        end_orphans(str(bundle))


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """Let a directory be a disk of its own."""
    place.mkdir(parents=True)
    subprocess.check_call(["mount", "-t", "tmpfs", "-o", "size=160m", "releaser-test", place])
    try:
        yield
    finally:
        subprocess.check_call(["umount", "--lazy", place])


def test_a_release_reaches_six_hosts_or_none_but_the_first_and_all_go_back_from_it(fleet: Fleet) -> None:
    told = fleet.run("build.yml", "adopt.yml", "--limit", "build1,h6").stdout  # with nothing newer
    assert hosts.recap(told)["build1"]["changed"] > 0
    adopted = fleet[6].records()["live"]
    fleet.run("rollback.yml", "--limit", "build1", "-e", "releaser_leave=nothing")  # as there is no channel
    all_get_what_the_first_host_ran(fleet)
    assert fleet[6].records()["live"] == adopted  # which had the same code and packages
    the_first_host_keeps_it_from_the_others(fleet)
    check_mode_tells_and_changes_nothing(fleet)
    a_full_disk_stops_it(fleet)
    who_was_away_catches_up(fleet)
    nothing_of_a_tampered_bundle_runs(fleet)
    all_go_back_once(fleet)


def all_get_what_the_first_host_ran(fleet: Fleet) -> None:
    """While it soaks there, somebody builds the next release, and somebody edits a file in the checkout."""
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
    assert fleet.versions() == "000000"
    assert len({one.digest() for one in fleet.hosts.all[:-1]}) == 1
    assert fleet.pointer()["release"] == first


def the_first_host_keeps_it_from_the_others(fleet: Fleet) -> None:
    others, pointer = [one.records() for one in fleet.hosts.all[1:]], fleet.pointer()
    (fleet[1].outer / "sick").touch()
    told = fleet.run("roll_out.yml", check=2)
    touched = {host for host, counts in hosts.recap(told.stdout).items() if counts["changed"]}
    assert touched == {"h1"}
    assert "rolled-back" in (fleet[1].state / "history.jsonl").read_text(encoding="utf-8")
    told = fleet.run("roll_out.yml", check=2)
    assert "failed on this host before, and is not live" in told.stdout
    (fleet[1].outer / "sick").rename(fleet[1].outer / "tired")
    told = fleet.run("roll_out.yml", check=2, soak=4, force=True)
    assert "did not stay well, and was rolled back" in told.stdout
    (fleet[1].outer / "tired").unlink()
    assert fleet.versions() == "000000"
    assert [one.records() for one in fleet.hosts.all[1:]] == others
    assert fleet.pointer() == pointer


def check_mode_tells_and_changes_nothing(fleet: Fleet) -> None:
    before = [one.records() for one in fleet.hosts.all]
    told = fleet.run("roll_out.yml", "--check", "--diff", "--limit", "h3,h4").stdout
    assert told.count("-alpha 1.0.0\n+release to be built, from the bundle of ") == 2
    assert told.count("+alpha 1.1.0\n") == 2
    assert [one.records() for one in fleet.hosts.all] == before


def a_full_disk_stops_it(fleet: Fleet) -> None:
    """The first host gets the whole of its time, although the roll-out was killed meanwhile and began again."""
    filling, pointer, soak = fleet[2].outer / "filling", fleet.pointer(), 12
    size = shutil.disk_usage(filling.parent).free - 200_000
    filling.write_bytes(bytes(size))
    before = [one.records() for one in fleet.hosts.all]
    with fleet.running("roll_out.yml", force=True, soak=600) as (process, log):
        eventually(lambda: "Wait while the first host runs the release" in log(), "the soak")
        os.killpg(process.pid, signal.SIGKILL)
    assert fleet.versions() == "100000"
    told = fleet.run("roll_out.yml", check=2, force=True, soak=soak)
    assert "Free some disk space" in told.stdout
    assert fleet.versions() == "101000"
    assert fleet[3].flipped_at() - fleet[1].flipped_at() >= soak
    assert fleet[2].records()["live"] == before[1]["live"]
    assert [one.records() for one in fleet.hosts.all[3:]] == before[3:]
    assert fleet.pointer() == pointer
    filling.unlink()


def who_was_away_catches_up(fleet: Fleet) -> None:
    (fleet[2].outer / "slow").touch()
    told = fleet.run("roll_out.yml", away="h6").stdout
    assert "unreachable, to catch up later: h6" in told
    assert fleet.versions() == "111110"
    assert {hosts.recap(told)[name]["changed"] for name in ("h1", "h3")} == {0}
    assert fleet[5].flipped_at() - fleet[2].flipped_at() > 3  # those of the next batch wait for a slow host
    line = fleet[6].run("crontab", "-l").stdout.splitlines()[-1]
    minute, *rest, job = line.split(maxsplit=5)
    assert (minute.isdecimal(), rest) == (True, ["*"] * 4)
    done = fleet[6].run("sh", "-c", job)
    assert done.returncode == 0, done
    assert fleet.versions() == "111111"
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
    told = fleet.run("roll_out.yml", "--limit", "h1", check=2, bundle=tampered)
    assert "Verify the bundle before running anything in it" in told.stdout
    assert program.readlink() == before


def all_go_back_once(fleet: Fleet) -> None:
    """From what was rolled out, although somebody has built another release since."""
    before, live = fleet.pointer(), [one.live() for one in fleet.hosts.all]
    fleet.run("renew.yml", "-e", "releaser_expires=90d")
    assert fleet.pointer()["expires"] > before["expires"]
    fleet.builder.publish("alpha", "1.2.0")
    fleet.run("build.yml")
    told = fleet.run("rollback.yml", "--limit", "h1", "-e", "releaser_leave=nothing", check=2).stdout
    assert "No host runs nothing, or has left it" in told
    assert [one.live() for one in fleet.hosts.all] == live
    told = fleet.run("rollback.yml", away="build1", check=2).stdout
    assert "The hosts were rolled back, but the channel was not" in told
    assert fleet.versions() == "000000"
    again = hosts.recap(fleet.run("rollback.yml").stdout)
    assert {name for name, counts in again.items() if counts["changed"]} == {"build1"}
    assert fleet.pointer()["release"] < before["release"]


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
