"""The starter: the file of `releaser bootstrap`, and `releaser exec`. Real Pythons, uv, git and servers."""

import contextlib
import fcntl
import os
import re
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from releaser.program.bootstrap import STARTER
from tests.e2e.scenes import says
from tests.e2e.test_places import Bucket, bucket
from tests.support.commands import (
    HOUSE,
    Finished,
    clean_environment,
    find_python,
    git_executable,
    releaser_command,
    run,
    started,
    uv_executable,
)
from tests.support.index import serve_index
from tests.support.sites import SampleSite
from tests.support.wheels import build_wheel

__all__ = ["bucket"]
WAIT = 2.0  # seconds
MAIN = "import sys, hello; print(hello.__version__, sys.version_info[:2], *sys.argv[1:])\n"


class Program:
    """The program `hello`, with the wheels of a shelf, started by the Python of the tests."""

    def __init__(self, base: Path, *options: str, index: str = "") -> None:
        self.base, self.place, self.shelf, self.file = base, base / "place", base / "shelf", base / "my hello"
        self.env = clean_environment(base / "home", base / "cache")
        self.shelf.mkdir(exist_ok=True)
        self.python = Path(sys.executable).resolve()
        words: list[str | Path] = [
            *releaser_command(),
            "bootstrap",
            "-o",
            self.file,
            "hello",
            "--main",
            "python -m hello",
        ]
        words += ["--place", self.place, "--wait", "60s", "--source", f"hello={index or self.shelf}", *options]
        run([*words, "--releaser", " ".join(releaser_command())], cwd=base, env=self.env, check=0)

    def publish(self, version: str, code: str = "") -> Path:
        """Add a version, whose module begins with this code. Returns its wheel."""
        text = f'{code}\n__version__ = "{version}"\n'
        return build_wheel(self.shelf, "hello", version, modules={"hello/__init__.py": text, "hello/__main__.py": MAIN})

    def edit(self, old: str, new: str) -> None:
        """Change the file as a person does."""
        text = self.file.read_text("utf-8")
        assert text.count(old) == 1
        self.file.write_text(text.replace(old, new), "utf-8")
        moment = time.time() - 60
        os.utime(self.file, (moment, moment))

    def hook(self, name: str, line: str) -> None:
        """Let a hook run a line of Python."""
        start = f"\ndef {name}("
        text = self.file.read_text("utf-8")
        place = text.index('"""\n', text.index(start)) + 4
        self.file.write_text(f"{text[:place]}    {line}\n{text[place:]}", "utf-8")

    def make_due(self) -> None:
        """Let the next start look for updates, once the last look has ended."""
        with (self.place / "lock").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.utime(self.place / "due", (1, 1))

    def start(self, *words: str, python: bool = False, env: Mapping[str, str] | None = None) -> Finished:
        """Start the program: as a person does, or by Python."""
        start: list[str | Path] = [self.python, "-I", "-S"] if python else []
        return run([*start, self.file, *words], cwd=self.base, env={**self.env, **(env or {})})

    def releaser(self, *words: str) -> Finished:
        """Run a command of releaser on the program's project."""
        return self.start("--releaser", *words)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The program, of which version 1.0 exists."""
    program = Program(tmp_path)
    program.publish("1.0")
    return program


def version(finished: Finished) -> str:
    """Return the version that a start ran."""
    assert finished.returncode == 0, str(finished)
    return finished.stdout.split()[0]


@pytest.mark.slow
def test_law_03_05_only_what_passes_goes_live_and_the_way_back_works(program: Program) -> None:
    first = program.start("a", "b c")
    assert (version(first), first.stdout.split(maxsplit=3)[3], first.stderr) == ("1.0", "a b c\n", "")
    program.publish("1.1", "import what_is_missing")
    assert version(program.start()) == "1.0"  # no look is due
    program.make_due()
    broken = program.start()
    assert version(broken) == "1.0"
    says(broken, "hello: ", "No module named 'what_is_missing'")
    build_wheel(program.shelf, "hello", "1.1.1", modules={"hello/__init__.py": ""})
    program.make_due()
    assert version(program.start()) == "1.0"  # `python -m hello` needs hello/__main__.py
    program.publish("1.2")
    program.make_due()
    assert version(program.start(python=True)) == "1.2"
    says(program.releaser("rollback"), "hello 1.2 → 1.0")
    program.make_due()
    assert version(program.start()) == "1.0"  # what the rollback removed is on hold
    program.edit('VERIFY: "list[str]" = []', "VERIFY = ['python', '-c', 'import hello; hello.check()']")
    program.publish("1.3", "def check(): pass")
    program.make_due()
    assert version(program.start()) == "1.3"
    program.publish("1.4", "def check(): 1 / 0")
    program.make_due()
    assert version(program.start()) == "1.3"


@pytest.mark.slow
def test_law_03_a_release_without_the_program_does_not_go_live(program: Program) -> None:
    program.edit('MAIN: "list[str]" = ["python", "-m", "hello"]', 'MAIN = ["hello"]')
    code = "def main(): print(__version__)"
    with zipfile.ZipFile(program.publish("1.0", code), "a") as archive:
        archive.writestr("hello-1.0.dist-info/entry_points.txt", "[console_scripts]\nhello = hello:main\n")
    assert version(program.start()) == "1.0"
    program.publish("1.1", code)
    (program.base / "hello").symlink_to(program.file)  # as where the file itself is the `hello` on PATH
    program.env["PATH"] = f"{program.base}:{program.env['PATH']}"
    program.make_due()
    found = program.start()
    assert version(found) == "1.0"
    says(found, "the release has no program hello")


@pytest.mark.slow
def test_law_27_42_what_was_said_is_not_said_again_and_stops_no_start(program: Program) -> None:
    program.edit('WAIT = "60s"', 'WAIT = "0s"')
    program.edit('REFRESH = "daily"', 'REFRESH = "always"')
    program.hook("starting", "1 / 0")
    program.edit("    1 / 0\n", "    if _is_live():\n        time.sleep(0.3)\n        1 / 0\n")
    assert version(program.start()) == "1.0"
    for _ in range(4):
        said = program.start()
        assert (version(said), said.stderr.count("ZeroDivisionError") < 3) == ("1.0", True)
        with (program.place / "lock").open() as file:  # until it has ended
            fcntl.flock(file, fcntl.LOCK_EX)
    assert version(run(["sh", "-c", f"'{program.file}' 2>/dev/full"], cwd=program.base, env=program.env)) == "1.0"


@pytest.mark.slow
def test_law_10_twenty_starts_at_once_make_one_update(program: Program) -> None:
    program.hook("starting", f"open({str(program.base / 'looks')!r}, 'a').write('look ')")
    program.hook("succeeded", "print('a new release')")
    looks = program.base / "looks"
    with ThreadPoolExecutor(20) as pool:
        first = list(pool.map(lambda _: program.start(), range(20)))
        assert {version(finished) for finished in first} == {"1.0"}
        assert looks.read_text() == "look "
        program.publish("1.1")
        program.make_due()
        second = list(pool.map(lambda _: program.start(), range(20)))
    assert {version(finished) for finished in second} <= {"1.0", "1.1"}
    assert looks.read_text() == "look look "
    assert version(program.start()) == "1.1"
    assert [finished.stderr for finished in (*first, *second) if finished.stderr] == ["a new release\n"] * 2


@contextlib.contextmanager
def serve_bytes(answer: bytes) -> Iterator[str]:
    """Give the address of a server that accepts connections, and sends these bytes alone; it never ends one."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        code = "import socket, sys, time\nserver, kept = socket.socket(fileno=int(sys.argv[1])), []\nwhile True:\n"
        code += "    kept.append(server.accept()[0])\n    kept[-1].sendall(sys.argv[2].encode())\n"
        words = [sys.executable, "-c", code, str(server.fileno()), answer.decode()]
        with subprocess.Popen(words, pass_fds=[server.fileno()]) as process:
            try:
                yield f"http://127.0.0.1:{server.getsockname()[1]}/simple"
            finally:
                process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dead", "hanging", "slow"])
