"""The start-up module in venvs of every interpreter that the machine has: the pin, the lease, the record of a test."""

import contextlib
import fcntl
import json
import os
import select
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from releaser.releases import store
from releaser.releases.lease import install_startup_module, is_used, list_users, make_lease
from releaser.releases.store import delete_unused_release
from releaser.releases.venv import find_site_packages
from releaser.system.files import replace_symlink
from tests.e2e.scenes import eventually, mostly_slow, silent
from tests.support.commands import Finished, clean_environment, run, started, uv_executable

RUNNING = Path(sys.executable).resolve()
PYTHON, BASE = ".venv/bin/python", "the interpreter below the venv"
MODULES = ("late", "nsp.x", "legacy.late", "older.late", "deep")
#: The site's program: it flips the link, imports, prints where from, and waits until the test closes its input.
APP = f"""\
import importlib, json, multiprocessing, os, site, sys

def flip():
    os.symlink("../releases/B/venv", "flipped")
    os.replace("flipped", ".venv")

def answer():
    flip()
    modules = {{name: importlib.import_module(name).RELEASE for name in {MODULES}}}
    os.write(1, json.dumps({{"pid": os.getpid(), "modules": modules}}).encode() + b"\\n")
    os.read(0, 1)

def main(way=""):
    if way == "passenger":
        INTERP = os.path.abspath(".venv/bin/python")
        if sys.executable != INTERP: os.execl(INTERP, INTERP, *sys.argv)
    if way in ("exec", "fork", "spawn", "forkserver"): flip()
    if way == "exec": os.execl(sys.executable, sys.executable, "app.py")
    if way == "fork" and os.fork(): return os.wait()
    if way == "addsitedir": site.addsitedir(".venv/lib/python%d.%d/site-packages" % sys.version_info[:2])
    if way == "daemon":
        for _ in range(2):
            if os.fork(): os._exit(0)
            os.setsid()
        os.closerange(3, 256)
    if way in ("spawn", "forkserver"):
        process = multiprocessing.get_context(way).Process(target=answer)
        process.start()
        return process.join()
    answer()

if __name__ == "__main__":
    main(*sys.argv[1:])
"""
FILES = {
    "imports.pth": "import colorsys\n",
    # What setuptools wrote for a namespace package, with importlib and, earlier, without.
    "legacy-nspkg.pth": "import sys, types, os;p = os.path.join(sys._getframe(1).f_locals['sitedir'], *('legacy',));"
    "importlib = __import__('importlib.util');__import__('importlib.machinery');"
    "m = sys.modules.setdefault('legacy', importlib.util.module_from_spec("
    "importlib.machinery.PathFinder.find_spec('legacy', [os.path.dirname(p)])));"
    "mp = m.__dict__.setdefault('__path__',[]);(p not in mp) and mp.append(p)\n",
    "older-nspkg.pth": "import sys, types, os;p = os.path.join(sys._getframe(1).f_locals['sitedir'], *('older',));"
    "m = sys.modules.setdefault('older', types.ModuleType('older'));"
    "mp = m.__dict__.setdefault('__path__',[]);(p not in mp) and mp.append(p)\n",
    "zz.pth": "below\n",
    "../../../bin/app": f"""\
#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")"/'python' "$0" "$@"
' '''
{APP}""",
}
WAYS = {
    "script": (PYTHON, "app.py"),
    "module": (PYTHON, "-m", "app"),
    "isolated": (PYTHON, "-I", "app.py"),
    "console script": (".venv/bin/app",),
    **{way: (PYTHON, "app.py", way) for way in ("exec", "fork", "daemon", "spawn", "forkserver", "passenger")},
    "passenger from without": (BASE, "app.py", "passenger"),
    "addsitedir": (BASE, "app.py", "addsitedir"),
}
#: Plays site.py of Python 3.15 in an earlier one: what `.pth` and `.start` files run comes after all paths.
LATE_SITE = """
lines, calls, own_execsitecustomize = {}, {}, execsitecustomize

def addsitedir(sitedir, known_paths=None):
    sys.path.append(os.path.abspath(sitedir))
    for name in sorted(os.listdir(sitedir)):
        path, (stem, suffix) = os.path.join(sitedir, name), os.path.splitext(name)
        if suffix == ".start":
            calls[stem] = open(path).read().split()
        elif suffix == ".pth":
            for line in open(path).read().splitlines():
                if line.startswith("import "):
                    lines.setdefault(stem, []).append((sitedir, line))
                else:
                    sys.path.append(os.path.join(sitedir, line))
    return known_paths

def execsitecustomize():
    if MODE == "import lines alone":
        calls.clear()
    for stem in sorted(lines.keys() - calls) if MODE != "3.18" else ():
        for sitedir, line in lines[stem]:
            exec(line)
    for name in sum(calls.values(), []):
        module, _, function = name.partition(":")
        assert getattr(__import__(module), function)()
    own_execsitecustomize()
"""
LEASES: dict[str, Callable[[Path], object]] = {
    "missing": lambda lease: None,
    "directory": Path.mkdir,
    "symlink": lambda lease: lease.symlink_to("/etc/passwd"),
    "FIFO": os.mkfifo,
    "unreadable": lambda lease: lease.touch(0),
}
FORK = "import os, sys\nif os.fork(): os.wait(), os._exit(0)\n"
WORKER = "import multiprocessing as m; w=m.get_context('fork').Process(target=exec, args=({!r},)); w.start(); w.join()"
ENDS = {  # programs, and whether the end of the first process is recorded
    "": True,
    "raise SystemExit(3)": True,
    "import os, sys; os.execl(sys.executable, sys.executable, '-c', '')": True,
    "import os; os._exit(0)": False,
    f"{FORK}sys.exit()": False,
    "import os, sys; os.spawnl(os.P_WAIT, sys.executable, sys.executable, '-c', ''); os._exit(0)": False,
}


