"""An installation survives the loss of its Python, an upgrade, a crash, and two starts at once."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from releaser.launcher import build, install
from releaser.launcher.__main__ import EXTRAS, _installed_extras, _platforms
from releaser.launcher.build import BuildError
from tests.e2e.scenes import eventually
from tests.support import snapshots
from tests.support.commands import Finished, run, uv_executable
from tests.support.pythons import Installation, RealPython, need_python
from tests.support.wheels import build_wheel

REPOSITORY = Path(__file__).resolve().parents[2]
_MAIN = """\
import sys
from releaser import __version__

def main():
    print(__version__, "%d.%d" % sys.version_info[:2], *sys.argv)
"""


@pytest.fixture(scope="module")
def uv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a wheel with a program that starts the real uv, which is large."""
    directory = tmp_path_factory.mktemp("uv")
    wheel = build_wheel(directory, "uv", "1.0", modules={})
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("uv-1.0.data/scripts/uv", f'#!/bin/sh\nexec "{uv_executable()}" "$@"\n')
    return wheel


@pytest.fixture
def pythons() -> tuple[RealPython, RealPython]:
    return need_python("3.11"), need_python("3.13")


class Place:
    """A tiny releaser, installed by `python`; its compiled requirement has wheels for some Pythons."""

    def __init__(self, top: Path, uv: Path, python: RealPython) -> None:
        self.top, self.uv = top, uv
        self.home = top / "opt" / "rel easer"
        self.python = Installation(top / "python", python)
        self.env = {"PATH": f"{self.python.prefix}/bin:/usr/bin:/bin", "HOME": str(top)}

    def wheels(self, version: str, minors: Iterable[str]) -> list[str]:
        place = self.top / f"wheels-{version}"
        place.mkdir(exist_ok=True)
        modules = {
            "releaser/__init__.py": f'__version__ = "{version}"\n',
            "releaser/__main__.py": _MAIN,
            "releaser/commands.py": "import compiled\n",
        }
        scripts = {"releaser": "releaser.__main__:main"}
        found = [build_wheel(place, "venv-releaser", version, modules=modules, scripts=scripts, requires=["compiled"])]
        for minor in minors:
            tag = "cp" + minor.replace(".", "")
            pure = build_wheel(place, "compiled", version)
            found.append(pure.rename(str(pure).replace("py3-none-any", f"{tag}-{tag}-linux_{os.uname().machine}")))
        return [str(self.uv), *map(str, found)]

    def install(self, version: str = "1.0", minors: Iterable[str] = ("3.11", "3.13")) -> Finished:
        wheels = self.wheels(version, minors)
        code = "import sys; from releaser.launcher.install import install; install(sys.argv[1], sys.argv[2:])"
        words = [str(self.python.executable), "-B", "-c", code, str(self.home), *wheels]
        return run(words, cwd=REPOSITORY, env={**self.env, "PYTHONPATH": str(REPOSITORY)})

    def exchange(self, python: RealPython) -> None:
        """Put another minor version in the place of the Python, as an upgrade of the operating system does."""
        (self.python.prefix / "bin").rename(self.top / "earlier bin")
        (self.python.prefix / "lib").rename(self.top / "earlier lib")
        for name in ("bin", "lib"):
            (self.python.prefix / name).mkdir()
        self.python.upgrade(python)

    def start(self, *words: str, check: int | None = 0, env: dict[str, str] | None = None) -> Finished:
        return run([self.home / "bin" / "releaser", *words], cwd=self.top, env={**self.env, **(env or {})}, check=check)


@pytest.fixture
def place(tmp_path: Path, uv: Path, pythons: tuple[RealPython, RealPython]) -> Place:
    made = Place(tmp_path, uv, pythons[0])
    assert made.install().returncode == 0
    return made


def shown(place: Place, version: str, minor: str, *words: str) -> str:
    return " ".join([version, minor, f"{place.home}/bin/releaser", *words]) + "\n"


