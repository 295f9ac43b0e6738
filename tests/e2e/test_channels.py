"""Channels: signed pointers to bundles, which hosts follow by `update --from`, forward and back."""

import contextlib
import gc
import hashlib
import json
import os
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trustme

from releaser.bundles.places import open_place
from releaser.errors import PreflightError, ResolutionError
from releaser.system.temporary import PREFIX
from tests.e2e.scenes import eventually, in_background, steps
from tests.e2e.test_bundles import Built, state_of
from tests.extension.test_toys import with_toy
from tests.support.s3 import s3_server
from tests.support.serving import Quiet, handler_server, http_server, reply
from tests.support.sites import SampleSite, SiteFactory


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where channels lie: as it is named to publish, and to follow; and what programs need in their environment."""

    to: str
    at: str
    env: dict[str, str] = field(default_factory=dict)

    def __truediv__(self, name: str) -> str:
        return f"{self.at}/{name}"


class Published(Built):
    """A site that publishes its bundles on channels."""

    def channel(self, action: str, *words: str | Path, env: dict[str, str] | None = None, check: int = 0) -> Any:
        """Run a command about channels, and return what it answers; where it is refused, what it says."""
        if check:
            return self.site.releaser(f"channel {action}", "--sign", self.key, *words, env=env, check=check).stderr
        return self.site.json(f"channel {action}", "--sign", self.key, *words, env=env or {})

    def publish(self, number: int, place: Place, *words: str | Path, name: str = "production", check: int = 0) -> Any:
        file = self.bundles[number]
        return self.channel("publish", file, "--to", place.to, "--name", name, *words, env=place.env, check=check)


@pytest.fixture(scope="module")
def published(make_scene: SiteFactory, tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(make_scene, tmp_path_factory.mktemp("channels"), "1.1.0", "1.2.0", "1.3.0")


@pytest.fixture
def host(published: Published, tmp_path: Path) -> SampleSite:
    return published.before.copy(tmp_path / "host")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(to=str(tmp_path / "channels"), at=str(tmp_path / "channels"))


def follow(host: SampleSite, channel: str, *words: str, place: Place | None = None, check: int = 0) -> Any:
    return host.json("update", "--from", channel, *words, env=dict(place.env) if place else {}, check=check)


def see_that_nothing_is_left_out(host: SampleSite) -> None:
    status = host.json("status")
    assert (status["on_hold"], status["failed_candidates"], status["commits_on_hold"]) == ([], [], [])


@pytest.mark.spawns
def test_a_release_that_waits_goes_live_once_it_may(published: Published, host: SampleSite, place: Place) -> None:
    published.publish(0, place)
    door, words = host.outer / "door", ("update", "--from", place / "production", "--json")
    door.write_text("closed", encoding="utf-8")
    for _ in range(2):
        waits: dict[str, Any] = json.loads(with_toy(host, "toy_gate", *words).stdout)
        assert (waits["result"], waits["waits"]) == ("no-changes", waits["headline"])
    door.unlink()
    went: dict[str, Any] = json.loads(with_toy(host, "toy_gate", *words).stdout)
    assert (went["result"], host.live_version("alpha")) == ("updated", "1.1.0")
    assert not {"build", "test"} & {one["step"] for one in went["steps"]}


def test_hosts_follow_a_channel_and_the_next_look_downloads_nothing(
    published: Published, host: SampleSite, place: Place, tmp_path: Path
) -> None:
    late = host.copy(tmp_path / "late")
    told = published.publish(0, place, "--dry-run")
    assert "production would point to" in str(told["would"])
    assert not Path(place.to).exists()
    first = published.publish(0, place)
    assert [path.name for path in Path(place.to).glob("*.channel")] == ["production.channel"]
    channel = place / "production"
    assert "there is no channel" in follow(host, place / "nothing", check=3)["problems"][0]
    assert "would download" in str(follow(host, channel, "--dry-run")["would"])
    report = follow(host, channel)
    assert (report["result"], host.live_version("alpha")) == ("updated", "1.1.0")
    assert "builder@example.org" in str(report["steps"])
    report = follow(host, channel)
    assert (report["result"], report["headline"]) == ("no-changes", "nothing newer on production")
    assert "download" not in str(report["steps"])
    assert "nothing newer on production" in str(follow(host, channel, "--dry-run")["would"])
    assert host.releaser("update", "--from", channel, check=0).stdout == ""

    told = published.channel("publish", published.deltas[0], "--to", place.to, "--name", "production", check=3)
    assert "could not follow the channel" in told
    second = published.publish(1, place, "--delta", published.deltas[0])
    assert f"a delta from {published.releases[0]}" in str(follow(host, channel, "--dry-run")["would"])
    assert second["sequence"] > first["sequence"]
    report = follow(late, channel)  # which has not the base of the delta
    assert (late.live_version("alpha"), "the full bundle" in str(report["steps"])) == ("1.2.0", True)
    assert f"as no delta fits: this host does not have the bundle of {published.releases[0]}." in report["noted"]
    for one in Path(place.to).glob(f"{second['release']}-*"):  # it is the delta that is asked for
        if one.stat().st_size == published.bundles[1].stat().st_size:
            one.rename(one.with_name("aside"))
    report = follow(host, channel)
    assert (report["result"], host.live_version("alpha")) == ("updated", "1.2.0")
    assert "a delta from" in str(report["steps"])
    assert not (host.state_dir / "bundles" / "download").exists()
    seen = json.loads((host.state_dir / "channels.json").read_text(encoding="utf-8"))["channels"]
    assert [one["sequence"] for one in seen] == [second["sequence"]]


def test_going_back_is_moving_the_pointer_and_flips_to_a_release_that_is_still_there(
    published: Published, host: SampleSite, place: Place, tmp_path: Path
) -> None:
    to = ("--at", place.to)
    other = host.copy(tmp_path / "other")
    published.publish(0, place, name="staging")
    published.channel("promote", "staging", "production", *to)
    follow(host, place / "production")
    published.publish(1, place, name="staging")
    assert follow(host, place / "production")["result"] == "no-changes"
    promoted = published.channel("promote", "staging", "production", *to)
    for one in (host, other):
        assert follow(one, place / "production")["result"] == "updated"
        assert one.live_version("alpha") == "1.2.0"
    assert "older than" in published.publish(0, place, check=3)

    back = published.channel("rollback", "production", *to)
    assert back["sequence"] > promoted["sequence"]
    assert [one["action"] for one in back["moves"]] == ["rollback", "promote", "promote"]
    shown = published.site.json("channel show", "production", *to)
    assert (shown["moves"], shown["signer"]) == (back["moves"], "builder@example.org")
    assert "@" in shown["moves"][0]["by"]
    assert "rollback" in published.site.releaser("channel show", "production", *to, check=0).stdout
    pinged: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        pinged.append(request.path)
        reply(request, 200)

    with http_server(answer) as url:
        env = {"RELEASER_PING_URL": f"{url}/ping"}
        report = host.json("update", "--from", place / "production", env=env)
    assert pinged == ["/ping/start", "/ping"]
    assert (report["command"], report["result"], host.live_version("alpha")) == ("update", "updated", "1.1.0")
    assert "rolled back from" in report["headline"]
    assert host.json("status")["last_success"]["run_id"] == report["run_id"]
    assert "build" not in [one["step"] for one in report["steps"]]
    see_that_nothing_is_left_out(host)
    report = follow(other, place / "production")  # it never had that release
    assert (report["command"], report["result"], other.live_version("alpha")) == ("update", "updated", "1.1.0")
    for one in (host, other):
        assert follow(one, place / "production")["headline"] == "nothing newer on production"
        assert one.git("status", "--porcelain", "--untracked-files=no") == ""

    assert "has no record of an older release" in published.channel("rollback", "production", *to, check=9)
    published.publish(1, place)
    assert "build" not in steps(follow(host, place / "production"))  # which goes forward here
    assert host.live_version("alpha") == "1.2.0"
    published.channel("rollback", "production", *to)
    env = {"RELEASER_HEALTH_CHECK": "grep -q 1.2.0 code.py", "RELEASER_HEALTH_RETRIES": "0"}
    report = host.json("update", "--from", place / "production", env=env, check=6)
    assert (report["result"], host.live_version("alpha")) == ("rolled-back", "1.2.0")
    assert "on hold" not in report["advice"]
    see_that_nothing_is_left_out(host)
    published.publish(2, place)
    for one in (host, other):
        assert follow(one, place / "production")["result"] == "updated"
        assert one.live_version("alpha") == "1.3.0"
    assert host.lock_text() == other.lock_text()


def test_a_release_that_is_ahead_of_the_channel_or_was_left_here_stays_so_at_the_first_look(
    published: Published, host: SampleSite, place: Place
) -> None:
    """As of a host that goes first, to which somebody else brings the bundle before the channel points to it."""
    production = place / "production"
    published.publish(0, place)
    host.releaser("bundle install", published.bundles[1], check=0)
    assert "was installed here; to go back to" in str(follow(host, production, "--dry-run")["would"])
    module = next((host.path / ".venv").glob("lib/python3*/site-packages/alpha/__init__.py"))
    good = module.read_bytes()
    for is_edited in (False, True):
        report = follow(host, production)
        assert (report["result"], host.live_version("alpha")) == ("no-changes", "1.2.0")
        assert ("must be rebuilt" in str(report["problems"])) == is_edited
        published.publish(0, place)  # for another month
        module.write_bytes(good + b"# edited")
    module.write_bytes(good)
    published.publish(1, place)
    assert follow(host, production)["headline"].endswith("is live")
    host.releaser("rollback", check=0)
    report = follow(host, production)
    assert (report["result"], host.live_version("alpha")) == ("no-changes", "1.0.0")
    assert "is skipped: rolled back to" in report["headline"]
    assert follow(host, production, "--force")["result"] == "updated"
    assert host.live_version("alpha") == "1.2.0"


def test_what_failed_here_is_not_tried_again_until_the_pointer_moves_or_somebody_asks(
    published: Published, host: SampleSite, place: Place
) -> None:
    trusted = {"RELEASER_BUNDLE_SIGNERS": str(published.signers)}
    published.publish(0, place)
    follow(host, place / "production")
    published.publish(1, place)
    broken = {"RELEASER_HEALTH_CHECK": "grep -q 1.1.0 code.py", "RELEASER_HEALTH_RETRIES": "0", **trusted}
    host.write_dotenv(broken)
    report = follow(host, place / "production", check=6)
    assert (report["result"], host.live_version("alpha")) == ("rolled-back", "1.1.0")
    report = follow(host, place / "production")
    assert (report["result"], [one["step"] for one in report["steps"]]) == ("no-changes", ["channel"])
    assert "failed here before" in report["headline"]
    assert follow(host, place / "production", "--force", check=6)["result"] == "rolled-back"
    host.write_dotenv({**trusted, "RELEASER_TEST_COMMAND": "grep -q 1.1.0 code.py"})
    published.publish(2, place)
    assert follow(host, place / "production", check=5)["result"] == "refused"
    host.write_dotenv(trusted)
    assert follow(host, place / "production")["result"] == "no-changes"
    assert follow(host, place / "production", "--force")["result"] == "updated"
    assert host.live_version("alpha") == "1.3.0"


# Places


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A bucket of moto's server: read over TLS, and written directly, as the one in front of it takes no files."""
    with s3_server(tmp_path_factory.mktemp("s3")) as s3:
        s3.put("fleet")
        env = {name: value for name, value in s3.env.items() if name != "AWS_CA_BUNDLE"}
        yield Place(
            to="s3://fleet/shop", at="s3://fleet/shop", env={**env, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3.port}"}
        )


