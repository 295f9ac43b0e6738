"""Layers: whatever a program in the sandbox writes, nothing of the host is other than before."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import socket
import sqlite3
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from releaser.sandbox.layers import list_places
from tests.e2e.test_group_use import base_python
from tests.support.guards import require
from tests.tools.test_in_the_way import photograph

pytestmark = pytest.mark.slow  # which also keeps them to Pythons that a plain user can start
ADA, FRIENDS = 12_345, 23_456  # a user, and a group of hers that is not her first one
MOUNTED = "releaser-test-layers"  # what these tests mount
CONTAINER = -1  # its root, who is nobody outside

# What tests do, each with a line that tells whether it has seen what it wrote.
WRITES = {
    "a new file beside the checkout": "(outer / 'new.log').write_text('x'); seen = (outer / 'new.log').read_text()",
    "a log that is there": "log = outer / 'logs/site.log'; log.open('a').write('x'); seen = log.read_text()[-1]",
    "a new log": "(outer / 'logs/new.log').write_text('x'); seen = (outer / 'logs/new.log').read_text()",
    "an upload more": "(site / 'media/2026/b').write_text('x'); seen = (site / 'media/2026/b').read_text()",
    "an upload less": "(site / 'media/2026/a').unlink(); seen = 'x' * (not (site / 'media/2026/a').exists())",
    "no uploads at all": "shutil.rmtree(site / 'media'); seen = 'x' * (not (site / 'media').exists())",
    "rows of a database": (
        "c = sqlite3.connect(site / 'db.sqlite3'); c.execute('delete from t'); c.commit()\n"
        "seen = 'x' * (c.execute('select count(*) from t').fetchone() == (0,))"
    ),
    "a tracked file": "(site / 'manage.py').write_text('x'); seen = (site / 'manage.py').read_text()",
    "a mode": "one = site / 'manage.py'; one.chmod(0o600); seen = 'x' * (one.stat().st_mode & 0o777 == 0o600)",
    "a rename": "os.rename(site / 'manage.py', site / 'm'); seen = (site / 'm').read_text()[:1] and 'x'",
    "its home": "(home / '.rc').write_text('x'); seen = (home / '.rc').read_text()",
    "/var/tmp": "Path('/var/tmp/releaser-layer').write_text('x'); seen = Path('/var/tmp/releaser-layer').read_text()",
    "/tmp": "Path('/tmp/releaser-layer').write_text('x'); seen = Path('/tmp/releaser-layer').read_text()",
    "the interpreter of the live release": "(site / '.venv').unlink(); seen = 'x' * (not (site / '.venv').exists())",
}
DENIED, NO_MORE = "denied", "no more"
PROGRAM = """\
import os, shutil, sqlite3, sys
from pathlib import Path
outer, home = Path(sys.argv[1]), Path(sys.argv[2])
site, seen = outer / "site", ""
"""


class Host:
    """A site with its home in a directory of its own, that belongs to `user`."""

    def __init__(self, base: Path, library: Path, user: int) -> None:
        self.library, self.user, self.outer, self.home = library, user, base / "a,b:c\\d stuff", base / "home"
        site = self.outer / "site"
        (site / "media" / "2026").mkdir(parents=True)
        (self.outer / "logs").mkdir()
        (self.outer / "state").mkdir()
        self.home.mkdir()
        for name in ("logs/site.log", "site/media/2026/a", "site/manage.py", ".env"):
            (self.outer / name).write_text("live")
        (site / ".venv").symlink_to("../state")
        with contextlib.closing(sqlite3.connect(site / "db.sqlite3")) as database, database:
            database.executescript("create table t (a); insert into t values (1)")
        base.chmod(0o755)
        self.give(max(user, 0))

    def give(self, user: int, group: int = 0) -> None:
        for place, directories, files in os.walk(self.outer.parent):
            for name in (place, *(os.path.join(place, one) for one in (*directories, *files))):
                os.chown(name, user, group or user, follow_symlinks=False)
                if group and not os.path.islink(name):
                    os.chmod(name, stat.S_IMODE(os.stat(name).st_mode) | 0o060)

    def run(self, code: str, *, forced: str = "", groups: str = "", temporary: str = "/tmp") -> dict[str, Any]:
        """Run code in the sandbox of this user, and return what it printed and which way the sandbox works."""
        words = [base_python(), "-c", ASK, str(self.outer), str(self.home), PROGRAM + code + "\nprint(seen)", forced]
        if self.user == CONTAINER:
            words = ["unshare", "--user", "--map-root-user", "--mount", *words]
        elif self.user:
            kept = [f"--groups={groups}"] if groups else ["--clear-groups"]
            words = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", *kept, *words]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "PYTHONPATH": str(self.library), "TMPDIR": temporary}
        done = subprocess.run(words, cwd="/", env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def write(self, writes: dict[str, str] = WRITES, *, forced: str = "", groups: str = "") -> dict[str, str]:
        """Do all these in one sandbox, and return what each has seen of it, or why it could not do it."""
        code = f"""
