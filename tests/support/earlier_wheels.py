"""Wheels of releaser from earlier commits, each installed on its own: what an upgrade of releaser starts from."""

import subprocess
import sys
import sysconfig
import tarfile
import venv
from io import BytesIO
from pathlib import Path

from tests.support.commands import git_executable, uv_executable
from tests.support.guards import require

REPOSITORY = Path(__file__).resolve().parents[2]
#: The last commit of each form of the state directory that this version reads, and the next change of that form.
FORMS = {
    "33590a53": "the ledger and the manifests say what became of a release, not a file of its own",
    "178b266e": "the journal has fields for each action, not a record for each",
    "841b12e6": "holds, failures and what waits for `accept` are in three files; results and states have other names",
    "49cb75d8": "the manifest has the fields of all capabilities, not those that each declares",
}


def install_earlier(commit: str, place: Path) -> Path:
    """Build the wheel of a commit of this repository, install it into a venv of its own, and return its `releaser`.

    The venv borrows the packages that releaser requires from this one. The test is skipped without the commit; in CI,
    which has the whole history, it fails.
    """
    words = ["archive", commit]
    archive = subprocess.run([git_executable(), "-C", REPOSITORY, *words], capture_output=True, check=False)
    require(archive.returncode == 0, f"the commit {commit} is needed: `git fetch --unshallow`")
    source, target = place / "source", place / "venv"
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(source, filter="data")
    words = ["-m", "hatchling", "build", "--target", "wheel", "--directory", str(place)]
    subprocess.run([sys.executable, *words], cwd=source, check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    venv.create(target, symlinks=True)
    words = ["pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(target / "bin" / "python")]
    subprocess.run([uv_executable(), *words, wheel], check=True)
    (packages,) = target.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return target / "bin" / "releaser"