def test_law_42_the_program_starts_whatever_the_index_does(tmp_path: Path, kind: str) -> None:
    (tmp_path / "shelf").mkdir()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1000\r\n\r\n<" if kind == "slow" else b""
    with serve_index(tmp_path / "shelf") as index:
        program = Program(tmp_path, "--wait", f"{WAIT:g}s", index=index.url)
        program.publish("1.0")
        assert version(program.start()) == "1.0"
    program.hook("starting", "print('looking')")
    with serve_bytes(answer) if kind != "dead" else contextlib.nullcontext(index.url) as url:
        program.edit(index.url, url)
        program.make_due()
        assert version(program.start()) == "1.0"
        assert version(program.start()) == "1.0"


@pytest.mark.slow
def test_law_27_42_an_update_goes_on_without_its_start_and_the_next_start_has_it(program: Program) -> None:
    assert version(program.start()) == "1.0"
    go = program.base / "go"
    program.hook("starting", f"import time\n    while not os.path.exists({str(go)!r}): time.sleep(0.01)")
    program.hook("succeeded", "print('it has succeeded')")
    program.edit('WAIT = "60s"', 'WAIT = "0s"')
    program.publish("1.1")
    program.make_due()
    started_meanwhile = program.start()  # no stream of the program stays open
    assert (version(started_meanwhile), started_meanwhile.stderr) == ("1.0", "")
    go.touch()
    while not program.place.joinpath("news").read_text():
        time.sleep(0.05)
    while (program.place / "due").stat().st_mtime < time.time():
        time.sleep(0.05)
    while "it has succeeded" not in (said := program.start()).stderr:
        assert version(said) == "1.1"
    assert (version(program.start()), program.start().stderr) == ("1.1", "")