import json
told = {{}}
for what, code in {writes!r}.items():
    try:
        exec(code)
    except Exception as error:
        seen = str(error)
    told[what] = seen
seen = json.dumps(told)"""
        ran = self.run(code, forced=forced, groups=groups)
        assert ran["left"] == []
        said: dict[str, str] = json.loads(str(ran["said"]))
        return said


# Runs code as a site's tests are run; `forced` is a way in which the sandbox works on other hosts.
ASK = """
import json, os, sys, time
from pathlib import Path
from releaser.sandbox import bubblewrap, layers
from releaser.sandbox.bubblewrap import Bounds, Bubblewrap, find_bubblewrap
from releaser.system.process import Runner

outer, home, code, forced = Path(sys.argv[1]), *sys.argv[2:]
runner = Runner(environ=dict(os.environ))
if forced == "denied":
    bubblewrap.mounting, forced = lambda *_, **__: lambda: None, ""
found = find_bubblewrap(runner, (outer, outer / "state"))
assert isinstance(found, Bubblewrap), found
if forced == "no more":
    def refuse(_):
        raise OSError(22, "Invalid argument")
    layers._mount, forced = refuse, ""
way, _, scratch = forced.partition(" in ")
if way:
    found = Bubblewrap(program=found.program, way=way, scratch=Path(scratch, "layers") if scratch else found.scratch)
heard = []
bounds = Bounds(
    writable=(),
    hidden=(Path(home, "key"), outer / "logs" / "key"),
    kept=(outer, Path(home)),
    needed=(Path(sys.executable),),
    fixed=(outer / "library",),
    copied=(outer / "logs", outer / "a.socket"),
    sockets=(outer / "a.socket",),
)
with found.sandbox(bounds, heard.extend) as sandbox:
    if (waits := outer / "waits").exists():
        waits.rename(outer / "made")
        while (outer / "made").exists():
            time.sleep(0.01)
    made = [Path(sandbox.outside), *Path("/var/tmp").glob(".releaser-layers*")] if os.geteuid() else []
    made = [one for one in made if one.stat().st_uid == os.geteuid()]
    words = [sys.executable, "-c", code, outer, home]
    done = runner.run(words, cwd=Path("/"), timeout=60, sandbox=sandbox, check=False)
