"""Writes the directory that releaser is installed into, and its launcher."""

from __future__ import annotations

import contextlib
import glob
import os
import pkgutil
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

from releaser.launcher import build
from releaser.launcher.build import BuildError

#: The minor versions of Python that releaser has wheels for.
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# Programs in the directory of an installation, by their files here. The launcher comes last: it needs the others.
_PROGRAMS = {"build.py": "build.py", "start.py": "start.py", "build.sh": "build", "launcher.sh": "bin/releaser"}
_GLIBC_STEPS = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_BLOCK = re.compile(r"(?ms)^\S.*?(?=^\S|\Z)")


def install(home: str, wheels: Iterable[str], requirements: str = "") -> None:
    """Install releaser into `home`, or another version over it, for the Python that runs this. Needs no network.

    `wheels` are files, which `requirements` pins by hash; if that is empty, it is made from the wheels. Until the new
    environment runs, everything stays as it was. After a kill, install again. A plain venv in `home` that has releaser
    becomes such an installation. Raises BuildError and OSError.
    """
    with _prepared(home) as place:
        _install(place, [*wheels], requirements)


def install_newest(home: str, wheels: Sequence[str]) -> bool:
    """Install wheels as `install` does, but of each package the newest version of these and of those in `home`.

    Returns False if that is installed already. Raises BuildError and OSError.
    """
    with contextlib.suppress(FileNotFoundError):  # another process is installing, and deletes wheels
        if _is_complete(home, newest_wheels(home, wheels)):
            return False
    with _prepared(home) as place:
        newest = newest_wheels(place, wheels)  # another process may have installed newer ones
        if _is_complete(place, newest):
            return False
        _install(place, newest, "")
    return True


@contextlib.contextmanager
def _prepared(home: str) -> Iterator[str]:
    """Yield the path of a locked directory that can be installed into. Raises BuildError and OSError."""
    home = os.path.abspath(home)
    _refuse_foreign(home)
    umask = os.umask(0o022)
    try:
        os.makedirs(os.path.join(home, "bin"), exist_ok=True)
        os.makedirs(os.path.join(home, "wheels"), exist_ok=True)
        with build.locked(home):
            yield home
    finally:
        os.umask(umask)


def link_program(home: str, link: str) -> str:
    """Make `link` lead to the launcher in `home`, and return a sentence about it; any other file there stays.

    Raises OSError.
    """
    program = os.path.join(os.path.abspath(home), "bin", "releaser")
    if os.path.realpath(link) == os.path.realpath(program):
        return f"{link} is {program}"
    if os.path.lexists(link) and not _is_ours(link):
        return f"{link} exists and was not replaced; releaser is {program}"
    os.makedirs(os.path.dirname(os.path.abspath(link)), exist_ok=True)
    fresh = f"{link}.{os.getpid()}.new"
    os.symlink(program, fresh)
    os.replace(fresh, link)
    return f"{link} is {program}"


def default_link() -> str:
    """Return the path of the command for this user: for all users if this is root."""
    return "/usr/local/bin/releaser" if os.geteuid() == 0 else os.path.expanduser("~/.local/bin/releaser")


def program_files(home: str, pythons: Sequence[str], python: str, *, tree: str = "") -> dict[str, str]:
    """Return the texts of the programs in `home`, by path, of this releaser or of the one in the checkout `tree`.

    `python` is tried first when the environment is built.
    """
    values = {"HOME": home, "PYTHONS": " ".join(pythons), "PYTHON": python}
    texts = dict[str, str]()
    for file, path in _PROGRAMS.items():
        if tree:
            with open(os.path.join(tree, "releaser", "launcher", file), encoding="utf-8") as stream:
                text = stream.read()
        else:
            text = (pkgutil.get_data(__package__, file) or b"").decode()
        if file.endswith(".sh"):
            text = re.sub(r"@([A-Z]+)@", lambda found: shlex.quote(values[found[1]]), text)
        texts[path] = text
    return texts


def supported(wheels: Iterable[str]) -> list[str]:
    """Return the minor versions of Python, such as `3.11`, for which there is a wheel of every package."""
    compiled = dict[str, set[str]]()
    for wheel in wheels:
        name, _, *tags = os.path.basename(wheel).removesuffix(".whl").split("-")
        minors = {f"3.{minor}" for minor in re.findall(r"cp3(\d+)", tags[-3])}
        if minors:
            is_stable = tags[-2] == "abi3"
            found = {
                one for one in PYTHONS if one in minors or (is_stable and _number(one) >= min(map(_number, minors)))
            }
            compiled.setdefault(name, set()).update(found)
    return [python for python in PYTHONS if all(python in minors for minors in compiled.values())]