def find_interpreters() -> list[Path]:
    """Return the interpreters 3.8 to 3.15 on PATH and in pyenv, each once; the one that runs the tests comes first."""
    places = [*map(Path, os.get_exec_path()), *sorted(Path.home().glob(".pyenv/versions/*/bin"))]
    paths = [place / f"python3.{minor}" for minor in range(8, 16) for place in places if place.name != "shims"]
    return list(dict.fromkeys([RUNNING, *(path.resolve() for path in paths if os.access(path, os.X_OK))]))


@dataclass(frozen=True)
class Site:
    """A directory with a project, whose `.venv` leads to release A or B."""

    project: Path
    python: Path
    env: Mapping[str, str]

    def release(self, name: str) -> Path:
        return self.project.parent / "releases" / name

    def flip(self, name: str) -> None:
        replace_symlink(self.project / ".venv", f"../releases/{name}/venv")

    def run(self, *words: str | Path, **env: str) -> Finished:
        return run(words, cwd=self.project, env={**self.env, **env}, timeout=30)

    @contextlib.contextmanager
    def running(self, way: Sequence[str]) -> Iterator[Any]:
        """Start the program and yield its answer; at the end of the block, end it and assert that it was silent."""
        words = [self.python if word == BASE else word for word in way]
        with started(words, cwd=self.project, env=self.env, stdin=subprocess.PIPE) as process:
            assert process.stdout
            assert select.select([process.stdout], [], [], 60)[0], "the program does not answer"
            if answer := process.stdout.readline():
                yield json.loads(answer)
            _, stderr = process.communicate(timeout=60)
            assert (process.returncode, stderr) == (0, "")


@pytest.fixture(scope="module", params=mostly_slow(find_interpreters(), RUNNING), ids=str)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Site:
    base = tmp_path_factory.mktemp("a né")
    (base / "project").mkdir()
    (base / "project" / "app.py").write_text(APP, "utf-8")
    site = Site(base / "project", request.param, clean_environment(base / "home", base / "uv-cache"))
    for version, name in enumerate("AB"):
        venv = site.release(name) / "venv"
        silent(site.run(uv_executable(), "venv", "-q", "--relocatable", "--no-project", "--python", site.python, venv))
        install_startup_module(venv)
        make_lease(venv.parent)
        modules = ("late/__init__.py", "nsp/x.py", "legacy/late.py", "older/late.py", "below/deep.py")
        metadata = {f"late-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: late\nVersion: {version}\n"}
        for file, text in (dict.fromkeys(modules, f"RELEASE = {name!r}\n") | FILES | metadata).items():
            path = find_site_packages(venv) / file
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
        (venv / "bin" / "app").chmod(0o755)
    return site


@pytest.fixture
def site(built: Site) -> Site:
    built.flip("A")
    return built


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_law_02_07_a_process_imports_from_its_release_and_holds_its_lease(site: Site, way: Sequence[str]) -> None:
    with site.running(way) as answer:
        assert answer["modules"] == dict.fromkeys(MODULES, "A")
        assert answer["pid"] in list_users(site.release("A"))
        assert (is_used(site.release("A")), is_used(site.release("B"))) == (True, False)
    eventually(lambda: not is_used(site.release("A")), "the end of the lease")


@pytest.mark.parametrize("mode", ["import lines alone", "3.15", "3.18"])
def test_law_02_36_a_process_is_pinned_where_start_up_files_run_after_all_paths(site: Site, mode: str) -> None:
    code = f"import runpy, site; site.MODE = {mode!r}; exec({LATE_SITE!r}, vars(site)); site.main(); "
    with site.running((PYTHON, "-S", "-c", code + "runpy.run_path('app.py', run_name='__main__')")) as answer:
        assert answer["modules"] == dict.fromkeys(MODULES, "A")
        assert answer["pid"] in list_users(site.release("A"))


