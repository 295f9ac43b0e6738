"""The Debian package of releaser: its pinned wheels, and the scripts that build its environment from them offline."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SCRIPTS = Path(__file__).resolve().parent / "debian"
UNIT = "releaser/tools/releaser@.service"
HOME = "opt/venv-releaser"
_MAINTAINER_SCRIPTS = ("postinst", "prerm")
_PROGRAMS = {"build": f"{HOME}/build", "releaser": "usr/bin/releaser"}
UNITS = "usr/lib/systemd/system"
# Where Debian's programs look for what a wheel has in share/.
_MOVED = {"zsh/site-functions": "zsh/vendor-completions"}
# How pip calls the machine's architecture, by Debian's name for it.
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "ppc64el": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}
_GLIBC = ("manylinux_2_17", "manylinux2014")
# The unit that `releaser schedule systemd` fills in for one site. A template does not know which user the instance
# belongs to, nor the directories around it: releaser becomes the owner of the project by itself, for which it needs
# these capabilities, and the operating system alone is read-only.
_CAPABILITIES = "CAP_SETUID CAP_SETGID CAP_DAC_READ_SEARCH CAP_KILL CAP_CHOWN"
_CHANGED = {
    "Description": "Update the Python packages of %f",
    "User": None,
    "ExecStart": "/usr/bin/releaser update --project %f",
    "ProtectSystem": "full",
    "ProtectHome": None,
    "# What it writes": None,
    "ReadWritePaths": None,
    "CapabilityBoundingSet": _CAPABILITIES,
}


def make_package(tree: Path, wheel: Path, dist: Path, seconds: str) -> Path:
    """Write the package for the architecture of this machine to `dist`, from a checkout and its wheel.

    All files get the time `seconds`, so that the same checkout gives the same bytes. The pinned wheels are downloaded.
    """
    number = wheel.name.split("-")[1]
    version = re.sub(r"(?<=\d)\.?(a|b|rc|dev)(?=\d)", r"~\1", number)
    architecture = _ask("dpkg", "--print-architecture")
    file = dist / f"venv-releaser_{version}_{architecture}.deb"
    with tempfile.TemporaryDirectory(prefix="releaser-deb-") as place:
        root = Path(place) / "root"
        pythons = supported_pythons(tree)
        pins = (tree / "constraints.txt").read_text(encoding="utf-8")
        _download(pins, root / HOME / "wheels", pythons, _MACHINES[architecture])
        shutil.copy(wheel, root / HOME / "wheels")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        _write(root / HOME / "requirements.txt", f"{pins}venv-releaser=={number} --hash=sha256:{digest}\n")
        for name, target in _PROGRAMS.items():
            _write(root / target, (SCRIPTS / name).read_text(encoding="utf-8"))
        _write(root / UNITS / "releaser@.service", make_unit((tree / UNIT).read_text("utf-8")))
        _write(root / UNITS / "releaser@.timer", (SCRIPTS / "releaser@.timer").read_text(encoding="utf-8"))
        _share(tree, root / "usr/share")
        values = {
            "version": version, "architecture": architecture, "oldest": pythons[0], "too_new": _next(pythons[-1]),
            "size": str(sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) // 1024),
        }  # fmt: skip
        _write(root / "DEBIAN/control", (SCRIPTS / "control").read_text(encoding="utf-8").format(**values))
        for name in (*_MAINTAINER_SCRIPTS, "triggers"):
            _write(root / "DEBIAN" / name, (SCRIPTS / name).read_text(encoding="utf-8"))
        programs = {*_PROGRAMS.values(), *(f"DEBIAN/{name}" for name in _MAINTAINER_SCRIPTS)}
        for path in (root, *root.rglob("*")):
            is_program = path.is_dir() or path.relative_to(root).as_posix() in programs
            path.chmod(0o755 if is_program else 0o644)
        # Not compressed: wheels are already, and each version of xz would make other bytes.
        words = ("dpkg-deb", "--root-owner-group", "-Znone", "--build", str(root), str(file))
        env = {**os.environ, "SOURCE_DATE_EPOCH": seconds}
        subprocess.run(words, env=env, check=True, stdout=subprocess.DEVNULL)
    return file


def make_unit(text: str) -> str:
    """Return the unit for any site, made from that for one site."""
    lines = []
    for line in text.splitlines():
        key = next((one for one in _CHANGED if re.match(rf"{one}\b", line)), None)
        if key is None:
            lines.append(line)
        elif (value := _CHANGED[key]) is not None:
            lines.append(f"{key}={value}")
    return "\n".join(lines) + "\n"


def supported_pythons(tree: Path) -> Sequence[str]:
    """Return the minor versions of Python that releaser supports, the oldest first."""
    project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = [one.rpartition(" ")[2] for one in project["classifiers"] if re.fullmatch(r".*Python :: 3\.\d+", one)]
    return sorted(found, key=lambda one: int(one.partition(".")[2]))


def _next(python: str) -> str:
    major, _, minor = python.partition(".")
    return f"{major}.{int(minor) + 1}"


def _download(pins: str, place: Path, pythons: Sequence[str], machine: str) -> None:
    """Download the pinned wheels: those of the oldest Python, and of the others those that are for one Python alone."""
    place.mkdir(parents=True)
    words = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-deps"]
    words += ["--only-binary", ":all:", "--require-hashes", "--dest", str(place), "--implementation", "cp"]
    words += [word for one in _GLIBC for word in ("--platform", f"{one}_{machine}")]

    def download(python: str) -> None:
        file = place / f"{python}.txt"
        file.write_text(pins, encoding="utf-8")
        subprocess.run([*words, "--python-version", python, "--requirement", file], check=True, stdout=sys.stderr)
        file.unlink()

    download(pythons[0])
    compiled = {file.name.partition("-")[0] for file in place.glob("*-cp*.whl")}
    blocks = re.findall(r"(?ms)^\S.*?(?=^\S|\Z)", pins)
    pins = "".join(block for block in blocks if block.partition("==")[0].replace("-", "_") in compiled)
    with ThreadPoolExecutor() as pool:
        list(pool.map(download, pythons[1:]))


def _share(tree: Path, place: Path) -> None:
    """Copy man pages (compressed), completions and schemas, changelog and license to their places in Debian."""
    for path in sorted(tree.glob("share/**/*")):
        if path.is_file():
            name = path.relative_to(tree / "share").as_posix()
            for before, after in _MOVED.items():
                name = name.replace(before, after)
            _copy(path, place / name, is_compressed=name.startswith("man/"))
    _copy(tree / "CHANGELOG.md", place / "doc/venv-releaser/CHANGELOG.md", is_compressed=True)
    _copy(tree / "LICENSE", place / "doc/venv-releaser/copyright")


def _copy(path: Path, target: Path, *, is_compressed: bool = False) -> None:
    data = path.read_bytes()
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_compressed:
        target, data = target.with_name(f"{target.name}.gz"), gzip.compress(data, mtime=0)
    target.write_bytes(data)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _ask(*words: str) -> str:
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout.strip()