left = [str(one) for one in (*made, *(outer / "state").iterdir()) if one.exists()]
print(json.dumps({"way": found.way, "said": done.stdout.strip(), "output": done.output, "heard": heard, "left": left}))
"""


@pytest.fixture(params=["/var/tmp", "/tmp", "/dev/shm"])
def base(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Make a place for a site."""
    require(os.geteuid() == 0 and shutil.which("setpriv") and shutil.which("bwrap"), "root makes the users")
    with open("/run/releaser-test-layers.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one test at a time: they write the same files, and mount in /var/tmp
        unmount_leftovers()
        made = Path(tempfile.mkdtemp(prefix="layers-", dir=request.param))
        try:
            yield made
        finally:
            unmount_leftovers()
            shutil.rmtree(made)


def unmount_leftovers() -> None:
    """Unmount what these tests mounted, also before they were killed."""
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        source, place = line.split()[:2]
        if source == MOUNTED:
            subprocess.run(["umount", place.encode().decode("unicode_escape")], check=True)


at_home = pytest.mark.parametrize("base", ["/var/tmp"], indirect=True)
USERS = pytest.mark.parametrize("user", [0, ADA], ids=["root", "plain"])


@USERS
def test_all_that_tests_write_is_seen_by_them_and_thrown_away(everybodys: Path, base: Path, user: int) -> None:
    host = Host(base, everybodys, user)
    before = photograph(base)
    assert host.write() == dict.fromkeys(WRITES, "x")
    assert photograph(base) == before
    assert not [path for path in ("/var/tmp/releaser-layer", "/tmp/releaser-layer") if os.path.exists(path)]
    found = host.run(WRITES["a new log"])
    assert (found["way"], found["heard"]) == ("layers", [str(host.outer / "logs" / "new.log")])


@at_home
@pytest.mark.parametrize("groups", ["", str(FRIENDS)], ids=["not a member", "a member"])
def test_an_unknown_group_keeps_nobody_from_writing(everybodys: Path, base: Path, groups: str) -> None:
    """overlayfs copies nothing up that is of such a group: "Value too large for defined data type"."""
    host = Host(base, everybodys, ADA)
    (host.outer / "logs" / "site.log").write_bytes(b"live" * 1_000_000)
    host.give(ADA, FRIENDS)
    before = photograph(base)
    assert host.write(groups=groups) == dict.fromkeys(WRITES, "x")
    assert photograph(base) == before
    assert host.run(WRITES["a new log"], groups=groups)["heard"] == [str(host.outer / "logs" / "new.log")]


# Looks for keys, and for what layers lie over, where a sandbox may have something of its own.
FINDS = """
seen = []
for top, directories, files in os.walk({place!r}):
    if top.endswith(".upper"):
        seen += directories
        directories.clear()
    seen += [name for name in files if name == "key" and os.stat(os.path.join(top, name)).st_size]
"""


@pytest.mark.spread(3)
@pytest.mark.parametrize("base", ["/dev/shm"], indirect=True)
@USERS
@pytest.mark.parametrize("way", ["layers", "layers elsewhere", "read-only"])
def test_what_is_hidden_is_in_no_layer_and_no_copy(everybodys: Path, base: Path, user: int, way: str) -> None:
    """Keys of a group would be copied beforehand, and what layers lie over could be seen where they are mounted."""
    host = Host(base, everybodys, user)
    for place in (host.home, host.outer / "logs"):
        (place / "key").write_text("secret")
    host.give(user, FRIENDS)
    way, _, is_elsewhere = way.partition(" ")
    with tempfile.TemporaryDirectory(dir="/run" if is_elsewhere else "/var/tmp") as scratch:
        os.chown(scratch, user, user)
        found = host.run(
            FINDS.format(place=scratch).strip(), forced=f"{way} in {scratch}", groups=str(FRIENDS), temporary=scratch
        )
    assert found["said"] == "[]", found


@pytest.mark.spread(4)
@USERS
@pytest.mark.parametrize("way", ["", "read-only"])
def test_what_is_fixed_is_only_read_and_named_sockets_are_reached(
    everybodys: Path, base: Path, user: int, way: str
) -> None:
    """The library of an interpreter would be read through a layer for nothing.

    Through a layer alone nobody would reach a socket, as it has other inodes, by which the kernel finds them; nor
    through a copy.
    """
    host = Host(base, everybodys, user)
    (host.outer / "library").mkdir()
    (host.outer / "library" / "os.py").write_text("live")
    host.give(max(user, 0))
    assert host.run("seen = (outer / 'library/os.py').read_text()", forced=way)["said"] == "live"
    for write in ("(outer / 'library/os.py').write_text('x')", "(outer / 'library/new').touch()"):
        assert "Read-only file system" in host.run(write, forced=way)["output"]
    path = host.outer / "a.socket"
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(str(path))
        service.listen()
        path.chmod(0o777)
        code = f"import socket\nwith socket.socket(socket.AF_UNIX) as one: one.connect({str(path)!r})\nseen = 'x'"
        assert host.run(code, forced=way)["said"] == "x"


@at_home
def test_root_of_a_container_has_layers(everybodys: Path, base: Path) -> None:
    """Its user namespace lets overlayfs neither see what other mounts cover nor write down what only root may."""
    host = Host(base, everybodys, CONTAINER)
    before = photograph(base)
    found = host.run("shutil.rmtree(site / 'media'); (site / 'media').mkdir(); seen = os.listdir(site / 'media')")
    assert (found["way"], found["said"]) == ("layers", "[]"), found
    assert photograph(base) == before


@at_home
@pytest.mark.parametrize("place", ["/var/log/releaser-test", "/srv/releaser-test/storage/uploads"])
def test_a_plain_user_writes_far_from_the_project_too(everybodys: Path, base: Path, place: str) -> None:
    """overlayfs would have to copy the directories of root that lead there: "Value too large for defined data type"."""
    host = Host(base, everybodys, ADA)
    top = next(one for one in (Path(place), *Path(place).parents) if one.name == "releaser-test")
    try:
        Path(place).mkdir(parents=True)
        Path(place, "a.log").write_text("live")
        for one in (place, f"{place}/a.log"):
            os.chown(one, ADA, ADA)
        found = host.run(f"open('{place}/a.log', 'a').write('x'); open('{place}/new', 'w').write('x'); seen = 'x'")
        assert found["said"] == "x", found
        assert sorted(found["heard"]) == [f"{place}/a.log", f"{place}/new"]
        assert [one.read_text() for one in Path(place).iterdir()] == ["live"]
    finally:
        shutil.rmtree(top)


@USERS
def test_a_home_where_everybody_writes_is_private_in_the_sandbox(everybodys: Path, base: Path, user: int) -> None:
    host = Host(base, everybodys, user)
    host.home = Path("/tmp")
    with tempfile.NamedTemporaryFile(dir="/tmp") as file:
        found = host.run(f"Path('/tmp/releaser-new').touch(); seen = str(os.path.exists({file.name!r}))")
    assert (found["said"], found["heard"]) == ("False", [])


@at_home
def test_root_moves_directories_and_finds_what_is_mounted_as_its_owner_has_it(everybodys: Path, base: Path) -> None:
    host = Host(base, everybodys, 0)
    move = "import shutil; shutil.move(site / 'media', site / 'm'); seen = (site / 'm/2026/a').read_text()"
    assert host.run(move)["said"] == "live"
    media = host.outer / "site" / "media"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"uid={ADA},gid={FRIENDS},mode=755", MOUNTED, media], check=True)
    said = host.run("status = (site / 'media').stat(); seen = (status.st_uid, status.st_gid)")["said"]
    assert said == str((ADA, FRIENDS))