def test_law_02_a_namespace_of_an_added_venv_is_pinned_if_no_later_path_is_added(site: Site) -> None:
    """A later path would let Python look for the namespace again, in the right place."""
    added = next((site.project / ".venv").glob("lib/*/site-packages"))
    (added / "zz.pth").rename(added / "zz.off")
    code = f"import app; app.site.addsitedir({str(added)!r}); app.flip(); import legacy.late as m; print(m.RELEASE)"
    finished = site.run(site.python, "-c", code)
    site.flip("A")
    (added / "zz.off").rename(added / "zz.pth")
    assert (finished.stdout, finished.stderr) == ("A\n", "")


OFD_SETLK = 37
SHARED, EXCLUSIVE = (struct.pack("hhqqi4x", kind, 0, 0, 0, 0) for kind in (fcntl.F_RDLCK, fcntl.F_WRLCK))
LOCKS: dict[str, Callable[[int], object]] = {
    "a reader's": lambda lease: fcntl.fcntl(lease, OFD_SETLK, SHARED),
    "of an earlier start-up module": lambda lease: fcntl.flock(lease, fcntl.LOCK_SH),
}


def test_law_07_no_reader_s_lock_hides_a_process(site: Site) -> None:
    with (site.release("A") / "lease").open() as lease:
        fcntl.flock(lease, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="Bad file descriptor"):
            fcntl.fcntl(lease, OFD_SETLK, EXCLUSIVE)
        with site.running((PYTHON, "app.py")) as answer:
            fcntl.flock(lease, fcntl.LOCK_UN)
            assert list_users(site.release("A")) == tuple(sorted([answer["pid"], os.getpid()]))
            assert not delete_unused_release(site.release("A"))


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
def test_law_07_a_lock_keeps_a_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: Callable[[int], object]
) -> None:
    """Also one that is taken right after prune has asked: the release is put back."""
    release = tmp_path / "release"
    release.mkdir()
    make_lease(release)
    with (release / "lease").open() as lease:
        lock(lease.fileno())
        assert (is_used(release), delete_unused_release(release)) == (True, False)
        monkeypatch.setattr(store, "is_used", lambda path: path != release and is_used(path))
        assert (delete_unused_release(release), list(tmp_path.iterdir())) == (False, [release])
    assert (delete_unused_release(release), list(tmp_path.iterdir())) == (True, [])


def test_law_02_uv_is_not_pinned(site: Site) -> None:
    python = site.project / PYTHON
    for name, version in ("A0", "B1", "A0"):
        site.flip(name)
        assert site.run(uv_executable(), "python", "find", python).stdout == f"{python}\n"
        listed = site.run(uv_executable(), "pip", "list", "-q", "--format=json", "--python", python)
        assert json.loads(listed.stdout) == [{"name": "late", "version": version}]


@pytest.mark.parametrize("make", LEASES.values(), ids=LEASES)
def test_law_07_09_a_copy_starts_with_any_lease(site: Site, tmp_path: Path, make: Callable[[Path], object]) -> None:
    shutil.copytree(site.release("A") / "venv", tmp_path / "venv", symlinks=True)
    make(tmp_path / "lease")
    finished = site.run(tmp_path / "venv" / "bin" / "python", "-c", "import late; print(late.RELEASE)")
    assert (finished.returncode, finished.stdout) == (0, "A\n"), str(finished)
    assert not finished.stderr or (tmp_path / "lease").exists()


def test_law_07_odd_arguments_keep_no_python_from_starting(site: Site) -> None:
    silent(site.run(PYTHON, "-c", "\nimport late", "", "\udcff", "-" * 100_000))


@pytest.mark.parametrize(("code", "is_recorded"), ENDS.items())
def test_law_24_the_first_process_records_its_end(site: Site, tmp_path: Path, code: str, is_recorded: bool) -> None:
    site.run(PYTHON, "-c", code, _RELEASER_TEST=str(tmp_path))
    assert os.path.lexists(tmp_path / "ended") == is_recorded


@pytest.mark.parametrize("code", ["{}", FORK + "{}", WORKER], ids=["itself", "forked child", "worker"])
def test_law_03_24_a_loaded_file_of_the_live_checkout_is_recorded(site: Site, tmp_path: Path, code: str) -> None:
    (tmp_path / "link").symlink_to(site.project)
    load = f"import sys; sys.path = [{str(tmp_path / 'link')!r}, *sys.path]; import app"
    site.run(PYTHON, "-c", code.format(load), _RELEASER_TEST=str(tmp_path), _RELEASER_LIVE=str(site.project))
    assert f"{tmp_path}/link/app.py\n" in (tmp_path / "loaded").read_text("utf-8")


def test_law_03_24_nothing_is_recorded_if_a_test_only_runs_in_the_live_checkout(site: Site, tmp_path: Path) -> None:
    site.run(PYTHON, "-c", "import late", _RELEASER_TEST=str(tmp_path), _RELEASER_LIVE=str(site.project))
    assert not (tmp_path / "loaded").exists(), (tmp_path / "loaded").read_text("utf-8")
