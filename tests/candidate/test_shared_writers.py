"""Programs that change a file of one release, whose name in another release leads to the same read-only file.

The table is the one of docs/guides/files.md. Root is not held by modes, so releases of root have no such files.
"""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import uv_executable
from tests.support.guards import require
from tests.support.wheels import build_wheel

pytestmark = [pytest.mark.slow, pytest.mark.spawns]

OWNER = 65534
ENV = {"PATH": os.defpath, "UV_PYTHON_DOWNLOADS": "never"}
MODULE = "alpha/__init__.py"
BEFORE = 'VERSION = "1.0"\n'
PATCH = f'--- a/{MODULE}\n+++ b/{MODULE}\n@@ -1 +1 @@\n-VERSION = "1.0"\n+EDITED = 1\n'

APART, REFUSED, REACHES = "changes its release alone", "refused", "reaches the other release"
VIM = "vim -u NONE -N -es {module} -c '%s/VERSION/EDITED/'"
# What happens if the owner of the files runs it, and if root does.
WRITERS: dict[str, tuple[str, str, str]] = {
    "vim :w": (f"{VIM} -c w -c qa!", REFUSED, REFUSED),
    "vim :w!": (f"{VIM} -c w! -c qa!", REACHES, REACHES),
    "nano": ("nano", REFUSED, REACHES),
    "sed -i": ("sed -i s/VERSION/EDITED/ {module}", APART, APART),
    "sed --in-place=.bak": ("sed --in-place=.bak s/VERSION/EDITED/ {module}", APART, APART),
    "patch": ("patch -p1 < ../new/patch", APART, APART),
    "git apply": ("git apply --unsafe-paths ../new/patch", APART, APART),
    "cp": ("cp ../new/{module} {module}", REFUSED, REACHES),
    "cp -f": ("cp -f ../new/{module} {module}", APART, REACHES),
    "mv": ("mv -f ../new/{module} {module}", APART, APART),
    "install": ("install ../new/{module} {module}", APART, APART),
    "rsync": ("rsync -a ../new/alpha/ alpha/", APART, APART),
    "rsync --inplace": ("rsync -a --inplace ../new/alpha/ alpha/", REACHES, REACHES),
    "a shell": ("echo EDITED >> {module}", REFUSED, REACHES),
    "a program that opens it": ("truncate --size=0 {module}", REFUSED, REACHES),
    "chmod u+w, and a shell": ("chmod -R u+w . && echo EDITED >> {module}", REACHES, REACHES),
}


# What nano shows, and the keys to press then: Ctrl-O and Return write the file, Ctrl-X leaves.
NANO = ((b"VERSION", b"EDITED"), (b"EDITED", b"\x0f"), (b"to Write", b"\r"), (b"Wrote|Error", b"\x18"))


class Releases:
    """Two releases that share a module, in a directory that all users may enter."""

    def __init__(self, base: Path, user: int) -> None:
        self.edited, self.other, self.new = (base / name for name in ("edited", "other", "new"))
        self._user = user if os.geteuid() == 0 else os.geteuid()
        for place in (self.other, self.new):
            (place / "alpha").mkdir(parents=True)
        (self.other / MODULE).write_text(BEFORE, encoding="utf-8")
        (self.other / MODULE).chmod(0o444)
        (self.new / MODULE).write_text("EDITED = 1\n", encoding="utf-8")
        (self.new / "patch").write_text(PATCH, encoding="utf-8")
        shutil.copytree(self.other, self.edited, copy_function=os.link)
        for path in (base, *base.rglob("*")):
            os.chown(path, self._user, -1)

    def run(self, command: str) -> None:
        """Run a command of a shell in the release that is edited."""
        words = ["sh", "-c", command.format(module=MODULE)]
        who = {"user": self._user, "extra_groups": ()} if os.geteuid() == 0 else {}
        env = {"PATH": os.defpath, "HOME": str(self.edited), "TERM": "xterm"}
        with subprocess.Popen(
            words, cwd=self.edited, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, **who,
        ) as process:  # type: ignore[call-overload]  # fmt: skip
            process.wait(60)

    def type_into_nano(self) -> None:
        """Type a line into nano, write the file under its name, and leave."""
        child, terminal = pty.fork()
        if child == 0:
            try:
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setuid(self._user)
                os.chdir(self.edited)
                env = {"PATH": os.defpath, "TERM": "xterm"}
                os.execvpe("nano", ["nano", "--ignorercfiles", MODULE], env)  # noqa: S606 - with a terminal
            finally:
                os._exit(1)
        shown, deadline = b"", time.monotonic() + 30
        try:
            for wanted, keys in NANO:
                while not re.search(wanted, shown) and time.monotonic() < deadline:
                    if select.select([terminal], [], [], 0.1)[0]:
                        shown += os.read(terminal, 65536)
                os.write(terminal, keys)
        except OSError:
            pass  # the terminal is gone as soon as nano has ended
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)

    @property
    def outcome(self) -> str:
        """What has become of the module in both releases."""
        if (self.other / MODULE).read_text(encoding="utf-8") != BEFORE:
            return REACHES
        return REFUSED if (self.edited / MODULE).read_text(encoding="utf-8") == BEFORE else APART


@pytest.fixture
def base() -> Iterator[Path]:
    """A directory that other users may enter."""
    place = Path(tempfile.mkdtemp(prefix="writers-"))
    place.chmod(0o755)
    try:
        yield place
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize("by_root", [False, True], ids=["owner", "root"])
@pytest.mark.parametrize("name", WRITERS)
def test_each_program_does_what_the_table_says(base: Path, name: str, by_root: bool) -> None:
    command, by_owner, as_root = WRITERS[name]
    program = command.split()[0]
    require(program == "echo" or shutil.which(program), f"{program} is not installed")
    require(os.geteuid() == 0 or not by_root, "only root can act as root")
    releases = Releases(base, 0 if by_root else OWNER)
    if name == "nano":
        releases.type_into_nano()
    else:
        releases.run(command)
    assert releases.outcome == (as_root if by_root else by_owner)


@pytest.mark.parametrize("mode", ["clone", "copy", "hardlink", "symlink"])
def test_uv_never_writes_into_an_installed_file(base: Path, mode: str) -> None:
    releases, wheels = Releases(base, os.geteuid()), base / "wheels"
    wheels.mkdir()
    build_wheel(wheels, "alpha", "2.0")
    words: list[str | Path] = [uv_executable(), "pip", "install", "--quiet", "--no-index", "--find-links", wheels]
    words += ["--link-mode", mode, "--target", releases.edited, "--python", sys.executable, "--upgrade", "alpha"]
    subprocess.run(words, check=True, env={**ENV, "UV_CACHE_DIR": str(base / "cache")})
    assert releases.outcome == APART


def test_python_replaces_byte_code(base: Path) -> None:
    releases = Releases(base, os.geteuid())
    words = [sys.executable, "-c", "import alpha"]
    for place in (releases.other, releases.edited):
        subprocess.run(words, check=True, cwd=place, env={"PYTHONDONTWRITEBYTECODE": ""})
    (shared,) = releases.other.rglob("*.pyc")
    own = releases.edited / shared.relative_to(releases.other)
    own.unlink()
    own.hardlink_to(shared)
    before = shared.read_bytes()
    (releases.edited / MODULE).unlink()
    (releases.edited / MODULE).write_text("EDITED = 1\n", encoding="utf-8")
    subprocess.run(words, check=True, cwd=releases.edited, env={"PYTHONDONTWRITEBYTECODE": ""})
    assert own.read_bytes() != before == shared.read_bytes()
