"""Starts a bundle on a host without releaser: `python3 FILE install|run|verify`. Standard library, Python 3.8 or newer.

It compares each file with the manifest, but checks no signature: whoever starts it has done that, or trusts its source.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

FILE = os.path.abspath(sys.argv[0])
HELP = f"""python3 {sys.argv[0]} install [--into DIR] …   bring releaser along, and run `releaser bundle install FILE …`
python3 {sys.argv[0]} run -- COMMAND…          run a command with the code and packages of FILE, as in a CI job
python3 {sys.argv[0]} verify                   compare all files with the manifest; only a signature says who made it
"""


def unpack(place: Path, *tops: str) -> None:
    """Write the members whose names begin so into a directory."""
    with zipfile.ZipFile(FILE) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        for name, facts in manifest["members"].items():
            if not name.startswith(tops):
                continue
            data = b"" if name in manifest["omitted"] else archive.read(name)
            if hashlib.sha256(data).hexdigest() != facts["sha256"] or ".." in name.split("/") or name[0] == "/":
                sys.exit(f"{FILE} has not `{name}` as its manifest says. A delta needs `releaser bundle install`.")
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
            (place / name).chmod(0o755 if facts.get("executable") else 0o644)


def start(*words: object, **variables: object) -> str:
    """Return what a program prints, once it has come to its end."""
    env = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    done = subprocess.run([str(word) for word in words], env=env, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip() if done.returncode == 0 else sys.exit(f"{FILE}: `{words[0]}` failed.")


def bring_releaser(place: Path) -> str:
    """Return the program releaser: the one on this host, unless it is older than the bundle's, which is installed then.

    It is installed as a tool of uv for this user, so that it stays for a crontab.
    """
    uv = unpack_uv(place)
    version = next(place.glob("tools/venv_releaser-*.whl")).name.split("-")[1]
    programs = start(uv, "tool", "dir", "--bin")
    found = shutil.which("releaser", path=f"{os.environ.get('PATH', os.defpath)}:{programs}")
    if found and order(start(found, "--version")) >= order(version):
        return found
    series = re.findall(r"-cp(3)(\d+)-cp3", " ".join(path.name for path in (place / "tools").iterdir()))
    python = sys.executable if tuple(map(int, series[0])) == sys.version_info[:2] else ".".join(series[0])
    words = ("--quiet", "--force", "--offline", "--no-index", "--no-config", "--python", python)
    links = ("--find-links", place / "tools", f"venv-releaser=={version}")
    start(uv, "tool", "install", *words, *links, UV_CACHE_DIR=place / "cache", UV_LINK_MODE="hardlink")
    return f"{programs}/releaser"


def unpack_uv(place: Path) -> Path:
    """Return uv, with what else it may install, in a directory."""
    unpack(place, "tools/")
    with zipfile.ZipFile(next(place.glob("tools/uv-*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith("/scripts/uv"))
        (place / "uv").write_bytes(wheel.read(name))
    (place / "uv").chmod(0o755)
    return place / "uv"


def order(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def run(words: list[str]) -> None:
    """Become a command; its directory is made once for each user and bundle, also if many begin at once."""
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        sys.exit(f"Name a command: `python3 {FILE} run -- COMMAND`.")
    with zipfile.ZipFile(FILE) as archive:
        data = archive.read("manifest.json")
    manifest = json.loads(data)
    place = own_directory() / hashlib.sha256(data).hexdigest()[:32]
    with open(f"{place}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            begun = Path(f"{place}.new")
            shutil.rmtree(begun, ignore_errors=True)
            begun.mkdir()
            unpack(begun, "uv.lock", "requirements.txt", "code.bundle", "wheels/", "built/")
            make(begun, manifest, unpack_uv(begun))
            begun.rename(place)
    venv = place / "venv"
    env = {**os.environ, "VIRTUAL_ENV": str(venv), "UV_PROJECT_ENVIRONMENT": str(venv), "UV_NO_SYNC": "1"}
    env["PATH"] = f"{venv / 'bin'}:{os.environ.get('PATH', os.defpath)}"
    os.chdir(place / "tree" / manifest.get("directory", "."))
    try:
        os.execvpe(words[0], words, env)
    except OSError as error:
        sys.stderr.write(f"`{words[0]}` cannot be started: {error.strerror}.\n")
        sys.exit(127)


def own_directory() -> Path:
    """Return a directory for temporary files that this user alone can write."""
    own = Path(tempfile.gettempdir(), f"releaser-run-{os.getuid()}")
    with contextlib.suppress(FileExistsError):
        own.mkdir(mode=0o700)
    status = own.lstat()
    if own.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        sys.exit(f"`{own}` is not for this user alone. Remove it, or set TMPDIR.")
    return own


def make(place: Path, manifest: dict[str, Any], uv: Path) -> None:
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


def main(place: Path, words: list[str]) -> None:
    """Do what is asked: become another program, or end."""
    if words == ["verify"]:
        unpack(place, "")
        print(f"Every file in {FILE} is as its manifest says.")
    elif words[:1] == ["run"]:
        shutil.rmtree(place)
        run(words[1:])
    elif words[:1] == ["install"]:
        program = bring_releaser(place)
        shutil.rmtree(place)
        os.execv(program, [program, "bundle", "install", FILE, *words[1:]])
    else:
        print(HELP)
        sys.exit(0 if words in ([], ["--help"]) else 2)


if __name__ == "__main__":
    try:
        with tempfile.TemporaryDirectory() as directory:
            main(Path(directory), sys.argv[1:])
    except OSError as error:
        sys.exit(f"{FILE}: `{error.filename}`: {error.strerror}. It needs git, and a TMPDIR where programs may start.")
    except (ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        sys.exit(f"{FILE} is damaged: {error}.")