@pytest.mark.slow
def test_law_28_a_first_start_that_failed_is_tried_again(tmp_path: Path) -> None:
    program = Program(tmp_path)
    program.hook("failed", "print('the hook has it:', reason.splitlines()[0])")
    nothing = program.start()
    assert (nothing.returncode, nothing.stdout) == (1, "")
    says(nothing, "the hook has it:", "it has no release yet, so it cannot start")
    program.publish("1.0", "import what_is_missing")
    says(program.start(), "what_is_missing", "it has no release yet")
    program.publish("1.1")
    assert version(program.start()) == "1.1"
    program.edit('MAIN: "list[str]" = ["python", "-m", "hello"]', f"MAIN = ['bash', '-c', 'exec \"{program.file}\"']")
    program.make_due()
    with started([program.file], cwd=tmp_path, env=program.env) as process:
        assert process.wait(60) == 70
        assert process.stderr is not None
        assert "leads back" in process.stderr.read()


@pytest.mark.slow
def test_law_42_a_start_needs_nothing_but_its_live_release(program: Program) -> None:
    assert version(program.start()) == "1.0"
    program.publish("1.1")
    program.make_due()
    (program.place / "lock").rename(program.place / "kept")
    (program.place / "lock").mkdir()  # as where nothing can be written
    unwritable = program.start()
    assert version(unwritable) == "1.0"
    says(unwritable, "hello: it cannot look for updates: ", str(program.place / "lock"))
    (program.place / "lock").rmdir()
    bare = program.start(env={"PATH": "/nowhere"})  # as of cron, where this Python is elsewhere
    assert version(bare) == "1.0"
    says(bare, "No such file or directory: 'find'")
    year = time.time() + 365 * 86400
    for name in ("due", "lock"):  # the clock was wrong then
        os.utime(program.place / name, (year, year + 86400 * (name == "due")))
    assert version(program.start()) == "1.1"


@pytest.mark.slow
def test_law_09_33_nothing_wedges_the_project_of_a_program(program: Program) -> None:
    with (program.base / "home/.gitconfig").open("a") as config:
        config.write("[commit]\n\tgpgSign = true\n[gpg]\n\tprogram = false\n[core]\n\texcludesFile = ~/ignored\n")
    (program.base / "home/ignored").write_text("*.lock\n", "utf-8")
    wheel = program.publish("1.0")
    with zipfile.ZipFile(wheel, "a") as archive:  # as those of tbb and mkl do
        for number in range(40):
            archive.writestr(f"hello-1.0.data/data/lib/libhello.so.{number}", "")
    assert version(program.start()) == "1.0"
    program.publish("1.1")
    program.edit('PACKAGES: "list[str]" = ["hello"]', 'PACKAGES = ["hello>=1.1"]')
    working, *dead = (program.place / "project/.git" / name for name in ("a.lock", "index.lock", "config.lock"))
    for lock in (working, *dead):  # of another git, and of a look that was killed
        lock.touch()
        os.utime(lock, None if lock == working else (1, 1))
    program.make_due()
    assert version(program.start()) == "1.1"
    assert working.exists()
    program.shelf = program.shelf.rename(program.base / "moved")
    program.make_due()
    says(program.start(), "No such file or directory: ", str(program.base / "shelf"))
    assert "Tracked files" not in program.releaser("status").stdout
    program.edit(f'"{program.base}/shelf"', f'"{program.shelf}"')
    program.publish("1.2")
    program.make_due()
    assert version(program.start()) == "1.2"
    program.edit("_LONGEST = 7200", "_LONGEST = 1")
    program.hook("starting", "time.sleep(100)")
    says(program.start(), "the look for updates took more than 1 seconds")
    program.edit("time.sleep(100)", "1 / 0")
    program.make_due()
    says(program.start(), "hello: ZeroDivisionError")
    assert program.start().stderr == "", "no look is due for an hour"