def test_the_launcher_starts_releaser_with_its_arguments(place: Place) -> None:
    done = place.start("update", "a b")
    assert (done.stdout, done.stderr) == (shown(place, "1.0", "3.11", "update", "a b"), "")


def test_variables_for_the_python_of_a_site_do_not_concern_it(place: Place) -> None:
    """A crontab may have them: with packages for another Python, or with modules of the same names."""
    other = place.top / "site-packages"
    (other / "releaser").mkdir(parents=True)
    for name in ("releaser/__init__.py", "releaser.py", "compiled.py"):
        (other / name).write_text("raise ImportError\n")
    for env in ({"PYTHONPATH": str(other)}, {"PYTHONHOME": "/nonexistent"}, {"PYTHONSAFEPATH": "1"}):
        done = place.start("update", env=env)
        assert (done.stdout, done.stderr) == (shown(place, "1.0", "3.11", "update"), "")


def exchanged(place: Place, new: RealPython) -> None:
    place.exchange(new)


def gone(place: Place, new: RealPython) -> None:
    place.python.delete()
    place.env["PATH"] = f"{new.executable.parent}:/usr/bin:/bin"


def other_version_at_its_path(place: Place, new: RealPython) -> None:
    python = place.home / "venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(new.executable)
    shutil.rmtree(place.python.prefix / "bin")
    place.env["PATH"] = f"{new.executable.parent}:/usr/bin:/bin"


def partly_removed(place: Place, new: RealPython) -> None:
    """As in the middle of an upgrade."""
    library = place.python.prefix / "lib" / "python3.11"
    real = library.resolve()
    library.unlink()
    library.mkdir()
    for path in real.iterdir():
        if path.name not in ("asyncio", "ctypes", "zipfile.py"):
            (library / path.name).symlink_to(path)
    place.env["PATH"] = f"{new.executable.parent}:/usr/bin:/bin"


@pytest.mark.parametrize("lose", [exchanged, gone, other_version_at_its_path, partly_removed])
def test_releaser_survives_the_loss_of_its_python(
    place: Place, pythons: tuple[RealPython, RealPython], lose: object
) -> None:
    assert callable(lose)
    lose(place, pythons[1])
    done = place.start("update")
    said = f"releaser: its environment was rebuilt for Python {pythons[1].version}.\n"
    assert (done.stdout, done.stderr) == (shown(place, "1.0", "3.13", "update"), said)
    assert place.start("update").stderr == ""
    by_crontab = run([place.home / "venv" / "bin" / "releaser"], cwd=place.top, env=place.env, check=0)
    assert by_crontab.stdout == shown(place, "1.0", "3.13")


def without_a_python(place: Place) -> None:
    (place.home / "build").write_text((place.home / "build").read_text().replace("'3.11 3.13'", "3.14"))
    place.env["PATH"] = "/nonexistent"


def without_uv(place: Place) -> None:
    next((place.home / "wheels").glob("uv-*")).unlink()


def with_an_exchanged_wheel(place: Place) -> None:
    wheel = next((place.home / "wheels").glob("compiled-*cp313-linux*"))
    build_wheel(place.top, "compiled", "1.0", modules={"compiled.py": "print()"}).replace(wheel)


NO_PYTHON = (
    "releaser: it needs one of Python 3.14, and none was found. Nothing was changed.\n"
    "Install one, then run the same command again. For a newer Python, install a newer releaser.\n"
)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_a_python, re.escape(NO_PYTHON)),
        (
            without_uv,
            r"releaser: its environment cannot be built: the wheel of uv in .*/wheels is missing or damaged\."
            r" Nothing was changed\.\nInstall releaser again, as its guide says\.\n",
        ),
        (
            with_an_exchanged_wheel,
            r"releaser: its environment cannot be built: uv reports: (?s:.*)[Hh]ash(?s:.*)"
            r" Nothing was changed\.\nInstall releaser again, as its guide says\.\n",
        ),
    ],
)
def test_a_build_that_fails_says_which_command_to_run(
    place: Place, pythons: tuple[RealPython, RealPython], spoil: object, said: str
) -> None:
    assert callable(spoil)
    place.exchange(pythons[1])
    spoil(place)
    before = snapshots.tree(place.home)
    done = place.start("update", check=3)
    assert done.stdout == ""
    assert re.fullmatch(said, done.stderr)
    assert snapshots.tree(place.home) == before


