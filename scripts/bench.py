"""Measure the disk of ten releases, and an update of three packages beside the bare steps of uv; needs no network.

As root the site belongs to an ordinary user, for whom releases are clones by hard links.
"""

import hashlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.commands import Identity, copy_for_every_user
from tests.support.sites import SampleSite, SiteOptions

RELEASES = 10
CHANGED = 3  # packages of each release but the first
PACKAGES = [f"package{number:03}" for number in range(150)]
CODE_FILES, DATA_FILES = 24, 29  # of a package
IMPORTED = 10  # of the code files: what the site's tests import
ORDINARY = 61234  # a number that no user has


def modules(name: str, version: str) -> dict[str, str]:
    """Return the files of a package, 1.2 MB with their byte code; each differs in each version."""
    imported = "".join(f"from .part{number % 5} import module{number}\n" for number in range(IMPORTED))
    files = {f"{name}/__init__.py": f'__version__ = "{version}"\n{imported}'}
    for number in range(CODE_FILES):
        digests = [hashlib.sha256(f"{name} {version} {number} {line}".encode()).hexdigest() for line in range(80)]
        functions = (f'def function{i}(value):\n    return value, "{digest}"\n' for i, digest in enumerate(digests))
        files[f"{name}/part{number % 5}/module{number}.py"] = "\n\n".join(functions)
    for number in range(DATA_FILES):
        seed = hashlib.sha256(f"{name} {version} data {number}".encode()).hexdigest()
        files[f"{name}/data/table{number}.txt"] = "".join(f"{seed[i % 50 :]} {i}\n" for i in range(330))
    return files


def make_site(place: Path, user: Identity | None) -> SampleSite:
    """Make the site, with its packages on an index beside it."""
    site = SampleSite(place, uv_cache=place / "uv-cache", user=user)
    site.index = place / "index"  # too large to be copied into a shadow, so it lies elsewhere
    site.index.mkdir(parents=True)
    if user:
        user.own(place)
    options = SiteOptions(packages=dict.fromkeys(PACKAGES, "1.0"), settings={"keep": RELEASES + 5})
    for name in ("localtools", "prodtools"):
        site.publish(name, "1.0")
    for name in PACKAGES:
        site.publish(name, "1.0", modules=modules(name, "1.0"))
    for path, text in options.checkout().items():
        site.edit(path, text.replace("../index", str(site.index)))
    site.write_dotenv()
    site.uv("lock", "--quiet")
    site.git("init", "--quiet", "--bare", site.remote)
    for words in ("init --quiet", "add --all", "commit --quiet --message=Begin", f"remote add origin {site.remote}"):
        site.git(*words.split())
    site.git("push", "--quiet", "--set-upstream", "origin", "main")
    return site


def run_bare_steps(bare: SampleSite) -> None:
    """Do what an administrator would do with uv alone: lock, a new venv, sync, the tests."""
    venv = bare.base / "new-venv"
    bare.env["UV_PROJECT_ENVIRONMENT"] = str(venv)
    bare.uv("lock", "--quiet", "--upgrade")
    bare.uv("venv", "--quiet", venv)
    bare.uv("sync", "--quiet", "--frozen", "--group", "local")
    bare.run(venv / "bin/python", "run_tests.py")


def seconds(act: Callable[[], object]) -> float:
    """Return how long a function takes, once nothing waits for the disk any more."""
    os.sync()
    began = time.monotonic()
    act()
    return time.monotonic() - began


def megabytes(directory: Path) -> float:
    """Return the allocated blocks below a directory; a file with several names counts once."""
    entries = [entry.lstat() for entry in (directory, *directory.rglob("*"))]
    return sum({(entry.st_dev, entry.st_ino): entry.st_blocks * 512 for entry in entries}.values()) / 1e6


def measure(site: SampleSite) -> None:
    """Print both figures."""
    releases = site.state / "releases"
    site.releaser("init", check=0)
    one = megabytes(releases)
    print(f"one release: {one:.0f} MB, {len(PACKAGES)} packages", flush=True)
    bare = site.second_host()
    run_bare_steps(bare)  # fills uv's cache, as releaser's is now
    pairs, answers = [], list[dict[str, Any]]()
    for number in range(1, RELEASES):
        for name in PACKAGES[CHANGED * number : CHANGED * (number + 1)]:
            site.publish(name, "2.0", modules=modules(name, "2.0"))
        shutil.rmtree(bare.base / "new-venv")
        acts = [lambda: run_bare_steps(bare), lambda: answers.append(site.json("update"))]
        if number % 2:
            steps, update = (seconds(act) for act in acts)
        else:
            update, steps = (seconds(act) for act in reversed(acts))
        pairs.append(update / steps)
        parts = ", ".join(f"{step['step']} {step['seconds']:.1f}" for step in answers[-1]["steps"])
        print(f"update {number}: {update:.1f} s ({parts}); uv's bare steps and the tests {steps:.1f} s", flush=True)
    count = len(site.json("list"))
    if count != RELEASES:
        sys.exit(f"There are {count} releases, not {RELEASES}.")
    total = megabytes(releases)
    print(f"disk of {RELEASES} releases, {CHANGED} packages changed in each: {total:.0f} MB, {total / one:.2f} of one")
    print(
        f"update of {CHANGED} packages beside uv's bare steps: {statistics.median(pairs):.2f} (median of {len(pairs)})"
    )


def main() -> None:
    """Measure in a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="releaser-bench-", ignore_cleanup_errors=True) as directory:
        place, user = Path(directory), None
        place.chmod(0o755)
        if os.geteuid() == 0:
            copy_for_every_user(place / "programs")
            user = Identity(user=ORDINARY, group=ORDINARY, programs=place / "programs/bin")
        measure(make_site(place / "base", user))


if __name__ == "__main__":
    main()
