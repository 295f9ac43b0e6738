"""Only the owner of a site reads its files and runs its code; root becomes that user."""

import contextlib
import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.attacks.people import MEMBER, OWNER, STRANGER, TEAM, People, a_site
from tests.e2e.test_group_use import base_python, script_of
from tests.support.commands import beside
from tests.support.guards import require
from tests.support.sites import SampleSite
from tests.support.templates import Templates

ALL = (["list"], ["list", "--json"], ["status"], ["history"], ["check"], ["outdated"], ["verify"], ["update"],
       ["update", "--dry-run"], ["rollback"], ["rebuild"], ["prune"], ["run", "--", "true"], ["test-mail"])  # fmt: skip


def marks(place: Path) -> str:
    return place.read_text(encoding="utf-8") if place.exists() else ""


def a_trap(place: Path, mark: Path, *, notes: str = "id -u") -> Path:
    """Make a program that writes down who has started it."""
    place.unlink(missing_ok=True)
    place.write_text(f"#!/bin/sh\n{notes} >> {mark}\nexit 1\n", encoding="utf-8")
    place.chmod(0o755)
    return place


@pytest.fixture
def mark(people: People) -> Path:
    """A file that everybody may write."""
    path = people.base / "mark"
    path.write_text("", encoding="utf-8")
    path.chmod(0o666)
    return path


def run_words(site: SampleSite, script: str) -> list[str]:
    """Return the words that run a shell script as the owner."""
    return [base_python(), str(script_of(site)), "run", "--project", str(site.path), "--", "sh", "-c", script]


@pytest.mark.spread(5)
@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_a_stranger_is_refused_and_runs_nothing(
    people: People, owned: SampleSite, mark: Path, words: list[str]
) -> None:
    trap = a_trap(owned.outer / "uv", mark)
    env = {"RELEASER_UV": str(trap), "RELEASER_SENDMAIL": str(trap)}
    finished = people.by(STRANGER, owned, *words, env=env, check=3)
    assert finished.stderr.count("releaser") <= 8, "one problem"
    assert f"{owned.path} belongs to another user ({OWNER}, uid {people.of(OWNER).pw_uid}; this is" in finished.stderr
    assert f"sudo -u {OWNER} releaser {words[0]}" in finished.stderr
    assert marks(mark) == ""


def test_root_becomes_the_owner_before_it_runs_anything_of_the_site(
    people: People, owned: SampleSite, mark: Path
) -> None:
    trap, secret = a_trap(owned.outer / "uv", mark), {"AWS_SECRET_ACCESS_KEY": "five55", "SSH_AUTH_SOCK": "/nowhere"}
    people.by("root", owned, "check", env={"RELEASER_UV": str(trap), **secret}, check=3)
    owner = people.of(OWNER)
    assert set(marks(mark).split()) == {str(owner.pw_uid)}
    script = "id -u; id -g; id -G; echo $HOME $USER $LOGNAME $AWS_SECRET_ACCESS_KEY $SSH_AUTH_SOCK $RELEASER_KEEP"
    script += "; exit 7"
    finished = people.by("root", owned, "run", "--", "sh", "-c", script, env={**secret, "RELEASER_KEEP": "3"}, check=7)
    groups = " ".join(map(str, sorted(os.getgrouplist(OWNER, owner.pw_gid))))
    user, group, found, variables = finished.stdout.splitlines()
    assert (user, group) == (str(owner.pw_uid), str(owner.pw_gid))
    assert " ".join(sorted(found.split(), key=int)) == groups
    assert variables == f"{owner.pw_dir} {OWNER} {OWNER} 3"


def test_root_updates_as_the_owner(people: People, owned: SampleSite) -> None:
    owned.publish("alpha", "1.2.0")
    env = {"UV_CACHE_DIR": str(people.base / "of root" / "cache")}
    (people.base / "of root").mkdir(mode=0o700)
    assert "updated to" in people.by("root", owned, "update", "-v", env=env, check=0).stderr
    paths = [*owned.path.rglob("*"), *owned.state_dir.rglob("*")]
    found = [path for path in paths if path.lstat().st_uid != people.of(OWNER).pw_uid]
    assert found == []
    people.by(OWNER, owned, "rollback", check=0)


@pytest.fixture(params=["a program for each", "a crew"])
def many(people: People, owned: SampleSite, request: pytest.FixtureRequest) -> list[str | Path]:
    """The words that check the site as one of many, with a uv that can be a trap."""
    file = people.base / "sites.toml"
    settings = f'{{ uv = "{owned.outer / "uv"}" }}'
    text = f'[[site]]\npath = "{owned.path}"\nsettings = {settings}\n'
    if request.param == "a crew":
        other = people.base / OWNER / "other"
        other.mkdir(exist_ok=True)
        (other / "pyproject.toml").touch()
        for place in (other, other / "pyproject.toml"):
            os.chown(place, people.of(OWNER).pw_uid, -1)
        text += f'[[site]]\npath = "{other}"\n'
    file.write_text(text, encoding="utf-8")
    return [base_python(), script_of(owned), "check", "--sites", file]


