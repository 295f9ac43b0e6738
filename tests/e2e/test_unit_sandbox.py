"""An update under the unit of systemd that comes with releaser: bubblewrap does what its options say."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from releaser.tools.systemd import TEMPLATE as UNIT
from tests.e2e.test_group_use import ADA, GROUP, adas_site, base_python, environment_of, script_of
from tests.support import seccomp
from tests.support.commands import Finished, run
from tests.support.guards import require
from tests.support.sites import SampleSite
from tests.support.templates import Templates


def empty(*places: str) -> list[str]:
    words = ("--perms", "1777", "--tmpfs")
    return [word for place in places if os.path.isdir(place) for word in (*words, place)]


def read_only(*places: str) -> list[str]:
    return [word for place in places for word in ("--ro-bind-try", place, place)]


# What bubblewrap, and setpriv in it, do for an option; what is done by nothing here has None, and why.
MOUNTS = {
    "ProtectSystem=strict": ["--ro-bind", "/", "/", "--bind", "/proc", "/proc"],
    "ProtectHome=read-only": read_only("/home", "/root", "/run/user"),
    "PrivateTmp=yes": empty("/tmp", "/var/tmp"),
    "PrivateDevices=yes": ["--dev", "/dev"],
    "ProtectControlGroups=yes": read_only("/sys/fs/cgroup"),
    "ProtectKernelModules=yes": empty("/usr/lib/modules"),
}
BECOMES = {
    "NoNewPrivileges=yes": ["--no-new-privs"],
    "CapabilityBoundingSet=": ["--bounding-set=-all", "--inh-caps=-all"],
}
FILTERS = {
    "SystemCallFilter": None,  # the calls
    "RestrictAddressFamilies": None,  # the families
    "RestrictNamespaces": None,  # the namespaces
    "SystemCallErrorNumber": "EPERM",
    "LockPersonality": "yes",
    "RestrictRealtime": "yes",
}
NOT_HERE = {
    "Type=oneshot": "how systemd waits for the program",
    "User=deploy": "the test has a user of its own",
    "KillMode=mixed": "how systemd ends it",
    "TimeoutStopSec=5min": "how systemd ends it",
    "RemoveIPC=yes": "what systemd deletes after the last process of the user",
    "SystemCallArchitectures=native": "libseccomp refuses other architectures anyway",
    "ProtectClock=yes": "prevented by the filter, no capabilities, and /dev",
}
# Says what the tests of a candidate cannot write, and how its system is seen.
TESTS = """
import os
def test_reach(packages):
    for name, place in {places!r}.items():
        try:
            open(os.path.join(place, "planted"), "w").close()
        except OSError as error:
            print("denied:", name, error.strerror)
    print("/tmp has", os.listdir("/tmp"), flush=True)
"""


class Sandbox:
    """What the options of the unit say, as arguments of bubblewrap and setpriv and as a filter of system calls."""

    def __init__(self, places: dict[str, str]) -> None:
        service = UNIT.read_text(encoding="utf-8").partition("[Service]\n")[2]
        lines = [line for line in service.splitlines() if line and not line.startswith("#")]
        options = dict(line.split("=", 1) for line in lines)
        self.command, writable = options.pop("ExecStart"), options.pop("ReadWritePaths").split()
        self.filters = {name: options.pop(name) for name in FILTERS}
        assert all(wanted in (None, self.filters[name]) for name, wanted in FILTERS.items())
        known = {f"{name}={value}" for name, value in options.items()}
        assert known == {*MOUNTS, *BECOMES, *NOT_HERE}, "an option is not translated here"
        self.mounts, self.become = ([word for words in table.values() for word in words] for table in (MOUNTS, BECOMES))
        self.writable = list[str]()
        for word in writable:
            place = re.sub("|".join(places), lambda found: places[found[0]], word.removeprefix("-"))
            self.writable += ["--bind-try" if word.startswith("-") else "--bind", place, place]

    def run(self, words: list[str | Path], env: dict[str, str], *beside: str) -> Finished:
        """Run a command of the site's user in it."""
        calls, families, namespaces = (self.filters[name].split() for name in [*FILTERS][:3])
        filtered = seccomp.filter_file(calls, families, namespaces=namespaces)
        try:
            os.set_inheritable(filtered, True)
            user = [f"--reuid={ADA}", f"--regid={GROUP}", "--clear-groups", *self.become]
            bwrap = ["bwrap", *self.mounts, *beside, *self.writable, "--die-with-parent", "--seccomp", "0"]
            shell = f'exec "$@" 0</proc/{os.getpid()}/fd/{filtered}'
            started = ["sh", "-c", shell, "sh", *bwrap, "--", "setpriv", *user]
            return run([*started, *words], cwd=Path("/"), env=env, timeout=300)
        finally:
            os.close(filtered)