class Static(Quiet, SimpleHTTPRequestHandler):
    """A web server that has files, and takes some if `takes` is set."""

    takes = False
    knows_conditions = False

    def do_PUT(self) -> None:
        data, file = self.rfile.read(int(self.headers["Content-Length"])), Path(self.translate_path(self.path))
        is_there = self.headers["If-None-Match"] == "*" and file.exists()
        is_other = self.headers["If-Match"] not in (None, self._tag(file))
        status = 405 if not self.takes else 412 if self.knows_conditions and (is_there or is_other) else 204
        if status == 204:
            file.write_bytes(data)
        self.send_response(status)
        self.end_headers()

    def end_headers(self) -> None:
        if self.command == "GET" and self.knows_conditions:
            self.send_header("ETag", self._tag(Path(self.translate_path(self.path))))
        super().end_headers()

    @staticmethod
    def _tag(file: Path) -> str:
        return f'"{hashlib.sha256(file.read_bytes()).hexdigest()}"' if file.is_file() else '""'


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Place]:
    """A static web server, whose certificate is of an authority of its own, for a directory."""
    files, authority = tmp_path / "www", trustme.CA()
    files.mkdir()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with handler_server(partial(Static, directory=str(files)), tls=context) as url:
        yield Place(to=str(files), at=url, env={"SSL_CERT_FILE": str(tmp_path / "ca.pem")})


