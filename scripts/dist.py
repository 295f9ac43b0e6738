"""Makes what a release of releaser consists of, in dist/: source, wheel, Debian package, SBOM, constraints, checksums.

The checksums are written once the demo has run with the wheel and with the source, installed with the constraints.

Everything is made from the last commit and with its time, so that anybody who makes it from the same commit gets the
same bytes. Each file of constraints has an SBOM (CycloneDX 1.5): what it pins, with the hashes that are accepted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from debian import make_package

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
CONSTRAINTS = "constraints.txt"
EXTRAS = ("attestations", "notify", "prometheus", "s3", "serve")
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "releaser")


def main() -> None:
    """Build everything again, and check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--unchecked", action="store_true", help="write the checksums without any demo")
    parser.add_argument("--no-debian", action="store_true", help="make no Debian package, whose wheels are downloaded")
    options = parser.parse_args()
    commit, seconds = _run("git", "log", "-1", "--format=%H %ct").split()
    if _run("git", "status", "--porcelain", "--untracked-files=no"):
        sys.exit("dist: there are changes that are not committed, so nobody could make the same; commit them first.")
    shutil.rmtree(DIST, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="releaser-dist-") as place:
        tree = Path(place) / "tree"
        _check_out(commit, tree)
        words = (sys.executable, "-m", "hatchling", "build", "-d", str(DIST))
        _run(*words, cwd=tree, variables={"SOURCE_DATE_EPOCH": seconds})
        version, at = next(DIST.glob("*.whl")).name.split("-")[1], datetime.fromtimestamp(int(seconds), UTC)
        for name, extra in ((CONSTRAINTS, ""), *((f"constraints-{extra}.txt", f"-{extra}") for extra in EXTRAS)):
            shutil.copyfile(tree / name, DIST / name)
            sbom = json.dumps(make_sbom(tree / name, version=version, at=at), indent=2)
            (DIST / f"venv_releaser-{version}{extra}.cdx.json").write_text(f"{sbom}\n", encoding="utf-8")
        if shutil.which("dpkg-deb") and not options.no_debian:
            make_package(tree, next(DIST.glob("*.whl")), DIST, seconds)
        else:
            print("dist: no Debian package is made: dpkg-deb makes one", file=sys.stderr)
    if not options.unchecked:
        with ThreadPoolExecutor() as pool:
            list(pool.map(check, (*DIST.glob("*.whl"), *DIST.glob("*.tar.gz"))))
    files = sorted(file for file in DIST.iterdir())
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (DIST / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    print("".join(lines), end="")


def check(file: Path) -> None:
    """Run the demo with what this wheel or source installs."""
    env = {**os.environ, "PYTHON": sys.executable, "INSTALL": str(file)}
    done = subprocess.run(
        ["bash", ROOT / "scripts" / "demo"], env=env, check=False, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{done.stdout}\ndist: the demo fails with {file.name}, so no SHA256SUMS is written.")
    print(f"the demo has run with {file.name}", file=sys.stderr)


def make_sbom(constraints: Path, *, version: str, at: datetime) -> dict[str, object]:
    """Return the SBOM of what a file of constraints pins; it names no place to download from."""
    components: list[dict[str, object]] = []
    text = constraints.read_text(encoding="utf-8").replace("\\\n", " ")
    for words in (line.split() for line in text.splitlines()):
        if not words or words[0].startswith("#"):
            continue
        name, _, number = words[0].partition("==")
        hashes = [{"alg": "SHA-256", "content": one.rpartition(":")[2]} for one in words if one.startswith("--hash=")]
        reference = f"pkg:pypi/{name}@{number}"
        files = [{"type": "distribution", "url": reference, "hashes": [one]} for one in hashes]
        components.append(
            {
                "type": "library", "bom-ref": reference, "name": name, "version": number, "purl": reference,
                "externalReferences": files,
            }
        )  # fmt: skip
    itself = f"pkg:pypi/venv-releaser@{version}"
    serial = uuid.uuid5(NAMESPACE, json.dumps([version, components]))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": at.isoformat(),
            "component": {
                "type": "application", "bom-ref": itself, "name": "venv-releaser", "version": version, "purl": itself,
            },
        },
        "components": components,
        "dependencies": [{"ref": itself, "dependsOn": [one["bom-ref"] for one in components]}],
    }  # fmt: skip


def _check_out(commit: str, tree: Path) -> None:
    """Write the files of a commit to `tree`, by way of an archive beside it."""
    archive = tree.with_suffix(".tar")
    _run("git", "-c", "core.autocrlf=false", "-c", "core.eol=lf", "archive", f"--output={archive}", commit)
    with tarfile.open(archive) as file:
        file.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.2 has none
        file.extractall(tree)  # noqa: S202 - our own


def _run(*words: str, cwd: Path = ROOT, variables: dict[str, str] | None = None) -> str:
    env = {**os.environ, **(variables or {})}
    finished = subprocess.run(words, cwd=cwd, env=env, check=True, stdout=subprocess.PIPE, encoding="utf-8")
    return finished.stdout.strip()


if __name__ == "__main__":
    main()
