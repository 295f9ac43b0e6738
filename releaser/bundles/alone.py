"""What a bundle does on a host without releaser, after `python3 FILE install` or `run`.

It is imported from the wheel of releaser in the bundle, by the bundle's `__main__`, which lends its functions. As that,
it is of the standard library, and runs on Python 3.8: that of the site may be the only one in a job.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Unpack = Callable[..., None]
    Start = Callable[..., str]


def bring_releaser(place: Path, version: str, unpack: Unpack, start: Start) -> str:
    """Return the program releaser: the one on this host, unless it is older than the bundle's, which is installed then.

    It is installed as a tool of uv for this user, so that it stays for a crontab.
    """
    uv = _unpack_uv(place, unpack)
    programs = start(uv, "tool", "dir", "--bin")
    found = shutil.which("releaser", path=f"{os.environ.get('PATH', os.defpath)}:{programs}")
    if found and _order(start(found, "--version")) >= _order(version):
        return found
    series = re.findall(r"-cp(3)(\d+)-cp3", " ".join(path.name for path in (place / "tools").iterdir()))
    python = sys.executable if tuple(map(int, series[0])) == sys.version_info[:2] else ".".join(series[0])
    words = ("--quiet", "--force", "--offline", "--no-index", "--no-config", "--python", python)
    links = ("--find-links", place / "tools", f"venv-releaser=={version}")
    start(uv, "tool", "install", *words, *links, UV_CACHE_DIR=place / "cache", UV_LINK_MODE="hardlink")
    return f"{programs}/releaser"


def _unpack_uv(place: Path, unpack: Unpack) -> Path:
    """Return uv, with what else it may install, in a directory."""
    unpack(place, "tools/")
    with zipfile.ZipFile(next(place.glob("tools/uv-*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith("/scripts/uv"))
        (place / "uv").write_bytes(wheel.read(name))
    (place / "uv").chmod(0o755)
    return place / "uv"


def _order(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def run(file: str, words: list[str], unpack: Unpack, start: Start) -> None:
    """Become a command; its directory is made once for each user and bundle, also if many begin at once."""
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        sys.exit(f"Name a command: `python3 {file} run -- COMMAND`.")
    with zipfile.ZipFile(file) as archive:
        data = archive.read("manifest.json")
    manifest = json.loads(data)
    place = _own_directory() / hashlib.sha256(data).hexdigest()[:32]
    with open(f"{place}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            begun = Path(f"{place}.new")
            shutil.rmtree(begun, ignore_errors=True)
            begun.mkdir()
            unpack(begun, "uv.lock", "requirements.txt", "code.bundle", "wheels/", "built/")
            _make(begun, manifest, _unpack_uv(begun, unpack), start)
            begun.rename(place)
    venv = place / "venv"
    env = {**os.environ, "VIRTUAL_ENV": str(venv), "UV_PROJECT_ENVIRONMENT": str(venv), "UV_NO_SYNC": "1"}
    env["PATH"] = f"{venv / 'bin'}:{os.environ.get('PATH', os.defpath)}"
    os.chdir(place / "tree" / manifest.get("directory", "."))
    try:
        os.execvpe(words[0], words, env)  # noqa: S606 - this process becomes the command
    except OSError as error:
        sys.stderr.write(f"`{words[0]}` cannot be started: {error.strerror}.\n")
        sys.exit(127)


def _own_directory() -> Path:
    """Return a directory for temporary files that this user alone can write."""
    own = Path(tempfile.gettempdir(), f"releaser-run-{os.getuid()}")
    with contextlib.suppress(FileExistsError):
        own.mkdir(mode=0o700)
    status = own.lstat()
    if own.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        sys.exit(f"`{own}` is not for this user alone. Remove it, or set TMPDIR.")
    return own


def _make(place: Path, manifest: dict[str, Any], uv: Path, start: Start) -> None:
    """Make `tree` and `venv` in a directory, which may be moved then, from what is unpacked there."""
    tree, venv = place / "tree", place / "venv"
    start("git", "clone", "--quiet", "--branch", manifest["branch"], place / "code.bundle", tree)
    start("git", "-C", tree, "reset", "--quiet", "--hard", manifest["commit"])
    series = ".".join(manifest["python"].split(".")[:2])
    words: list[str | Path] = ["--offline", "--no-config", "--quiet", "--no-python-downloads"]
    start(uv, "venv", *words, "--relocatable", "--no-project", "--python", series, venv)
    words += ["--no-index", "--find-links", place / "wheels", "--require-hashes", "--allow-empty-requirements"]
    words += ["--python", venv / "bin" / "python", place / "requirements.txt"]
    start(uv, "pip", "sync", *words, UV_CACHE_DIR=place / "cache", UV_LINK_MODE="hardlink")
    if (place / "built").exists():
        shutil.copytree(place / "built", tree, dirs_exist_ok=True)
    project = tree / manifest.get("directory", ".")
    shutil.copyfile(place / "uv.lock", project / "uv.lock")
    if not os.path.lexists(project / ".venv"):
        (project / ".venv").symlink_to(os.path.relpath(venv, project))
    for name in ("cache", "tools", "wheels"):
        shutil.rmtree(place / name, ignore_errors=True)