@pytest.fixture
def open_place(uv: Path, pythons: tuple[RealPython, RealPython]) -> Iterator[Place]:
    """An installation that every user may start."""
    top = Path(tempfile.mkdtemp(prefix="launcher-"))
    try:
        top.chmod(0o755)
        made = Place(top, uv, pythons[0])
        assert made.install().returncode == 0
        yield made
    finally:
        shutil.rmtree(top)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_gets_the_command_for_root(open_place: Place, pythons: tuple[RealPython, RealPython]) -> None:
    place = open_place
    place.exchange(pythons[1])
    become = ("setpriv", "--reuid=65534", "--clear-groups")
    done = run([*become, place.home / "bin" / "releaser"], cwd=place.top, env=place.env, check=3)
    assert done.stderr.splitlines() == [
        "releaser: its Python is gone, so its environment must be rebuilt, but nobody may not"
        f" write to {place.home}. Nothing was changed.",
        f"Run `sudo '{place.home}/build'`, then the same command again.",
    ]
    assert "rebuilt" in run([place.home / "build"], cwd=place.top, env=place.env, check=0).stderr
    assert place.start().stdout == shown(place, "1.0", "3.13")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
@pytest.mark.parametrize(
    ("options", "said", "advice"),
    [
        ("remount,ro,bind", "the file system of {home} is read-only", r"Make it writable .*, and run `sudo .*`\."),
        ("size=1m", "No space left on device", r"Free some space, then .*|Correct that, run .*"),
    ],
)
def test_root_gets_the_cause_on_a_file_system_that_takes_no_files(
    place: Place, pythons: tuple[RealPython, RealPython], options: str, said: str, advice: str
) -> None:
    place.exchange(pythons[1])
    top = place.home.parent
    mount = (
        'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 77'
        if "ro" in options
        else 'cp -a "$1" "$1.kept" && mount -t tmpfs -o size=1m tmpfs "$1" && cp -a "$1.kept/." "$1" || exit 77;'
        ' dd if=/dev/zero of="$1/full" bs=4k status=none 2>/dev/null || true'
    )
    words = ["unshare", "--mount", "sh", "-c", f'{mount}; "$2/bin/releaser" update', "sh", str(top), str(place.home)]
    done = run(words, cwd=place.top, env=place.env)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"this machine lets root mount nothing: {done.stderr}")
    assert (done.returncode, done.stdout) == (3, "")
    assert said.format(home=place.home) in done.stderr
    assert re.fullmatch(advice, done.stderr.splitlines()[-1])


def test_two_starts_at_once_build_one_environment(place: Place, pythons: tuple[RealPython, RealPython]) -> None:
    place.exchange(pythons[1])
    with ThreadPoolExecutor(3) as pool:
        ended = list(pool.map(lambda _: place.start("update"), range(3)))
    assert {one.stdout for one in ended} == {shown(place, "1.0", "3.13", "update")}
    assert "".join(one.stderr for one in ended).count("rebuilt") == 1


# An installation that is killed before it renames a file for the so-many-th time.
_KILLED = """\
import os, signal, sys
from releaser.launcher import build, install
left = int(sys.argv[1])

def counted(function):
    def call(*words, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*words, **options)
    return call

for name in ("replace", "rename"):
    setattr(os, name, counted(getattr(os, name)))
install.build.put_in_place = counted(install.build.put_in_place)
install.install(sys.argv[2], sys.argv[3:])
print("installed")
"""


