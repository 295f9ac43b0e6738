"""A candidate's tests and builds reach only permitted places; their writes outside their own trees are discarded."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from releaser.sandbox.bubblewrap import Bounds, Bubblewrap, find_bubblewrap
from releaser.sandbox.landlock import can_forbid_abstract_sockets
from releaser.system.process import Runner
from tests.e2e.scenes import edit_pyproject
from tests.e2e.test_group_use import ADA, GROUP, base_python, environment_of, give_to_group, script_of
from tests.support.commands import Finished, run
from tests.support.guards import require
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import Templates
from tests.support.wheels import TELLING, write_sdist

# Tries everything, and says what it could do. TARGETS is a JSON file of places, one of which is a process.
ATTACK = """
import json, os
from pathlib import Path

def reached(targets):
    known = json.loads(Path(targets).read_text())
    attempts = {name: lambda to=to: Path(to, "planted").write_text("x") for name, to in known["write"].items()}
    attempts |= {name: lambda it=it: Path(it).read_text() or os.stat("/-") for name, it in known["read"].items()}
    attempts |= {"empty": lambda: os.truncate(known["empty"], 0), "kill": lambda: os.kill(known["kill"], 15)}
    found = []
    for name, attempt in attempts.items():
        try:
            attempt()
        except OSError:
            continue
        found.append(name)
    return sorted(found)
"""
TESTS = """
def test_reach(packages):
    print("reached:", ",".join(reached(TARGETS)), flush=True)
"""
SOURCE = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
# A build backend of a source release, which writes into its module what it has reached.
BACKEND = TELLING.format(mark=os.devnull, name="alpha", version="1.1.0").replace(
    "__version__ =", "REACHED = '\" + ','.join(reached(TARGETS)) + \"'; __version__ ="
)
# What tests of sites do every day.
HARMLESS = """
import multiprocessing, os, socket, sqlite3, tempfile, threading
from pathlib import Path

def test_everyday_life(packages):
    with tempfile.TemporaryDirectory() as place:
        Path(place, "a").write_text("a")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.join(place, "socket"))
    with sqlite3.connect("db.sqlite3") as database:
        database.execute("create table t (x)")
    os.makedirs("one/two")
    Path("one/a").write_text("a")
    os.rename("one/a", "one/two/a")
    lock = multiprocessing.Lock()
    with lock:
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=server.accept, daemon=True).start()
        socket.create_connection(server.getsockname()).close()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.path.abspath("../db.socket"))
    assert Path("../.env").read_text()
    os.kill(child := os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "9"), 15)
    os.waitpid(child, 0)