def test_root_works_on_each_of_many_sites_as_its_owner(
    people: People, owned: SampleSite, mark: Path, many: list[str | Path]
) -> None:
    a_trap(owned.outer / "uv", mark)
    env = people.environment("root", owned)
    people.run_as("root", *many, env=env, check=3)
    assert {*marks(mark).split()} == {str(people.of(OWNER).pw_uid)}
    os.chown(many[-1], people.of(STRANGER).pw_uid, -1)
    assert f"{many[-1]} belongs to uid" in people.run_as("root", *many, env=env, check=3).stderr
    os.chown(many[-1], 0, -1)


def test_secrets_of_root_reach_no_owner_of_many_sites(
    people: People, owned: SampleSite, mark: Path, many: list[str | Path]
) -> None:
    """They are for the summary: whatever runs as the owner could read them in `/proc`."""
    secrets = {
        "RELEASER_SMTP_PASSWORD": "hunter22", "RELEASER_SMTP_USER": "root-mailer", "RELEASER_NOTIFY": "json://n/t0ken",
        "RELEASER_WEBHOOK": "https://w/t0ken", "RELEASER_WEBHOOK_SECRET": "hunter23",
        "RELEASER_PING_URL": "https://p/t0ken", "UV_INDEX_X_PASSWORD": "hunter24",
        "RELEASER_VULNERABILITY_SERVICE": "https://ann:hunter25@osv.example.org/", "RELEASER_OTHER_TOKEN": "hunter26",
        "AWS_SECRET_ACCESS_KEY": "hunter27", "SSH_AUTH_SOCK": "/nowhere", "CREDENTIALS_DIRECTORY": "/run/credentials/x",
    }  # fmt: skip
    others = {"RELEASER_SMTP_HOST": "smtp.example.org", "RELEASER_SMTP_PORT": "2525", "RELEASER_KEEP": "3"}
    a_trap(owned.outer / "uv", mark, notes="tr '\\0' '\\n' < /proc/$PPID/environ")
    people.run_as("root", *many, env={**people.environment("root", owned), **secrets, **others}, check=3)
    seen = dict(line.partition("=")[::2] for line in marks(mark).splitlines())
    assert seen["USER"] == OWNER
    assert {name: seen.get(name) for name in others} == others
    assert seen.keys() & secrets.keys() == set()


