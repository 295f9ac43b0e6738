"""Roll-outs to eight hosts by Ansible: one resolves, builds and tests, the others install its bundle."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.test_bundles import make_key
from tests.e2e.test_group_use import base_python
from tests.support import hosts
from tests.support.commands import console_script, run
from tests.support.guards import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.commands import Finished
    from tests.support.hosts import Host, Hosts
    from tests.support.sites import SampleSite, SiteFactory

REPOSITORY = Path(__file__).resolve().parents[2]
PLAYBOOKS = REPOSITORY / "scripts" / "ansible"
PROGRAMS = REPOSITORY / ".venv-fleet" / "bin"
COUNT = 8

# What each site asks of itself. A sick one is well on 1.1.0 alone, a tired one for some seconds.
HEALTH = """\
#!/bin/sh
cd "$(dirname "$0")"
[ ! -e slow ] || sleep 3
[ ! -e sick ] || site/.venv/bin/python -c 'import alpha, sys; sys.exit(alpha.__version__ != "1.1.0")' || exit 1
[ ! -e tired ] || [ $(($(date +%s) - $(stat -c %Y site/.venv))) -lt 4 ]
"""
SETTINGS = """\
RELEASER_ENVIRONMENT=local
RELEASER_HEALTH_CHECK={outer}/health
RELEASER_HEALTH_RETRIES=0
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

    def run(self, *words: str, check: int = 0, away: str = "", soak: float = 0, force: bool = False) -> Finished:
        """Run playbooks."""
        shared = {
            "releaser_bundle": self.bundle,
            "releaser_signers": self.signers,
            "releaser_key": self.key,
            "releaser_soak_seconds": soak,
            "releaser_channel": self.channel,
            "releaser_force": str(force).lower(),
        }
        builder = (
            f"build1 ansible_connection=local ansible_python_interpreter={sys.executable} "
            f"releaser_project={self.builder.path} releaser_program={console_script()} "
            f"releaser_home={self.bundle.parent / 'tools'}"
        )
        inventory = self.bundle.with_name("hosts.ini")
        text = ["[builder]", builder, self.hosts.inventory(away=away), "[all:vars]"]
        text += [f"{key}={value}" for key, value in shared.items()]
        inventory.write_text("\n".join([*text, ""]), encoding="utf-8")
        env = self.builder.environment({"ANSIBLE_HOME": str(self.bundle.parent / "ansible"), "ANSIBLE_NOCOLOR": "1"})
        env |= {"PATH": f"{PROGRAMS}:{env['PATH']}", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.hosts.base / "c")}
        found = run([PROGRAMS / "ansible-playbook", "-i", inventory, *words], cwd=PLAYBOOKS, env=env, timeout=300)
        assert (found.returncode == 0) == (check == 0), str(found)
        return found

    def published(self) -> str:
        """Return the release that the channel points to."""
        place = ("--at", self.channel.parent, "--signers", self.signers)
        return str(self.builder.json("channel show", self.channel.name, *place)["release"])

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
        shutil.copytree(builder.outer, found.all[7].outer, symlinks=True)  # which has a site already
        for one in found.all:
            one.outer.mkdir(exist_ok=True)
            (one.outer / ".env").write_text(SETTINGS.format(outer=one.outer), encoding="utf-8")
            (one.outer / "health").write_text(HEALTH, encoding="utf-8")
            (one.outer / "health").chmod(0o755)
            one.give()
        builder.releaser("init", check=0)
        builder.publish("alpha", "1.1.0")
        (channels := found.base / "channels").mkdir()
        yield Fleet(
            builder=builder,
            hosts=found,
            bundle=base / "shop.bundle",
            key=key,
            signers=signers,
            channel=channels / "production",
        )


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """Let a directory be a disk of its own."""
    place.mkdir(parents=True)
    subprocess.check_call(["mount", "-t", "tmpfs", "-o", "size=160m", "releaser-test", place])
    try:
        yield
    finally:
        subprocess.check_call(["umount", "--lazy", place])