"""


class Scene:
    """A site in a place that everybody may enter, whose owner is root or a plain user; and a process of the owner."""

    def __init__(self, site: SampleSite, *, plain: bool) -> None:
        self.site, self.plain = site, plain
        home = Path(environment_of(ADA, site)["HOME"] if plain else site.env["HOME"])
        self.uv_cache = Path(environment_of(ADA, site)["UV_CACHE_DIR"] if plain else home / "cache")
        self.keys = home / ".ssh"
        self.keys.mkdir(parents=True)
        (self.keys / "id").write_text("secret", encoding="utf-8")
        self.passwords = {"git passwords": home / ".git-credentials", "netrc": home / ".netrc", "smtp": home / "smtp"}
        for path in self.passwords.values():
            path.write_text("secret", encoding="utf-8")
        user = f"--reuid={ADA if plain else 0}"
        self.victim = subprocess.Popen(["setpriv", user, f"--regid={GROUP}", "--clear-groups", "sleep", "600"])
        self.targets = site.outer / "targets.json"
        if plain:
            for path in (self.keys, self.keys / "id", *self.passwords.values()):
                os.chown(path, ADA, GROUP)

    def releaser(
        self, command: str, *, sandbox: str, check: int | None = 0, more: Mapping[str, str] | None = None
    ) -> Finished:
        env: dict[str, str | None] = {
            **self.site.env,
            "UV_CACHE_DIR": str(self.uv_cache),
            **(environment_of(ADA, self.site) if self.plain else {}),
            "RELEASER_SANDBOX": sandbox,
            "SAMPLE_SITE_RUNS": None,
            "RELEASER_TEST_WRITABLE": "",
            "RELEASER_SMTP_PASSWORD_FILE": str(self.passwords["smtp"]),
            **(more or {}),
        }
        if not self.plain:
            return self.site.releaser(command, env=env, check=check)
        become = ["setpriv", f"--reuid={ADA}", f"--regid={GROUP}", "--clear-groups"]
        words: list[str | Path] = [*become, base_python(), script_of(self.site), command, "--project", self.site.path]
        given = {name: value for name, value in env.items() if value is not None}
        return run(words, cwd=Path("/"), env=given, check=check)

    def commit(self, text: str) -> None:
        """Let the tests of the site be these."""
        self.site.commit("tests", {"site_tests.py": text})

    def aim(self, *, builds: bool = False) -> str:
        """Write down what is to be attacked, and return the code of the attack."""
        site, state = self.site, self.site.state_dir
        mail = state / "outbox" / "new" / "secret"
        mail.parent.mkdir(parents=True, exist_ok=True)
        mail.write_text("secret", encoding="utf-8")
        places = {
            "live venv": site.link.resolve() / "bin",
            "checkout": site.path,
            "hooks": site.path / ".git" / "hooks",
            "state": state,
            "releases": state / "releases",
            "outer": site.outer,
            "uv cache": self.uv_cache,
            "keys": self.keys,
        }
        for place in places.values():
            place.mkdir(exist_ok=True, parents=True)
        if builds:  # by which the project's own source could be changed
            places["staging"] = site.path.with_name(f".{site.path.name}.releaser-staging")
        self.manifest = site.link.resolve().parent / "manifest.json"
        passwords = {name: str(path) for name, path in self.passwords.items()}
        known: dict[str, Any] = {
            "write": {name: str(place) for name, place in places.items()},
            "read": {"key": str(self.keys / "id"), "mail": str(mail), **passwords},
            "empty": str(site.link.resolve() / "pyvenv.cfg"),
            "kill": self.victim.pid,
        }
        self.targets.write_text(json.dumps(known), encoding="utf-8")
        self.give()
        return ATTACK + f"TARGETS = {str(self.targets)!r}\n"

    def give(self) -> None:
        """Let all of the site belong to its owner."""
        if self.plain:
            run(["chown", "-R", f"{ADA}:{GROUP}", self.site.outer], cwd=self.site.outer, env=os.environ, check=0)

    def newest(self) -> Path:
        """Return the directory of the newest release."""
        return max(self.site.state_dir.joinpath("releases").glob("2*"))

    def harm(self) -> list[str]:
        """Name what was reached, as it is to be seen from outside."""
        known = json.loads(self.targets.read_text(encoding="utf-8"))
        found = [name for name, place in known["write"].items() if Path(place, "planted").exists()]
        found += ["kill"] if self.victim.poll() is not None else []
        return sorted(found + ([] if Path(known["empty"]).stat().st_size else ["empty"]))


@pytest.fixture(params=["root", "plain"])
def scene(templates: Templates, everybodys: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Make a site that was adopted."""
    plain = request.param == "plain"
    require(os.geteuid() == 0 and shutil.which("setpriv") and shutil.which("bwrap"), "root makes the users")
    base = Path(tempfile.mkdtemp(prefix="sandbox-", dir="/tmp"))  # not in /dev/shm, which is not kept in everywhere
    scene = None
    try:
        base.chmod(0o755)
        settings = {"collectstatic": "off", "git_pull": False, "git_push": False}
        if plain:
            settings["python"] = base_python()
        site = SiteFactory(base, templates)(settings=settings)
        if plain:
            site.env["PATH"] = f"{everybodys / 'bin'}:{site.env['PATH']}"
            give_to_group(site)
        scene = Scene(site, plain=plain)
        scene.releaser("init", sandbox="off")
        yield scene
    finally:
        if scene is not None:
            scene.victim.kill()
            scene.victim.wait()
        shutil.rmtree(base)


EVERYTHING = "checkout,empty,git passwords,hooks,key,keys,kill,live venv,mail,netrc,outer,releases,smtp,state,uv cache"


@pytest.mark.spread(2)
@pytest.mark.parametrize("sandbox", ["auto", "off"])
def test_tests_reach_only_their_own_files(scene: Scene, sandbox: str) -> None:
    scene.commit(scene.aim() + TESTS)
    scene.site.publish("alpha", "1.1.0")
    scene.releaser("update", sandbox=sandbox, check=None if sandbox == "off" else 0)
    text = (scene.newest() / "test-output.txt").read_text(encoding="utf-8")
    reached = [name for name in text.partition("reached: ")[2].partition("\n")[0].split(",") if name]
    if sandbox == "off":  # what is attacked can be reached
        assert reached == EVERYTHING.split(",")
    else:
        assert (secrets(reached), scene.harm()) == ([], [])


