"""A fleet: a site that builds, and hosts to which the playbooks of scripts/ansible bring its bundles."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from releaser.system.signals import MARK, end_orphans
from tests.e2e.test_group_use import base_python
from tests.support import hosts
from tests.support.commands import Finished, console_script, run
from tests.support.guards import require
from tests.support.hosts import Host, Hosts
from tests.support.signing import make_key
from tests.support.sites import SampleSite, SiteFactory

REPOSITORY = Path(__file__).resolve().parents[2]
PLAYBOOKS = REPOSITORY / "scripts" / "ansible"
PROGRAMS = REPOSITORY / ".venv-fleet" / "bin"
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
RELEASER_HEALTH_TIMEOUT=5m
RELEASER_HEALTH_SECONDS=0
RELEASER_SENDMAIL=none
"""


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
        """Run playbooks during the block; yield the process, and a function that returns its output so far."""
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
        """Return the environment of playbooks, with a mark: each worker has its own session, and is found by it."""
        env = self.builder.environment({"ANSIBLE_HOME": str(self.bundle.parent / "ansible"), "ANSIBLE_NOCOLOR": "1"})
        env[MARK] = str(self.bundle)
        return env | {"PATH": f"{PROGRAMS}:{env['PATH']}", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.hosts.base / "c")}

    def words(
        self,
        *words: str,
        away: str = "",
        soak: float = 0,
        bundle: Path | None = None,
        installs: bool = False,
        **variables: object,
    ) -> list[str | Path]:
        """Write the inventory; return the command that runs playbooks with it.

        With `installs`, the builder has no releaser yet. `variables` are those of the role, without `releaser_`.
        """
        shared = {
            "releaser_bundle": bundle or self.bundle,
            "releaser_signers": self.signers,
            "releaser_key": self.key,
            "releaser_soak_seconds": soak,
            "releaser_channel": self.channel,
            **{f"releaser_{name}": str(value).lower() for name, value in variables.items()},
        }
        reached = "ansible_host=127.0.0.1 ansible_port=1" if away == "build1" else "ansible_connection=local"
        builder = (
            f"build1 {reached} ansible_python_interpreter={sys.executable} "
            f"releaser_project={self.builder.path} releaser_home={self.bundle.parent / 'tools'} "
        )
        program = self.bundle.parent / "bin" / "releaser" if installs else console_script()
        builder += f"releaser_program={program}" + (" releaser_package=venv-releaser" if installs else "")
        inventory = self.bundle.with_name("hosts.ini")
        text = ["[builder]", builder, self.hosts.inventory(away=away), "[all:vars]"]
        text += [f"{key}={value}" for key, value in shared.items()]
        inventory.write_text("\n".join([*text, ""]), encoding="utf-8")
        return [PROGRAMS / "ansible-playbook", "-i", inventory, *words]

    def offer_releaser(self) -> None:
        """Let pip on the builder find the wheels of releaser in the bundle, and nothing else."""
        place = self.bundle.parent / "wheels"
        with zipfile.ZipFile(self.bundle) as archive:
            archive.extractall(place, [name for name in archive.namelist() if name.startswith("tools/")])
        self.builder.env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(place / "tools")}

    def pointer(self) -> dict[str, Any]:
        """Return the pointer of the channel."""
        place = ("--at", self.channel.parent, "--signers", self.signers)
        found: dict[str, Any] = self.builder.json("channel show", self.channel.name, *place)
        return found

    def versions(self) -> str:
        """Return the minor version of alpha on each host, one digit each."""
        return "".join(one.version("alpha").split(".")[1] for one in self.hosts.all)

    def digests(self) -> set[str]:
        return {one.digest() for one in self.hosts.all}


@contextlib.contextmanager
def made(factory: SiteFactory, base: Path, count: int, *, small: int | None = None) -> Iterator[Fleet]:
    """Make a fleet below `base`; the host with the number `small` has little disk space. The last host has a site."""
    require((PROGRAMS / "ansible-playbook").exists(), "Ansible is needed: `make .venv-fleet/.ready`")
    key, signers = make_key(base)
    line = signers.read_text(encoding="utf-8")
    signers.write_text(line.replace('"releaser-bundle"', '"releaser-bundle,releaser-channel"'), encoding="utf-8")
    builder = factory(outer="builder", settings={"python": base_python(), "collectstatic": "off"})
    builder.env["UV_PYTHON"] = base_python()
    builder.make_venv()
    with hosts.made(count) as found, contextlib.ExitStack() as stack:
        if small is not None:
            stack.enter_context(_small_disk(found.all[small - 1].outer))
        shutil.copytree(builder.outer, found.all[-1].outer, symlinks=True)
        for one in found.all:
            one.outer.mkdir(exist_ok=True)
            (one.outer / ".env").write_text(SETTINGS.format(outer=one.outer), encoding="utf-8")
            (one.outer / "health").write_text(HEALTH, encoding="utf-8")
            (one.outer / "health").chmod(0o755)
        # The last host may read the repository, but not write to it.
        builder.git("-C", found.all[-1].site, "remote", "set-url", "--push", "origin", "/nowhere")
        for one in found.all:
            one.give()
        builder.releaser("init", check=0)
        (channels := found.base / "channels").mkdir()
        bundle, channel = base / "shop.bundle", channels / "production"
        stack.callback(end_orphans, str(bundle))
        yield Fleet(builder=builder, hosts=found, bundle=bundle, key=key, signers=signers, channel=channel)


@contextlib.contextmanager
def _small_disk(place: Path) -> Iterator[None]:
    """Mount a small disk on a directory."""
    place.mkdir(parents=True)
    subprocess.check_call(["mount", "-t", "tmpfs", "-o", "size=160m", "releaser-test", place])
    try:
        yield
    finally:
        subprocess.check_call(["umount", "--lazy", place])