def test_a_channel_on_a_static_web_server_is_followed_over_tls_alone(
    published: Published, host: SampleSite, web: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.publish(0, web)
    told = follow(host, web / "production", check=4)["problems"][0]  # which does not know who issued the certificate
    assert "CERTIFICATE_VERIFY_FAILED" in told
    assert follow(host, web / "production", place=web)["result"] == "updated"
    assert "is not encrypted" in host.releaser("update", "--from", "http://example.org/x", check=2).stderr
    assert "~/.netrc" in host.releaser("update", "--from", "https://me:secret@example.org/x", check=2).stderr
    there = Place(to=web.at, at=web.at, env=web.env)
    told = published.publish(1, there, check=4)
    assert "the server does not accept files (HTTP 405)" in told
    assert "Publish to its directory on that host" in told
    assert follow(host, web / "production", place=web)["result"] == "no-changes"
    monkeypatch.setattr(Static, "takes", True)
    published.publish(1, there, "--delta", published.deltas[0])
    assert follow(host, web / "production", place=web)["result"] == "updated"
    assert host.live_version("alpha") == "1.2.0"


@pytest.mark.parametrize("kind", ["directory", "s3", "web", "web without conditions"])
def test_a_place_replaces_a_file_only_over_what_was_read_there(
    kind: str, place: Place, bucket: Place, web: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {"directory": place, "s3": bucket}.get(kind, Place(to=web.at, at=web.at, env=web.env))
    for name, value in where.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Static, "takes", True)
    monkeypatch.setattr(Static, "knows_conditions", kind == "web")
    found, file = open_place(where.to, os.environ), tmp_path / "file"
    file.write_bytes(b"bundle")
    found.put("a.bundle", file)
    assert found.read("a.channel", 100) is None
    found.replace("a.channel", b"first", None)
    first = found.read("a.channel", 100)
    assert first is not None
    assert first.data == b"first"
    found.replace("a.channel", b"second", first)
    for before in (None, first):
        with pytest.raises(PreflightError, match="was changed by another publisher at the same time"):
            found.replace("a.channel", b"third", before)
    second = found.read("a.channel", 3)
    assert second is not None
    assert second.data == b"seco"  # one byte more than asked for tells that there is more

    target, digest = tmp_path / "target", hashlib.sha256(b"bundle").hexdigest()
    for sha256, size in ((digest, 5), (digest, 7), ("0" * 64, 6)):
        with pytest.raises(ResolutionError, match=r"the channel says|size and hash in the channel"):
            found.fetch("a.bundle", target, sha256=sha256, size=size)
        assert not target.exists()
    found.fetch("a.bundle", target, sha256=digest, size=6)
    assert target.read_bytes() == b"bundle"
    with pytest.raises(ResolutionError, match=r"(?i)no such file|not found|NoSuchKey"):
        found.fetch("missing.bundle", target, sha256=digest, size=6)
    gc.collect()  # a connection that is still open then is a warning, and an error
    if kind == "s3":
        with pytest.raises(ResolutionError, match="NoSuchBucket"):
            open_place("s3://nowhere/shop", os.environ).read("a.channel", 100)


# What others could do


def test_what_somebody_has_tampered_with_is_refused_and_nothing_has_changed(
    published: Published, host: SampleSite, place: Place
) -> None:
    """tests/pipelines/test_tampered_channels.py has every way to tamper with a channel."""
    published.publish(0, place)
    file = Path(place.to) / "production.channel"
    earlier = file.read_bytes()
    bundle = Path(place.to) / published.publish(1, place)["moves"][0]["bundle"]["path"]
    pointer, good = file.read_bytes(), bundle.read_bytes()
    before = state_of(host)
    bundle.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert "do not match the size and hash" in follow(host, place / "production", check=4)["problems"][0]
    assert state_of(host) == before
    seen = (host.state_dir / "channels.json").read_bytes()
    file.write_bytes(earlier)
    assert "is older than before: its sequence is" in follow(host, place / "production", check=3)["problems"][0]
    assert (state_of(host), (host.state_dir / "channels.json").read_bytes()) == (before, seen)
    file.write_bytes(pointer)
    bundle.write_bytes(good)
    assert follow(host, place / "production")["result"] == "updated"


def test_a_publisher_builds_on_nothing_that_is_not_valid_and_does_not_overwrite_another(
    published: Published, place: Place, tmp_path: Path
) -> None:
    published.publish(0, place)
    file = Path(place.to) / "production.channel"
    good = file.read_bytes()
    file.write_bytes(b"{}")
    assert "does not consist of" in published.publish(1, place, check=3)
    file.write_bytes(good)
    (tmp_path / "nobody").touch()
    none = {"RELEASER_BUNDLE_SIGNERS": str(tmp_path / "nobody")}
    words = ("--sign", published.key, "--to", place.to, "--name", "production", published.bundles[1])
    assert "no signer in" in published.site.releaser("channel publish", *words, env=none, check=3).stderr
    assert "is not a valid channel name" in published.publish(1, place, name="../x", check=2)
    assert "is not a delta of" in published.publish(0, place, "--delta", published.deltas[0], check=3)
    with_locked = subprocess.Popen(["flock", "--no-fork", place.to, "sleep", "60"])
    with contextlib.ExitStack() as stack:
        stack.callback(with_locked.communicate)
        stack.callback(with_locked.kill)
        eventually(lambda: locks_of(with_locked.pid), "the lock of the other")
        run = stack.enter_context(in_background(published.site, "channel publish", *map(str, words)))
        eventually(lambda: "->" in locks_of(run.pid), "its wait for the lock")  # having read what there was
        file.write_bytes(good.replace(b"\n", b"\n\n", 1))
        with_locked.kill()
        assert run.wait(timeout=60) == 3
    assert file.read_bytes() != good
    (Path(place.to) / f".releaser.{PREFIX}{'a' * 8}").mkdir(mode=0o700)  # as a killed one may leave it
    file.write_bytes(good)
    published.publish(1, place)
    assert [one.name for one in Path(place.to).iterdir() if one.name.startswith(".")] == []


def locks_of(pid: int) -> str:
    """Return what the kernel says of the locks of a process; an arrow stands for one that it waits for."""
    lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    return "".join(line for line in lines if f" {pid} " in line)


def test_a_rollback_goes_back_before_the_commits_that_a_bundle_brought(published: Published, host: SampleSite) -> None:
    """Nobody need push them, whether the remote can be asked or not; a person's own commit still is kept from loss."""
    host.git("remote", "add", "origin", published.site.remote)
    host.git("update-ref", "refs/remotes/origin/main", "HEAD")
    before, live = host.head(), host.live_id()
    host.releaser("bundle install", "--unsigned", published.bundles[0], check=0)
    brought = host.head()
    assert (host.live_version("alpha"), (host.path / "code.py").exists()) == ("1.1.0", True)
    mine = host.commit("Mine", {"mine.txt": ""})
    for is_gone in (False, True):
        host.git("remote", "set-url", "origin", host.outer / "gone.git" if is_gone else published.site.remote)
        refused = host.releaser("rollback", check=3).stderr
        assert f"1 commit is only in this checkout, the newest of them {mine[:12]} (Mine)" in refused
        assert ("git remote origin cannot be read" in refused) == is_gone
    host.git("reset", "--quiet", "--keep", brought)
    host.releaser("rollback", check=0)
    assert (host.head(), host.live_id(), host.live_version("alpha")) == (before, live, "1.0.0")
    assert not (host.path / "code.py").exists()