def secrets(reached: list[str]) -> list[str]:
    """Name what can be read, or signalled, and not only written to for as long as the sandbox lasts."""
    return sorted({*reached} & {"git passwords", "key", "kill", "mail", "netrc", "smtp"})


def publish_source(scene: Scene, code: str, *, metadata: str = "2.2") -> None:
    """Offer a source release of alpha 1.1.0, whose build runs `reached(TARGETS)` of the code.

    Before metadata 2.2 (PEP 643), and where pyproject.toml does not tell either, uv builds it to learn what it needs.
    """
    project = '[project]\nname = "alpha"\nversion = "1.1.0"\n' if metadata == "2.2" else ""
    files = {
        "PKG-INFO": f"Metadata-Version: {metadata}\nName: alpha\nVersion: 1.1.0\n",
        "pyproject.toml": f"{project}{SOURCE}",
        "backend.py": code + BACKEND,
    }
    write_sdist(scene.site.index.path, "alpha", "1.1.0", files)


@pytest.mark.spread(3)
@pytest.mark.parametrize("sandbox", ["off", "bwrap with no-binary-package", "auto of 2.1"])
def test_builds_reach_only_their_own_files(scene: Scene, sandbox: str) -> None:
    sandbox, _, metadata = sandbox.partition(" of ")
    sandbox, _, setting = sandbox.partition(" with ")
    if setting:  # which `--no-build` does not overrule
        scene.site.publish("alpha", "1.1.0")
        text = edit_pyproject(scene.site, "no-index = true", f'no-index = true\n{setting} = ["alpha"]')
        scene.site.commit("Build it", {"pyproject.toml": text})
    publish_source(scene, scene.aim(builds=True), metadata=metadata or "2.2")
    scene.releaser("update", sandbox=sandbox, check=None if sandbox == "off" else 0)
    code = next(scene.newest().glob("venv/lib/*/site-packages/alpha.py")).read_text(encoding="utf-8")
    reached = code.partition("REACHED = '")[2].partition("'")[0].split(",")
    assert (secrets(reached) == []) == (sandbox != "off")
    assert (scene.harm() == []) == (sandbox != "off")


@pytest.mark.parametrize("scene", ["plain"], indirect=True)
def test_queries_for_newer_versions_build_in_the_sandbox(scene: Scene) -> None:
    publish_source(scene, scene.aim(builds=True), metadata="2.1")
    found = scene.releaser("outdated", sandbox="bwrap").stdout
    assert "1.1.0" in found
    assert scene.harm() == []


def test_usual_tests_work_in_the_sandbox(scene: Scene) -> None:
    with socket.socket(socket.AF_UNIX) as database:
        database.bind(str(scene.site.outer / "db.socket"))
        database.listen()
        (scene.site.outer / "db.socket").chmod(0o777)
        scene.commit(HARMLESS)
        scene.give()
        scene.site.publish("alpha", "1.1.0")
        scene.releaser("update", sandbox="bwrap", more={"RELEASER_TEST_SOCKETS": "../db.socket"})
    assert scene.victim.poll() is None


def working_bubblewrap(*places: Path) -> tuple[Runner, Bubblewrap]:
    runner = Runner(environ=os.environ)
    found = find_bubblewrap(runner, places)
    require(isinstance(found, Bubblewrap), str(found))
    return runner, cast("Bubblewrap", found)