@pytest.mark.slow
def test_an_upgrade_that_is_killed_leaves_one_of_the_two_and_is_repeated(place: Place) -> None:
    wheels = place.wheels("2.0", ["3.11", "3.13"])
    states, kept = list[str](), place.top / "kept"
    shutil.copytree(place.home, kept, symlinks=True)
    for number in itertools.count(1):
        words = [str(place.python.executable), "-B", "-c", _KILLED, str(number), str(place.home), *wheels]
        done = run(words, cwd=REPOSITORY, env={**place.env, "PYTHONPATH": str(REPOSITORY)})
        states.append(place.start().stdout.split()[0])
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        assert "==2.0" not in (place.home / "requirements.txt").read_text()  # so a bundle installs itself again
        if states[-1] == "2.0":
            shutil.rmtree(place.home)
            shutil.copytree(kept, place.home, symlinks=True)
    assert (states[0], states[-1]) == ("1.0", "2.0")
    assert len(states) > 10
    names = {"bin", "build", "build.py", "lock", "requirements.txt", "share", "start.py", "venv", "wheels"}
    assert set(os.listdir(place.home)) == names
    assert {name.split("-")[1] for name in os.listdir(place.home / "wheels") if not name.startswith("uv-")} == {"2.0"}


def test_a_venv_becomes_an_installation(tmp_path: Path, uv: Path, pythons: tuple[RealPython, RealPython]) -> None:
    place = Place(tmp_path, uv, pythons[0])
    run([place.python.executable, "-m", "venv", "--without-pip", place.home], cwd=tmp_path, env=place.env, check=0)
    (place.home / "bin" / "releaser").write_text("#!/bin/sh\necho earlier\n")
    assert place.install().returncode == 0
    assert place.start().stdout == shown(place, "1.0", "3.11")
    assert os.listdir(place.home / "bin") == ["releaser"]
    assert not (place.home / "pyvenv.cfg").exists()


PACKAGES = "lib/python3.11/site-packages"
VENV = {"pyvenv.cfg": "", "bin/releaser": "", "bin/python3": "", "bin/activate.fish": "", "bin/pip3.11": ""} | {
    f"{PACKAGES}/{name}.dist-info/METADATA": f"Name: {name.partition('-')[0]}\nVersion: 1\n{requires}"
    for name, requires in {
        "venv_releaser-1": 'Requires-Dist: Typing.Extensions>=4; extra == "s3"\n',
        "typing_extensions-1": "",
        "pip-1": "",
    }.items()
}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"manage.py": ""}, "has other files"),
        ({"build.py": '"""Builds our wheels."""', "wheels/shop-1-py3-none-any.whl": ""}, "has other files"),
        ({"bin/backup": "", "wheels/shop-1-py3-none-any.whl": ""}, "has other files"),
        ({**VENV, "bin/backup": ""}, "is a venv with other packages, such as bin/backup"),
        (
            {**VENV, f"{PACKAGES}/django-1.dist-info/METADATA": "Name: Django\nVersion: 1\n"},
            "is a venv with other packages, such as django",
        ),
    ],
)
def test_a_directory_with_other_files_is_refused(tmp_path: Path, files: dict[str, str], said: str) -> None:
    write(tmp_path / "shop", files)
    before = snapshots.tree(tmp_path)
    with pytest.raises(BuildError, match=f"{said}$"):
        install.install(str(tmp_path / "shop"), [])
    assert snapshots.tree(tmp_path) == before


@pytest.mark.parametrize("files", [{}, {"lock": "", "wheels/click-1-py3-none-any.whl": ""}, VENV])
def test_what_an_installation_may_replace_is_not_refused(tmp_path: Path, files: dict[str, str]) -> None:
    write(tmp_path / "releaser", files)
    with pytest.raises(BuildError, match=r"the wheel of uv in .* is missing"):
        install.install(str(tmp_path / "releaser"), [])


