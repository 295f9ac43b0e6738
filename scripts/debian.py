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
from pathlib import Path

from releaser.launcher.install import PYTHONS, download, platforms_of, program_files

SCRIPTS = Path(__file__).resolve().parent / "debian"
UNIT = "releaser/tools/releaser@.service"
HOME = "opt/venv-releaser"
_MAINTAINER_SCRIPTS = ("postinst", "prerm")
UNITS = "usr/lib/systemd/system"
# Where Debian's programs look for what a wheel has in share/.
_MOVED = {"zsh/site-functions": "zsh/vendor-completions"}
# The machine's architecture in the names of wheels, by Debian's name for it.
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "ppc64el": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}
_GLIBC = 17  # the oldest glibc that the package runs with: 2.17
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
        pins = (tree / "constraints.txt").read_text(encoding="utf-8")
        platforms = platforms_of(_MACHINES[architecture], _GLIBC)
        download((sys.executable, "-m", "pip"), pins, str(root / HOME / "wheels"), PYTHONS, platforms)
        shutil.copy(wheel, root / HOME / "wheels")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        _write(root / HOME / "requirements.txt", f"{pins}venv-releaser=={number} --hash=sha256:{digest}\n")
        programs = {f"DEBIAN/{name}" for name in _MAINTAINER_SCRIPTS}
        for name, text in program_files(f"/{HOME}", PYTHONS, "/usr/bin/python3", tree=str(tree)).items():
            _write(root / HOME / name, text)
            if not name.endswith(".py"):
                programs.add(f"{HOME}/{name}")
        (root / "usr/bin").mkdir(parents=True)
        (root / "usr/bin/releaser").symlink_to(f"/{HOME}/bin/releaser")
        _write(root / UNITS / "releaser@.service", make_unit((tree / UNIT).read_text("utf-8")))
        _write(root / UNITS / "releaser@.timer", (SCRIPTS / "releaser@.timer").read_text(encoding="utf-8"))
        _share(tree, root / "usr/share")
        values = {
            "version": version, "architecture": architecture, "oldest": PYTHONS[0], "too_new": _next(PYTHONS[-1]),
            "size": str(sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) // 1024),
        }  # fmt: skip
        _write(root / "DEBIAN/control", (SCRIPTS / "control").read_text(encoding="utf-8").format(**values))
        for name in (*_MAINTAINER_SCRIPTS, "triggers"):
            _write(root / "DEBIAN" / name, (SCRIPTS / name).read_text(encoding="utf-8"))
        for path in (root, *root.rglob("*")):
            if not path.is_symlink():
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


def _next(python: str) -> str:
    major, _, minor = python.partition(".")
    return f"{major}.{int(minor) + 1}"


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