def test_builds_at_the_same_time_have_separate_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two builds, such as those of two sites of one user, cannot change what the other one installs from."""
    runner, bubblewrap = working_bubblewrap()
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        monkeypatch.setattr(tempfile, "tempdir", str(place))
        places: list[Path] = []
        sandboxes = [stack.enter_context(bubblewrap.sandbox(Bounds(writable=()))) for _ in range(2)]
        made = {*place.iterdir()}

        def sh(number: int, command: str) -> None:
            env = {**os.environ, **dict(sandboxes[number].variables)}
            runner.run(["sh", "-c", command], cwd=Path("/"), timeout=60, env=env, sandbox=sandboxes[number])

        for number in range(2):
            sh(number, f'mkdir -p "$TMPDIR/uv" && touch "$TMPDIR/uv/{number}"')
            places += [one for one in made if (one / "uv" / str(number)).exists()]
        assert len({*places}) == 2
        for number, other in enumerate(reversed(places)):
            sh(number, f"touch {other}/uv/planted || true")
            assert os.listdir(other / "uv") == [str(1 - number)]


def test_no_command_gives_a_hidden_file_another_name_for_the_next_one(tmp_path: Path) -> None:
    """A build and the tests after it may share a sandbox."""
    home = tmp_path / "home"
    (home / ".config").mkdir(parents=True)
    (home / ".config" / "key").write_text("secret", encoding="utf-8")
    runner, bubblewrap = working_bubblewrap(tmp_path)
    with bubblewrap.sandbox(Bounds(writable=(), hidden=(home / ".config" / "key",), kept=(home,))) as sandbox:
        for command in (f"mv {home}/.config {home}/other", f"cat {home}/other/key {home}/.config/key"):
            done = runner.run(["sh", "-c", command], cwd=Path("/"), timeout=60, sandbox=sandbox, check=False)
            assert "secret" not in done.stdout
    assert (home / ".config" / "key").read_text(encoding="utf-8") == "secret"


def test_a_candidate_cannot_have_its_own_code_run_without_a_sandbox(make_site: SiteFactory) -> None:
    """However its tests end: nothing is ever run again outside of the sandbox that works here."""
    site = make_site.adopted()
    site.write_dotenv({"RELEASER_TEST_WRITABLE": None})
    tests = "import pathlib\ndef test_it(packages):\n    pathlib.Path('../planted').touch()\n"
    attack = (
        "import sys\nfrom pathlib import Path\n__version__ = '1.1.0'\n"
        "if Path('site_tests.py').exists() and 'releaser-' in str(Path.cwd()):\n"
        f"    try:\n        Path({str(site.outer / 'planted')!r}).touch()\n    except OSError:\n        pass\n"
        f"    Path('site_tests.py').write_text({tests!r})\n    raise SystemExit(1)\n"
    )
    site.publish("alpha", "1.1.0", modules={"alpha/__init__.py": attack})
    report = site.json("update", check=5)
    assert report["blame"] == "update"
    site.json("verify", "--all", "--tests", check=10)
    assert not (site.outer / "planted").exists()
    assert "without a sandbox" not in " ".join(site.json("check")["warnings"])


@pytest.mark.parametrize("scene", ["plain"], indirect=True)
def test_files_that_tests_change_to_mislead_releaser_are_restored(scene: Scene) -> None:
    """The venv's Python, and the repository of the staging tree, are what releaser goes by after the tests."""
    scene.commit(
        "import os, sys\nfrom pathlib import Path\ndef test_it(packages):\n"
        "    python = Path(sys.prefix, 'bin', 'python')\n    python.unlink()\n    python.write_text('#!/bin/false')\n"
        "    Path('.git').write_text('gitdir: /nowhere\\n')\n    assert False\n"
    )
    scene.site.publish("alpha", "1.1.0")
    scene.releaser("update", sandbox="bwrap", check=5)
    assert (scene.newest() / "venv" / "bin" / "python").is_symlink()
    scene.releaser("check", sandbox="bwrap")


# Listens on sockets, and prints which of them a program in the sandbox reaches.
REACHES = """
import os, socket, sys
from pathlib import Path
from releaser.sandbox.bubblewrap import Bounds, find_bubblewrap, secrets_of_user
from releaser.system.process import Runner

code, *paths = sys.argv[1:]
for path in paths:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
services = [socket.socket(socket.AF_UNIX) for _ in paths]
for path, service in zip(paths, services):
    service.bind(path)
    service.listen()
runner = Runner(environ=dict(os.environ))
needed = (Path(sys.prefix), Path(sys.executable))  # which may lie in /tmp
hidden, fixed = secrets_of_user(runner.environ), (Path(os.environ["HOME"], "library"),)
with find_bubblewrap(runner).sandbox(Bounds(writable=(), hidden=hidden, needed=needed, fixed=fixed)) as sandbox:
    words = [sys.executable, "-c", code, *paths]
    print(runner.run(words, cwd=Path("/"), timeout=60, sandbox=sandbox, check=False).stdout, end="")
"""
CONNECTS = """
import socket, sys
for path in sys.argv[1:]:
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(9)
        try:
            one.connect(path)
            print(path)
        except OSError:
            pass
"""
OWN_RUN = 'mount -t tmpfs none /run && exec "$@"'