def test_a_release_reaches_eight_hosts_or_none_but_the_first_and_all_go_back_from_it(fleet: Fleet) -> None:
    fleet.run("build.yml", "adopt.yml", "--limit", "build1,h8")
    assert fleet[8].version("alpha") == "1.0.0"  # as it was
    fleet.run("roll_out.yml")
    assert fleet.versions() == "11111111"
    assert len(fleet.digests()) == 1

    fleet.builder.publish("alpha", "1.2.0")
    fleet.run("build.yml")
    the_first_host_keeps_it_from_the_others(fleet)
    check_mode_tells_and_changes_nothing(fleet)
    a_full_disk_stops_it(fleet)
    who_was_away_catches_up(fleet)
    all_go_back_once(fleet)


def the_first_host_keeps_it_from_the_others(fleet: Fleet) -> None:
    others = [one.records() for one in fleet.hosts.all[1:]]
    (fleet[1].outer / "sick").touch()
    told = fleet.run("roll_out.yml", check=2)
    touched = {host for host, counts in hosts.recap(told.stdout).items() if counts["changed"]}
    assert touched == {"h1"}
    assert "rolled_back" in (fleet[1].state / "history.jsonl").read_text(encoding="utf-8")
    told = fleet.run("roll_out.yml", check=2)
    assert "failed on this host before, and is not live" in told.stdout
    (fleet[1].outer / "sick").rename(fleet[1].outer / "tired")
    told = fleet.run("roll_out.yml", check=2, soak=4, force=True)
    assert "did not stay well, and went back" in told.stdout
    (fleet[1].outer / "tired").unlink()
    assert fleet.versions() == "11111111"
    assert [one.records() for one in fleet.hosts.all[1:]] == others


def check_mode_tells_and_changes_nothing(fleet: Fleet) -> None:
    before = [one.records() for one in fleet.hosts.all]
    told = fleet.run("roll_out.yml", "--check", "--diff", "--limit", "h3,h4").stdout
    assert told.count("-alpha 1.1.0\n+release to be built, from the bundle of ") == 2
    assert told.count("+alpha 1.2.0\n") == 2
    assert [one.records() for one in fleet.hosts.all] == before


def a_full_disk_stops_it(fleet: Fleet) -> None:
    filling = fleet[2].outer / "filling"
    size = shutil.disk_usage(filling.parent).free - 200_000
    filling.write_bytes(bytes(size))
    before = [one.records() for one in fleet.hosts.all]
    told = fleet.run("roll_out.yml", check=2, force=True)
    assert "Make room" in told.stdout
    assert fleet.versions() == "21221111"
    assert fleet[2].records()["live"] == before[1]["live"]
    assert [one.records() for one in fleet.hosts.all[4:]] == before[4:]
    filling.unlink()


def who_was_away_catches_up(fleet: Fleet) -> None:
    (fleet[7].outer / "slow").touch()
    told = fleet.run("roll_out.yml", away="h8").stdout
    assert "away, to catch up later: h8" in told
    assert fleet.versions() == "22222221"
    assert {hosts.recap(told)[name]["changed"] for name in ("h1", "h3", "h4")} == {0}
    line = fleet[8].run("crontab", "-l").stdout.splitlines()[-1]
    minute, *rest, job = line.split(maxsplit=5)
    assert (minute.isdecimal(), rest) == (True, ["*"] * 4)
    done = fleet[8].run("sh", "-c", job)
    assert done.returncode == 0, done
    assert fleet.versions() == "22222222"
    assert len(fleet.digests()) == 1


def all_go_back_once(fleet: Fleet) -> None:
    before = fleet.published()
    fleet.run("rollback.yml")
    assert fleet.versions() == "11111111"
    assert fleet.published() < before
    again = hosts.recap(fleet.run("rollback.yml").stdout)
    assert {counts["changed"] for counts in again.values()} == {0}
    assert len(fleet.digests()) == 1


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