def test_open_files_and_the_terminal_of_root_are_not_passed_on(people: People, owned: SampleSite) -> None:
    secret = people.base / "secret"
    secret.write_text("", encoding="utf-8")
    secret.chmod(0o600)
    script = 'readlink /proc/self/fd/* ; cut -d" " -f6,7 /proc/$$/stat; echo pid $$'
    with secret.open("w", encoding="utf-8") as file:
        said = subprocess.check_output(
            run_words(owned, script), env=people.environment("root", owned), pass_fds=[file.fileno()], text=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    assert str(secret) not in said
    session, terminal = said.splitlines()[-2].split()
    assert (int(session) != os.getsid(0), terminal) == (True, "0")


def test_signals_and_standard_input_get_through(people: People, owned: SampleSite) -> None:
    script = "trap 'echo ended; exit 5' TERM; read line; echo got $line; while :; do sleep 0.1; done"
    with beside(
        run_words(owned, script), cwd=people.base, env=people.environment("root", owned), stdin=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("word\n")
        process.stdin.flush()
        assert process.stdout.readline() == "got word\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "ended\n"
        assert process.wait(timeout=20) == 5


def test_a_releaser_that_the_owner_cannot_start_is_reported(people: People, owned: SampleSite) -> None:
    finished = owned.releaser("status", env={"PYTHONPATH": None})
    is_open = Path("/root").stat().st_mode & stat.S_IXOTH or finished.returncode == 0
    require(not is_open, "the releaser of these tests is open to everybody")
    assert finished.returncode == 3
    assert "root cannot continue as that user: Permission denied" in finished.stderr
    assert "install releaser in a directory that all users can read" in finished.stderr


@pytest.mark.parametrize("name", [".env", "state", "journal.json", "manifest.json", "mail", "environment_file"])
def test_a_file_of_another_user_is_not_trusted(people: People, owned: SampleSite, mark: Path, name: str) -> None:
    places = {
        ".env": owned.outer / ".env",
        "state": owned.state_dir,
        "manifest.json": owned.state_dir / "releases" / owned.live_id() / "manifest.json",
        "mail": owned.state_dir / "outbox" / "new" / "20260101T000000Z-1.0.vm",
        "environment_file": people.base / "variables",
    }
    place, owner, stranger = places.get(name, owned.state_dir / name), people.of(OWNER), people.of(STRANGER)
    env = {"RELEASER_UV": str(a_trap(owned.outer / "uv", mark))}
    if name == "environment_file":
        env["RELEASER_ENVIRONMENT_FILE"] = str(place)
    if made := not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        for directory in (place.parent, place.parent.parent):
            os.chown(directory, *((owner.pw_uid, owner.pw_gid) if owned.outer in directory.parents else (0, 0)))
        place.write_text("X-Releaser-Queue: smtp\n\n", encoding="utf-8")
    os.chown(place, stranger.pw_uid, -1)
    try:
        for user, command in ((OWNER, "status"), (OWNER, "update"), ("root", "list"), ("root", "rollback")):
            if (command, name) != ("list", "environment_file"):  # which `list` does not read
                finished = people.by(user, owned, command, env=env, check=3)
                assert f"{place} belongs to {STRANGER}, uid {stranger.pw_uid}, but {owned.path} to" in finished.stderr
    finally:
        os.chown(place, owner.pw_uid, -1)
        if made:
            place.unlink()
    assert marks(mark) == ""
    people.by(OWNER, owned, "list", check=0)


def test_a_dotenv_that_a_stranger_has_linked_is_not_read(people: People, owned: SampleSite) -> None:
    place = owned.outer / ".env"
    text = place.read_text(encoding="utf-8")
    for leads_to in ("pyproject.toml", "nowhere"):
        place.unlink()
        place.symlink_to(owned.path / leads_to)
        os.chown(place, people.of(STRANGER).pw_uid, -1, follow_symlinks=False)
        finished = people.by(OWNER, owned, "status", check=3)
        assert f"{place} belongs to {STRANGER}" in finished.stderr
    place.unlink()
    place.write_text(text, encoding="utf-8")
    os.chown(place, people.of(OWNER).pw_uid, people.of(OWNER).pw_gid)


def test_members_of_the_group_that_the_owner_permits_work_on_a_site_and_no_other_user(
    people: People, templates: Templates, everybodys: Path
) -> None:
    site = a_site(people, templates, everybodys, "shared", group=TEAM)
    for words in (["list"], ["status"], ["history"], ["rollback"], ["list"]):
        people.by(MEMBER, site, *words, check=0)
    people.by(OWNER, site, "list", check=0)
    people.by("root", site, "list", check=0)
    people.by(STRANGER, site, "list", check=3)
    site.path.chmod(0o755)  # the owner takes it back
    people.by(MEMBER, site, "list", check=3)
    finished = people.by(OWNER, site, "list", check=3)  # by now, the member is a stranger, too
    assert f"belongs to {MEMBER}" in finished.stderr
    site.path.chmod(0o2775)
    site.state_dir.chmod(0o2750)
    finished = people.by(MEMBER, site, "list", check=3)
    assert f"{site.state_dir} is not open to the group" in finished.stderr


def test_an_owner_unknown_to_the_user_namespace_is_reported(people: People, owned: SampleSite) -> None:
    words: list[str | Path] = [base_python(), script_of(owned), "status", "--project", owned.path]
    env = people.environment("root", owned)
    finished = people.run_as("root", "unshare", "--user", "--map-root-user", *words, env=env)
    require("unshare failed" not in finished.stderr, "there are no user namespaces")
    assert finished.returncode == 3, finished
    assert "belongs to a user who is unknown in this container (user namespace)" in finished.stderr


def test_root_updates_as_an_owner_without_an_entry_in_the_user_database(
    people: People, templates: Templates, everybodys: Path
) -> None:
    site = a_site(people, templates, everybodys, "mounted")
    user = 54321
    for place in (site.outer, site.remote):
        subprocess.check_call(["chown", "-hR", f"{user}:{user}", place])
    site.publish("alpha", "1.2.0")
    environment = people.environment("root", site)
    for name in ("cache", "nobodys"):
        (people.base / name).mkdir(mode=0o700)
    os.chown(people.base / "cache", user, user)
    script = "echo $HOME $UV_CACHE_DIR $TMPDIR; echo groups: $(id -G)"
    for cache, said in (("cache", f"/ {people.base}/cache\n"), ("nobodys", "/ /tmp/releaser-tmp-")):
        env = {**environment, "UV_CACHE_DIR": str(people.base / cache), "TMPDIR": "/tmp"}
        finished = people.by("root", site, "run", "--", "sh", "-c", script, env=env, check=0)
        assert finished.stdout.startswith(said.replace("\n", " /tmp"))
        assert finished.stdout.endswith(f"\ngroups: {user}\n")
        left = []
        for place in Path("/tmp").glob("releaser-tmp-*"):
            with contextlib.suppress(FileNotFoundError):  # other tests delete theirs meanwhile
                left += [place] if place.lstat().st_uid == user else []
        assert left == []
    env = {"UV_CACHE_DIR": str(people.base / "nobodys" / "none")}
    assert "updated to" in people.by("root", site, "update", "-v", env=env, check=0).stderr
    for directory, _, _ in os.walk(site.state_dir):
        os.chown(directory, 0, -1)
    finished = people.by("root", site, "update", check=3)
    assert f"releaser ran here as root: run `chown -hR {user} {site.state_dir}` as root" in finished.stderr