def write(top: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)


def test_an_installation_that_fails_changes_nothing(place: Place) -> None:
    before = snapshots.tree(place.home)
    done = place.install("2.0", ["3.13"])  # without a wheel for this Python
    assert "compiled" in done.stderr
    assert snapshots.tree(place.home) == before
    assert place.start().stdout == shown(place, "1.0", "3.11")


def test_a_wheel_that_was_built_again_replaces_none_if_the_installation_fails(place: Place) -> None:
    before = snapshots.tree(place.home)
    wheels = place.wheels("1.0", [])
    with zipfile.ZipFile(wheels[-1], "a") as archive:
        archive.comment = b"built again"
    with pytest.raises(BuildError, match="compiled"):
        install.install(str(place.home), wheels)
    assert snapshots.tree(place.home) == before


def test_a_link_never_replaces_another_file(place: Place, tmp_path: Path) -> None:
    program = f"{place.home}/bin/releaser"
    links = tmp_path / "links"
    links.mkdir()
    (links / "script").write_text("mine")
    (links / "other").symlink_to("/bin/true")
    (links / "dangling").symlink_to(tmp_path / "earlier" / "bin" / "releaser")
    for name in ("script", "other"):
        assert install.link_program(str(place.home), str(links / name)).startswith(
            f"{links / name} exists and was not replaced"
        )
    assert ((links / "script").read_text(), (links / "other").readlink()) == ("mine", Path("/bin/true"))
    for name in ("new", "dangling"):
        assert install.link_program(str(place.home), str(links / name)) == f"{links / name} is {program}"
        assert (links / name).readlink() == Path(program)


@pytest.mark.parametrize(
    ("wheels", "pythons"),
    [
        (["a-1-py3-none-any.whl"], ["3.11", "3.12", "3.13", "3.14"]),
        (["a-1-cp311-cp311-linux_x86_64.whl", "a-1-cp313-cp313-linux_x86_64.whl"], ["3.11", "3.13"]),
        (["a-1-cp312-abi3-linux_x86_64.whl", "b-1-cp311-cp311-linux_x86_64.whl"], []),
        (["a-1-cp38-abi3-linux_x86_64.whl", "b-1-cp314-cp314-linux_x86_64.whl"], ["3.14"]),
        (["a-1-1-cp311.cp312-none-linux_x86_64.whl"], ["3.11", "3.12"]),
    ],
)
def test_the_pythons_of_a_set_of_wheels_are_known(wheels: list[str], pythons: list[str]) -> None:
    assert install.supported(wheels) == pythons


@pytest.mark.skipif(os.geteuid() != 0, reason="another user may enter what is private")
def test_of_two_bundles_the_newest_version_of_each_package_is_installed(place: Place) -> None:
    """Two sites of a user share an installation: one needs an extra, and the other has an older bundle."""
    here = "{}.{}".format(*sys.version_info)  # the Python of `install.install`
    pythons = sorted({"3.11", "3.13", here})
    assert place.install("1.10").returncode == 0
    extra = str(build_wheel(place.top, "boto3", "1.0"))
    home, older, newer = str(place.home), place.wheels("1.9", ["3.11"]), place.wheels("1.11", pythons)
    install.install(home, [*place.wheels("1.10", pythons), extra])
    kept = {"venv_releaser-1.10", "compiled-1.10", "uv-1.0", "boto3-1.0"}

    def names(wheels: list[str]) -> set[str]:
        return {"-".join(Path(one).name.split("-")[:2]) for one in install.newest_wheels(home, wheels)}

    assert names(older) == kept
    assert len(install.newest_wheels(home, older)) == 3 + len(pythons)
    assert names(newer) == {"venv_releaser-1.11", "compiled-1.11", "uv-1.0", "boto3-1.0"}
    assert install.newest_wheels(str(place.top / "empty"), older) == older
    assert install.install_newest(home, newer)
    assert not install.install_newest(home, newer)
    assert place.start("list").stdout.startswith(f"1.11 {here}")
    assert os.path.exists(place.home / "wheels" / Path(extra).name)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user may enter what is private")