@pytest.mark.slow
def test_law_29_32_nothing_of_the_current_directory_is_executed(program: Program) -> None:
    program.edit(f'RELEASER: "list[str]" = ["{" ".join(releaser_command())}"]', "RELEASER = []")
    (program.base / "bin").mkdir()
    (program.base / "bin/git").symlink_to(git_executable())
    (program.base / "bin/python3").symlink_to(program.python)
    (program.base / "pip.py").write_text(f"open({str(program.base / 'executed')!r}, 'w')\n", "utf-8")
    env = {"PATH": str(program.base / "bin"), "PIP_NO_INDEX": "1"}
    says(program.start(env=env), "it has no release yet")
    says(program.start("--releaser", "status", env=env), "hello: ")
    assert not (program.base / "executed").exists()
    words = [*releaser_command(), "bootstrap", "hello", "--source", "hello=https://me:hunter2secret@example.org/simple"]
    refused = run(words, cwd=program.base, env=program.env, check=3)
    assert "hunter2" not in refused.stdout + refused.stderr
    says(refused, "The address for `hello` has a user or a password", "`~/.netrc`")


@pytest.mark.slow
def test_law_03_two_programs_of_one_place_are_not_mistaken(program: Program) -> None:
    assert version(program.start()) == "1.0"
    first, program.file = program.file, program.base / "other"
    words: list[str | Path] = [
        "bootstrap",
        "hello",
        "-o",
        program.file,
        "--place",
        program.place.name,
        "--main",
        "python -m site",
    ]
    words += ["--source", f"hello={program.shelf}", "--wait", "60s", "--releaser", " ".join(releaser_command())]
    run([*releaser_command(), *words], cwd=program.base, env=program.env, check=0)
    for python in (False, True):
        os.utime(program.file, (1, 1))
        other = program.start(python=python)
        assert (other.returncode, other.stdout) == (1, "")
        says(other, f"{first} has the same PLACE", "Delete it, or change PLACE")
    assert version(run([first], cwd=program.base, env=program.env, check=0)) == "1.0"
    first.unlink()
    assert [program.start("--user-base").stdout for _ in "12"] == [f"{program.base}/home/.local\n"] * 2


@pytest.mark.slow
def test_law_32_no_other_source_may_offer_a_package(tmp_path: Path) -> None:
    public = tmp_path / "public"
    public.mkdir()
    for name in ("hello", "hello-core", "other"):
        build_wheel(public, name, "99.0", modules={f"{name.replace('-', '_')}/__init__.py": "1 / 0"})
    build_wheel(public, "other", "2.0")
    with serve_index(public) as index:
        program = Program(tmp_path, "other<3", "--source", f"hello-core={tmp_path / 'shelf'}")
        program.env |= {"UV_DEFAULT_INDEX": index.url, "UV_NO_SOURCES": "1"}
        modules = {"hello/__init__.py": '__version__ = "1.0"', "hello/__main__.py": MAIN}
        build_wheel(program.shelf, "hello", "1.0", modules=modules, requires=["hello-core"])
        build_wheel(program.shelf, "hello_core", "0.5")
        build_wheel(program.shelf, "other", "2.5")  # which the shelf may not offer
        (program.shelf / "hello-7.0.egg").touch()
        first = program.start()
        assert version(first) == "1.0"
        says(first, f"only wheels are installed, so not {program.shelf / 'hello-7.0.egg'}.")
        program.make_due()
        assert version(program.start()) == "1.0"
    lock = (program.place / "project/uv.lock").read_text()
    versions = re.findall(r'^version = "(.+)"$', lock, re.MULTILINE)
    assert sorted(versions) == ["0", "0.5", "1.0", "2.0"]


@pytest.mark.slow
def test_law_32_42_the_wheels_of_a_program_come_from_s3(tmp_path: Path, bucket: Bucket) -> None:
    program = Program(tmp_path, "--source", "hello-core=s3://wheels/core", index="s3://wheels/apps")
    program.env.update(bucket.dotenv)
    program.publish("1.0")
    bucket.put("apps", program.shelf / "hello-1.0-py3-none-any.whl")
    for place, core in (("core", "1.0"), ("apps", "99.0")):  # which only the first may offer
        bucket.put(place, build_wheel(program.base, "hello-core", core))
    assert version(program.start()) == "1.0"
    program.publish("1.1")
    bucket.put("apps", program.shelf / "hello-1.1-py3-none-any.whl")
    program.make_due()
    assert version(program.start()) == "1.1"
    assert 'name = "hello-core"\nversion = "1.0"\n' in (program.place / "project/uv.lock").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("series", ["3.8", "3.11", "3.13"])