OUTSIDE = (
    "/run/crio/crio.sock", "/run/screen/S-ada/1.pts-0", "/run/fail2ban/fail2ban.sock", "/run/snapd.socket",
    "/run/own/app", "/run/docker.sock", "/tmp/ssh-XXXX/agent.1", "/tmp/tmux-4711/default", "/tmp/own.sock",
    "HOME/.docker/run/docker.sock", "HOME/tmux", "HOME/library/own.sock", "/usr/own.sock", "/etc/own.sock",
)  # fmt: skip
DATABASES = ["/run/postgresql/.s.PGSQL.5432", "/run/mysqld/mysqld.sock", "/tmp/.s.PGSQL.54329"]


def test_services_that_run_programs_are_out_of_reach_and_databases_are_not(tmp_path: Path) -> None:
    """Stand-ins for the sockets of container engines, of agents, and of terminals that somebody has left open.

    They have a /run of their own: what is in that of all while another test looks at it would be gone for that one.
    """
    require(os.geteuid() == 0 and shutil.which("bwrap"), "root makes the place, and bubblewrap hides it")
    paths = [*(path.replace("HOME", str(tmp_path)) for path in OUTSIDE), *DATABASES]
    words: list[str | Path] = ["unshare", "--mount", "sh", "-c", OWN_RUN, "sh", sys.executable, "-c", REACHES, CONNECTS]
    try:
        said = run([*words, *paths], cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)}, check=0).stdout
    finally:
        for path in map(Path, paths):
            if not path.is_relative_to("/run"):  # outside of the test, that is the host's own
                path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # it is a directory of the host
                    path.parent.rmdir()
    assert said.split() == DATABASES


def test_without_the_network_a_program_reaches_only_its_own_loopback() -> None:
    """`releaser check --sandbox` tries that it does not reach a service of the host."""
    runner, bubblewrap = working_bubblewrap()
    code = (
        "import socket\n"
        "with socket.create_server(('127.0.0.1', 0)) as own: socket.create_connection(own.getsockname()).close()\n"
        "print('reached')\n"
    )
    needed = (Path(sys.prefix), Path(sys.executable))  # which may lie in /tmp
    with bubblewrap.sandbox(Bounds(writable=(), hidden=(), needed=needed, network=False)) as sandbox:
        assert (
            runner.run([sys.executable, "-c", code], cwd=Path("/"), timeout=60, sandbox=sandbox).stdout == "reached\n"
        )


# `releaser check --sandbox` tries what code in the sandbox can reach, and says so also where no sandbox works


@pytest.mark.parametrize("sandbox", ["bwrap", "off"])
def test_the_probe_lists_attempts_and_results(make_site: SiteFactory, sandbox: str) -> None:
    require(shutil.which("bwrap"), "bubblewrap is needed")
    site = make_site.adopted()
    home = Path(site.env["HOME"])
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id").write_text("secret", encoding="utf-8")
    env = {"RELEASER_SANDBOX": sandbox, "RELEASER_TEST_WRITABLE": ""}
    before = site.snapshot()
    with tempfile.TemporaryDirectory(dir="/tmp") as place, socket.socket(socket.AF_UNIX) as agent:
        agent.bind(f"{place}/agent.1")
        agent.listen()
        tried = site.json("check", "--sandbox", env=env)["tried"]
        off = {
            one["what"]: one["reached"]
            for one in site.json("check", "--sandbox", env={**env, "RELEASER_TEST_NETWORK": "false"})["tried"]
        }
        text = site.releaser("check", "--sandbox", env=env, check=0).stdout
    found = {one["what"]: one["reached"] for one in tried}
    apart = sandbox == "bwrap"
    stopped = [
        f"{place}/agent.1",
        "a socket of this user in /tmp",
        f"read {home / '.ssh'}",
        f"write in {site.path}, to stay",
        f"write in {site.state_dir}, to stay",
        "a process of this user",
        "shared memory of another process",
    ]
    assert [one for one in stopped if found[one] == apart] == []
    assert found["an abstract socket"] == (not (apart and can_forbid_abstract_sockets()))
    assert (found["a service on this host"], off["a service on this host"]) == (True, not apart)
    assert off["an abstract socket"] == (not apart)
    assert {one["kind"] for one in tried} >= {"network", "sockets", "files", "processes", "memory", "terminals"}
    assert [one["what"] for one in tried if one["kind"] == "terminals" and one["reached"] == apart] == []
    assert ("stopped" in text) == apart
    assert "processes" in text
    assert site.snapshot() == before
    assert [name for name in os.listdir(home) if name.startswith(".releaser-")] == []