@pytest.mark.spread(4)
@at_home
@USERS
@pytest.mark.parametrize(
    ("forced", "may_be_written"),
    [
        ("read-only", {"a log that is there", "a new log", "/tmp"}),  # copies of what is small, without layers
        # As where a file system has been mounted since it was tried, of a kind that nothing can be laid over.
        (NO_MORE, {"/tmp"}),
    ],
)
def test_a_place_that_can_have_no_layer_is_read_only(
    everybodys: Path, base: Path, user: int, forced: str, may_be_written: set[str]
) -> None:
    host = Host(base, everybodys, user)
    before = photograph(base)
    found = host.write(forced=forced)
    assert {what for what, seen in found.items() if seen == "x"} <= may_be_written
    assert forced == NO_MORE or found["a new log"] == found["a log that is there"] == "x"
    assert all(re.search("^x$|Read-only file system|readonly database", seen) for seen in found.values()), found
    assert photograph(base) == before


@at_home
@USERS
def test_where_only_bubblewrap_may_mount_it_makes_the_layers_if_it_can(everybodys: Path, base: Path, user: int) -> None:
    """As on hosts that let no other program have a user namespace; what mounts here does nothing then."""
    said = subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=True).stdout
    has_layers = [int(one) for one in said.split()[-1].split(".")] >= [0, 11]
    host = Host(base, everybodys, user)
    before = photograph(base)
    assert host.run("seen = 'x'", forced=DENIED)["way"] == ("layers of bubblewrap" if has_layers else "read-only")
    seen = host.write(forced=DENIED)
    assert (seen == dict.fromkeys(WRITES, "x")) == has_layers
    assert photograph(base) == before


@at_home
@USERS
def test_what_is_mounted_below_is_not_hidden(everybodys: Path, base: Path, user: int) -> None:
    """An upload directory on another file system: it has a layer of its own, and so has what is beside it."""
    host = Host(base, everybodys, user)
    media = host.outer / "site" / "media"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"uid={user},gid={user},mode=755", MOUNTED, media], check=True)
    (media / "there").write_text("live")
    os.chown(media / "there", user, user)
    before = photograph(base)
    for code in (
        "(site / 'media/new').write_text('x'); seen = (site / 'media/new').read_text()",
        "(site / 'media/there').unlink(); seen = 'x'",
        WRITES["a new log"],
    ):
        found = host.run(code)
        assert found["said"] == "x", found
        assert photograph(base) == before
    assert host.run("seen = (site / 'media/there').read_text()")["said"] == "live"
    # Above it there can be no layer; all the same, what lies there is seen, and can be written to.
    assert host.run("seen = sorted(os.listdir(site))")["said"] == str(sorted(os.listdir(host.outer / "site")))
    writes = {what: code for what, code in WRITES.items() if "upload" not in what}
    assert host.write(writes) == dict.fromkeys(writes, "x")
    assert photograph(base) == before
    heard = host.run(WRITES["a new file beside the checkout"])["heard"]
    assert heard == [str(host.outer / "new.log")]
    # bubblewrap could not be told of so many files; all are seen, and none can be changed.
    for number in range(1_100):
        (host.outer / "site" / f"{number}.jpg").write_text("live")
    said = host.run("seen = len([*site.glob('*.jpg')]), (site / '7.jpg').read_text()")["said"]
    assert said == "(1100, 'live')"
    assert "Read-only file system" in host.run("(site / '7.jpg').unlink()")["output"]