@pytest.fixture
def site(templates: Templates, everybodys: Path) -> Iterator[SampleSite]:
    """Make a site of a plain user, below /srv as in the unit."""
    require(os.geteuid() == 0 and shutil.which("setpriv") and shutil.which("bwrap"), "root makes the user and mounts")
    require(shutil.which("systemd-analyze") and seccomp.library(), "they say what the filter lets through")
    require(run(["bwrap", "--ro-bind", "/", "/", "true"], cwd=Path("/"), env=os.environ).returncode == 0, "bwrap works")
    with adas_site(templates, everybodys, below="/srv", git_push=False) as made:
        yield made


@pytest.mark.attack
def test_an_update_ends_well_in_what_the_unit_allows(site: SampleSite, everybodys: Path) -> None:
    outside = {"RELEASER_SANDBOX": "auto", "RELEASER_TEST_WRITABLE": ""}
    env = {**environment_of(ADA, site), **outside, "TMPDIR": "/tmp"}
    env.pop("SAMPLE_SITE_RUNS")
    places = {"/srv/%i_stuff": str(site.outer), "/home/deploy/.cache/uv": env["UV_CACHE_DIR"]}
    sandbox = Sandbox(places)
    assert sandbox.command == "/opt/releaser/bin/releaser update --project /srv/%i_stuff/%i"
    beside = ("--ro-bind", str(everybodys), str(everybodys))  # stands for /opt/releaser
    Path(env["UV_CACHE_DIR"]).mkdir()
    os.chown(env["UV_CACHE_DIR"], ADA, GROUP)
    targets = {
        "checkout": str(site.path),
        "state": str(site.state_dir),
        "outside": "/srv",
        "cache": env["UV_CACHE_DIR"],
    }
    site.commit("tests", {"site_tests.py": TESTS.format(places=targets)})
    run(["chown", "-R", f"{ADA}:{GROUP}", site.outer], cwd=Path("/"), env=os.environ, check=0)
    releaser: list[str | Path] = [base_python(), script_of(site)]
    finished = sandbox.run([*releaser, "init", "--project", site.path], env, *beside)
    assert finished.returncode == 0, finished
    site.publish("alpha", "1.1.0")
    finished = sandbox.run([*releaser, "update", "--project", site.path], env, *beside)
    assert finished.returncode == 0, finished
    assert "alpha-1.1.0.dist-info" in {path.name for path in site.link.glob("lib/*/site-packages/*")}
    output = max(site.state_dir.glob("releases/*/test-output.txt")).read_text(encoding="utf-8")
    assert not [name for name, place in targets.items() if os.path.exists(os.path.join(place, "planted"))]
    assert output.count("denied:") <= 1, output  # /srv itself is read-only for the whole unit
    (hers := site.outer.parent / "hers").mkdir()  # so that nothing but the sandbox keeps her from it
    os.chown(hers, ADA, GROUP)
    for place, status in ((site.outer, 0), (hers, 3)):
        words = [*releaser, "report", "--html", place / "report.html", "--project", site.path]
        finished = sandbox.run(words, env, *beside)
        assert (finished.returncode, (place / "report.html").exists()) == (status, not status), finished
    assert "Read-only file system" in finished.stderr
    said = sandbox.run([*releaser, "check", "--project", site.path], env, *beside)
    assert "without a sandbox" not in said.stdout + said.stderr, said
    assert "files that it writes outside the staging tree are discarded" in said.stdout + said.stderr