def test_a_bundle_that_waits_for_another_one_replaces_nothing_newer(place: Place) -> None:
    here = "{}.{}".format(*sys.version_info)
    pythons = sorted({"3.11", "3.13", here})
    extra = str(build_wheel(place.top, "boto3", "1.0"))
    home, older, newer = str(place.home), [*place.wheels("0.9", pythons), extra], place.wheels("1.11", pythons)
    code = "import sys; from releaser.launcher.install import install_newest as go; go(sys.argv[1], sys.argv[2:])"
    words = [sys.executable, "-B", "-c", code, home, *older]
    with build.locked(home):
        process = subprocess.Popen(words, cwd=REPOSITORY, env={**place.env, "PYTHONPATH": str(REPOSITORY)})
        waits = f":{(place.home / 'lock').stat().st_ino} "
        eventually(
            lambda: any("->" in line and waits in line for line in Path("/proc/locks").read_text().splitlines()),
            "the other one waits",
        )
        install._install(home, newer, "")
    assert process.wait(timeout=100) == 0
    assert place.start("list").stdout.startswith(f"1.11 {here}")
    assert os.path.exists(place.home / "wheels" / Path(extra).name)


def test_a_build_finishes_what_a_kill_kept_an_installation_from(place: Place) -> None:
    """The last steps of an installation delete the wheels of the earlier version, and make a link."""
    kept = sorted(os.listdir(place.home / "wheels"))
    (place.home / "wheels" / "venv_releaser-0.9-py3-none-any.whl").write_bytes(b"of the earlier version")
    (place.home / "share").unlink()
    run([place.home / "build"], cwd=place.top, env=place.env, check=0)
    assert (sorted(os.listdir(place.home / "wheels")), (place.home / "share").is_symlink()) == (kept, True)
    (place.home / "share").unlink()
    pythons = sorted({"3.11", "3.13", "{}.{}".format(*sys.version_info)})
    assert install.install_newest(str(place.home), place.wheels("1.0", pythons))
    assert (place.home / "share").is_symlink()


def test_it_finds_the_directory_that_root_alone_may_enter(open_place: Place) -> None:
    private = open_place.top / "root" / "pythons"
    private.mkdir(parents=True)
    private.chmod(0o700)
    assert install.private_part(f"{private}/3.13/bin/python3") == str(private)
    private.chmod(0o711)
    (private / "3.13" / "bin").mkdir(parents=True)
    assert install.private_part(f"{private}/3.13/bin/python3") == ""


@pytest.mark.parametrize(
    ("pin", "extras"),
    [("venv-releaser==1", set()), ("click==1\nvenv-releaser[notify,s3,gone]==1 --hash=sha256:0", {"notify", "s3"})],
)
def test_an_upgrade_keeps_the_extras(tmp_path: Path, pin: str, extras: set[str]) -> None:
    assert _installed_extras(str(tmp_path)) == set()
    (tmp_path / "requirements.txt").write_text(f"{pin}\n")
    assert _installed_extras(str(tmp_path)) == extras


def test_without_glibc_it_names_the_commands_for_a_plain_venv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "confstr", lambda _: None)
    with pytest.raises(BuildError) as caught:
        _platforms("/opt/releaser")
    assert "`python3 -m venv /opt/releaser && " in caught.value.advice


def test_it_has_wheels_for_each_python_and_extra_of_the_project() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [one.rpartition(" ")[2] for one in project["classifiers"] if "Python :: 3." in one]
    assert list(install.PYTHONS) == named
    assert list(EXTRAS) == sorted(project["optional-dependencies"])