@at_home
@USERS
@pytest.mark.parametrize("is_mounted", [False, True], ids=["layers", "a file system below"])
def test_a_file_that_is_only_opened_or_that_a_person_writes_meanwhile_is_not_written_by_tests(
    everybodys: Path, base: Path, user: int, is_mounted: bool
) -> None:
    """Such as a database that is locked but only read, or a log of the live site."""
    host = Host(base, everybodys, user)
    media, made, log = host.outer / "site" / "media", host.outer / "made", host.outer / ".env"
    if is_mounted:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"uid={user},gid={user},mode=755", MOUNTED, media], check=True)
    (host.outer / "waits").touch()
    host.give(user)
    script = f'until [ -e "{made}" ]; do sleep 0.01; done; echo more >> "{log}"; rm "{made}"'
    with subprocess.Popen(["sh", "-c", script]) as person:
        try:
            opens = "open(site / 'manage.py', 'r+').close(); (outer / 'logs/site.log').chmod(0o600)"
            found = host.run(f"{opens}; seen = (outer / '.env').stat().st_size")
        finally:
            person.kill()
    assert log.read_text() == "livemore\n"
    assert (found["way"], found["heard"]) == ("layers", []), found


@at_home
@USERS
def test_a_place_of_which_no_layer_can_be_made_after_all_is_read_only(everybodys: Path, base: Path, user: int) -> None:
    """Such as overlays above each other, of which the kernel lets nobody have three; the tests run all the same."""
    host = Host(base, everybodys, user)
    media, first = host.outer / "site" / "media", base / "first"
    shutil.copytree(media, base / "live")
    for lower, target in ((base / "live", first), (first, media)):
        upper, work = (base / f"{kind} of {target.name}" for kind in ("upper", "work"))
        for one in (upper, work, target):
            one.mkdir(exist_ok=True)
        os.chown(upper, user, user)
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "-o", options, MOUNTED, target], check=True)
    code = """(outer / 'logs/new').touch()
try:
    (site / 'media/new').touch()
except OSError as error:
    seen = str(error)"""
    assert "Read-only" in str(host.run(code, forced="layers")["said"])
    assert not (media / "new").exists()


@at_home
@USERS
def test_a_place_that_vanishes_once_it_is_planned_is_left_out(everybodys: Path, base: Path, user: int) -> None:
    """Such as a disk that is unmounted while tests run; its directory may go, too."""
    host, far = Host(base, everybodys, user), Path("/mnt/releaser-test-layers")
    media, disk, old = host.outer / "site" / "media", base / "disk", host.outer / "old"
    for place in (far, disk, old):
        place.mkdir(exist_ok=True)
    for place in (media, far, disk):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"uid={user},gid={user},mode=755", MOUNTED, place], check=True)
    (host.outer / "waits").touch()
    host.give(user)
    made = host.outer / "made"
    script = f'until [ -e "{made}" ]; do sleep 0.01; done; umount {far} {disk}; rmdir {far} {disk} "{old}"; rm "{made}"'
    with subprocess.Popen(["sh", "-c", script]) as removing:
        try:
            found = host.run(WRITES["a new log"] + f"; seen += str(os.path.exists('{far}'))", forced="layers")
        finally:
            removing.kill()
    assert found["said"] == "xFalse", found
    assert not [place for place in (far, disk, old) if place.exists()]


def test_places_are_no_deeper_than_they_have_to_be() -> None:
    places = list_places([Path(os.path.realpath(tempfile.gettempdir())).as_posix()])
    assert len(places) < 100
    assert not [one for one in places if one.startswith(("/proc", "/sys", "/run", "/dev/"))]
    assert not [one for one in places for other in places if one != other and one.startswith(f"{other}/")]