def kept_wheels() -> list[str]:
    """Return the wheels that this releaser was installed from, for all Pythons; empty if no launcher started it.

    Raises OSError.
    """
    return build.installed_wheels(os.path.dirname(sys.prefix))


def newest_wheels(home: str, wheels: Sequence[str]) -> list[str]:
    """Return the wheels of the newest version of each package, among these and those that are installed in `home`.

    So another site's bundle removes no extra, and no older one replaces a releaser that has written newer files.
    Raises OSError.
    """
    packages = dict[str, dict[tuple[int, ...], list[str]]]()
    for wheel in [*wheels, *build.installed_wheels(home)]:
        name, version = os.path.basename(wheel).split("-")[:2]
        numbers = tuple(map(int, re.findall(r"\d+", version)))
        packages.setdefault(name, {}).setdefault(numbers, []).append(wheel)
    found = [wheel for versions in packages.values() for wheel in versions[max(versions)]]
    return [*{os.path.basename(wheel): wheel for wheel in reversed(found)}.values()][::-1]


def _number(python: str) -> int:
    return int(python.partition(".")[2])


def pin_wheels(wheels: Iterable[str]) -> str:
    """Return a requirements file that pins wheels by hash, with one entry for all wheels of a package."""
    pinned = dict[str, list[str]]()
    for wheel in sorted(wheels):
        name, version = os.path.basename(wheel).split("-")[:2]
        pinned.setdefault(f"{name}=={version}", []).append(f" \\\n    --hash=sha256:{build.hash_of(wheel)}")
    return "".join(f"{pin}{''.join(hashes)}\n" for pin, hashes in pinned.items())


def download(pip: Sequence[str], pins: str, place: str, pythons: Sequence[str], platforms: Sequence[str]) -> None:
    """Download pinned wheels for these Pythons; a package that is compiled for one Python, once for each of them.

    Raises BuildError.
    """
    os.makedirs(place, exist_ok=True)
    words = [*pip, "download", "-qq", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    words += ["--require-hashes", "--dest", place, "--implementation", "cp"]
    words += [word for one in platforms for word in ("--platform", one)]

    def fetch(python: str, wanted: str) -> None:
        file = os.path.join(place, f"{python}.txt")
        with open(file, "w", encoding="utf-8") as stream:
            stream.write(wanted)
        run([*words, "--python-version", python, "--requirement", file])
        os.unlink(file)

    fetch(pythons[0], pins)
    compiled = {name.partition("-")[0] for name in os.listdir(place) if "-cp" in name and "-abi3-" not in name}
    blocks = (one for one in _BLOCK.findall(pins) if re.sub(r"[-_.]+", "_", one.partition("==")[0]) in compiled)
    others = "".join(blocks)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda python: fetch(python, others), pythons[1:]))


def private_part(path: str) -> str:
    """Return the first directory of a path that root alone may enter; empty without one, or if this is not root."""
    parts = path.split(os.sep)
    places = (os.sep.join(parts[:number]) for number in range(2, len(parts)))
    return next((one for one in places if os.geteuid() == 0 and not os.stat(one).st_mode & stat.S_IXOTH), "")


def platforms_of(machine: str, glibc: int) -> list[str]:
    """Return the platforms whose wheels run on a machine with glibc 2.`glibc`, the newest first (PEP 600)."""
    found = []
    for minor in range(glibc, 4, -1):
        found.append(f"manylinux_2_{minor}_{machine}")
        if minor in _GLIBC_STEPS:
            found.append(f"{_GLIBC_STEPS[minor]}_{machine}")
    return found