def test_law_36_a_program_runs_on_the_python_that_starts_it(program: Program, series: str) -> None:
    program.python = find_python(series)
    first = program.start(python=True)
    assert (version(first), first.stderr) == ("1.0", "")
    assert f"({series.replace('.', ', ')})" in first.stdout
    program.publish("1.1")
    program.make_due()
    program.env["PATH"] = f"{program.python.parent}:{program.env['PATH']}"
    again = program.start()
    assert version(again) == "1.1"
    assert f"({series.replace('.', ', ')})" in again.stdout


@pytest.mark.slow
def test_law_28_without_releaser_the_program_starts_as_it_is(program: Program) -> None:
    command = " ".join(releaser_command())
    program.edit(f'RELEASER: "list[str]" = ["{command}"]', "RELEASER = []")
    (program.base / "bin").mkdir()
    (program.base / "bin/uv").symlink_to(uv_executable())
    program.env |= {"PATH": f"{program.base / 'bin'}:/usr/bin:/bin", "UV_OFFLINE": "1"}
    first = program.start(python=True)
    assert version(first) == "1.0"
    says(first, "it is not kept up to date: releaser, which needs Python 3.11 or newer, cannot be installed")
    program.publish("1.1")
    assert version(program.start(python=True)) == "1.0"
    (program.base / "bin/releaser").symlink_to(command)
    program.make_due()
    del program.env["UV_OFFLINE"]
    second = program.start(python=True)
    assert (version(second), second.stderr) == ("1.1", "")


@pytest.mark.slow
def test_law_03_exec_updates_a_project_that_exists(site: SampleSite) -> None:
    site.publish("alpha", "1.1.0")
    code = "import alpha, sys; print(alpha.__version__, sys.argv[1:])"
    words: list[str | Path] = [*releaser_command(), "exec", "--project", site.path, "--wait", "60s"]
    env = site.environment({"XDG_CACHE_HOME": str(site.base / "cache")})

    def start(*options: str, check: int = 0) -> Finished:
        command = ["--", "python", "-c", code, "--", "--refresh", "x"]
        return run([*words, *options, *command], cwd=site.base, env=env, check=check)

    assert start("--refresh", "never").stdout == "1.1.0 ['--', '--refresh', 'x']\n"
    site.publish("alpha", "1.2.0", broken=True)
    site.publish("alpha", "1.3.0")
    assert start("--refresh", "never").stdout.startswith("1.1.0 ")
    assert start("--refresh", "always").stdout.startswith("1.3.0 ")
    (site.path / "shop.py").write_text("edited\n", "utf-8")
    says(start("--refresh", "always"), "The live release is unchanged.")
    says(start("--refresh", "often", check=2), "--refresh must be hourly, daily,", "`often`")
    says(start("--wait", "²s", check=2), "--wait must be")
    assert "-- COMMAND…" in run([*words[:-4], "--help"], cwd=site.base, env=env, check=0).stdout


def test_the_starter_is_one_file_of_python_3_8() -> None:
    import ast

    ast.parse(STARTER.read_text("utf-8"), feature_version=(3, 8))


_FENCE = re.compile(r'^```(\w+) ?(?:title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["self-updating-programs.md", "from-transmute.md"])
def test_the_guides_do_what_they_say(tmp_path: Path, page: str) -> None:
    env, ran = clean_environment(tmp_path, tmp_path / "cache"), 0
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    if page == "from-transmute.md":
        (tmp_path / "shelf").mkdir()
        main = "import hello; print(hello.__version__)"
        modules = {"hello/__init__.py": '__version__ = "1.0"', "hello/__main__.py": main}
        build_wheel(tmp_path / "shelf", "hello", "1.0", modules=modules)
    for kind, title, text in _FENCE.findall((HOUSE / "docs" / page).read_text("utf-8")):
        if title:
            (tmp_path / title).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / title).write_text(text, "utf-8")
        for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.M) if kind == "console" else ():
            assert run(["bash", "-c", command], cwd=tmp_path, env=env, check=0).stdout == shown, command
            ran += 1
    assert ran > 2