def run(words: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
    """Run a program; its errors appear on stderr. Raises BuildError."""
    done = subprocess.run(words, env=environ, check=False, stdout=sys.stderr, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise BuildError(f"`{shlex.join(words[:4])} ...` failed", "See its message above.")


def _install(home: str, wheels: Sequence[str], requirements: str) -> None:
    """Install into a locked directory.

    All is made in `new/`, which the lock deletes, so that an error or a kill leaves nothing behind. The requirements
    come last: as long as they are the earlier ones, a bundle installs itself again.
    """
    new = os.path.join(home, "new")
    made, place = os.path.join(new, build.REQUIREMENTS), os.path.join(new, "wheels")
    os.makedirs(place)
    for wheel in wheels:
        target = os.path.join(place, os.path.basename(wheel))
        shutil.copyfile(wheel, target)
        os.chmod(target, 0o644)
    with open(made, "w", encoding="utf-8") as file:
        file.write(requirements or pin_wheels(wheels))
    programs = program_files(home, supported(wheels), _this_python())
    for path, text in programs.items():
        fresh = os.path.join(new, os.path.basename(path))
        with open(fresh, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(fresh, 0o644 if path.endswith(".py") else 0o755)
    build.make_environment(home, made, place)
    for name in os.listdir(place):
        os.replace(os.path.join(place, name), os.path.join(home, "wheels", name))
    for path in programs:
        os.replace(os.path.join(new, os.path.basename(path)), os.path.join(home, path))
        if path == "build":  # the launcher needs the environment
            build.put_in_place(home)
    os.replace(made, os.path.join(home, build.REQUIREMENTS))
    build.clean(home)


def _is_complete(home: str, wheels: Sequence[str]) -> bool:
    """True if exactly these wheels are installed, to the last step; the launcher builds a lost environment again."""
    there = os.path.join(home, "wheels")
    if not os.path.exists(os.path.join(home, "bin", "releaser")) or not os.path.lexists(os.path.join(home, "share")):
        return False
    same = {*map(build.hash_of, wheels)} == {*map(build.hash_of, build.installed_wheels(home))}
    return same and len(os.listdir(there)) == len({*map(os.path.basename, wheels)})


def _this_python() -> str:
    """Return a name of this Python that may lead to another version later, such as /usr/bin/python3."""
    base = os.path.dirname(os.path.realpath(sys.executable))
    return os.path.join(base, "python3")


def _refuse_foreign(home: str) -> None:
    """Refuse a directory with other things, as the installation deletes files. Raises BuildError and OSError."""
    there = os.listdir(home) if os.path.exists(home) else []
    advice = "Choose a directory that does not exist."
    if _has_launcher(home):
        return
    if "pyvenv.cfg" in there and os.path.exists(os.path.join(home, "bin", "releaser")):
        if others := _others_in_venv(home):
            raise BuildError(f"{home} is a venv with other packages, such as {', '.join(others[:3])}", advice)
        return
    is_killed = "lock" in there or not any(
        os.listdir(os.path.join(home, name)) for name in {"bin", "wheels"} & {*there}
    )
    if set(there) - {"bin", "wheels", "lock", "new", "requirements.new"} or not is_killed:
        raise BuildError(f"{home} has other files", advice)


def _has_launcher(home: str) -> bool:
    """True if `build.py` is that of an installation, not that of a project."""
    try:
        with open(os.path.join(home, "build.py"), encoding="utf-8", errors="replace") as file:
            return "environment of releaser" in file.readline()
    except FileNotFoundError:
        return False


def _others_in_venv(home: str) -> list[str]:
    """Return the packages and programs in a venv that neither releaser nor the venv itself needs."""
    places = glob.glob(os.path.join(glob.escape(home), "lib", "python*", "site-packages"))
    found = {_canonical(one.metadata["Name"]): one for one in metadata.distributions(path=places)}
    needed, left = set[str](), ["venv-releaser", "pip", "setuptools", "wheel"]
    while left:
        if (name := left.pop()) in found and name not in needed:
            needed.add(name)
            left += [_canonical(re.split(r"[^\w.-]", one, maxsplit=1)[0]) for one in found[name].requires or ()]
    programs = {
        os.path.basename(file) for one in found.values() for file in one.files or () if file.parts[-2:-1] == ("bin",)
    }
    unknown = set(os.listdir(os.path.join(home, "bin"))) - programs - {"releaser"}
    return [
        *sorted(set(found) - needed),
        *(f"bin/{one}" for one in sorted(unknown) if not re.match(r"python|pip|activate|Activate\.ps1", one)),
    ]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_ours(link: str) -> bool:
    """True if a link leads to a program of releaser, or nowhere."""
    if not os.path.islink(link):
        return False
    return not os.path.exists(link) or os.path.basename(os.path.realpath(link)) == "releaser"
