"""What 1,000 hosts ask of the index, of where bundles lie, and of the git remote: measured on one host, and scaled.

A project with some sixty real packages is updated from what they were on --day: by `releaser update` and by
`releaser update --from`, with an index, a git remote and an S3 on the loopback that count. Asks the index at --index,
and writes the table of docs/project/fleet-figures.md.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import random
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from made import fill

from releaser.system.words import plural, size
from tests.support.commands import clean_environment, console_script, run, uv_executable
from tests.support.s3 import s3_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PAGE = Path(__file__).resolve().parents[1] / "docs" / "project" / "fleet-figures.md"
HOSTS = 1000
PACKAGES = ["wagtail", "celery[redis]", "djangorestframework", "django-allauth", "sentry-sdk", "boto3", "gunicorn"]
PACKAGES += ["psycopg[binary]", "reportlab", "pandas", "django-storages", "django-debug-toolbar", "httpx", "pytest"]
DOTENV = "ADMINS_JSON='[]'\n"
SPREADS = {"all at once": 1, "within 10 minutes": 600, "within the hour": 3600}
JSON = "application/vnd.pypi.simple.v1+json"


@dataclass
class Tally:
    """What was asked of a server, and sent to who asked."""

    requests: int = 0
    sent: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, kind: str, sent: int) -> None:
        with self._lock:
            self.requests += 1
            self.sent += sent
            self.kinds[kind] += 1


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one host asks of one server in one night."""

    what: str
    requests: int
    sent: int
    seconds: float


class Index:
    """The index at an address, as it is on the day, kept in a directory, and counted."""

    def __init__(self, upstream: str, kept: Path) -> None:
        self.upstream, self.kept, self.tally = upstream.rstrip("/") + "/", kept, Tally()
        self._files: dict[str, str] = {}
        kept.mkdir(parents=True, exist_ok=True)

    def page(self, name: str, base: str) -> bytes:
        """Return the page of a package, whose files are here as well."""
        found = json.loads(self._get(urljoin(self.upstream, f"{name}/"), JSON))
        for file in found["files"]:
            address = urljoin(urljoin(self.upstream, f"{name}/"), file["url"])
            path = f"/files/{sha256(address.encode()).hexdigest()[:20]}/{file['filename']}"
            self._files[path], file["url"] = address, base + path
            file["core-metadata"] = file["filename"].endswith(".whl")  # which a mirror may leave out
        return json.dumps(found).encode()

    def file(self, path: str) -> bytes:
        """Return a file, or the metadata of a wheel."""
        whole = self._get(self._files[path.removesuffix(".metadata")], "*/*")
        if not path.endswith(".metadata"):
            return whole
        with zipfile.ZipFile(io.BytesIO(whole)) as wheel:
            return next(
                wheel.read(name) for name in wheel.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)
            )

    def _get(self, address: str, accept: str) -> bytes:
        place = self.kept / sha256(address.encode()).hexdigest()
        if not place.exists():
            question = urllib.request.Request(address, headers={"Accept": accept})
            with urllib.request.urlopen(question, timeout=120) as answer:
                fresh = place.with_suffix(f".{threading.get_ident()}")
                fresh.write_bytes(answer.read())
                fresh.rename(place)
        return place.read_bytes()

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        index = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                base = f"http://{self.headers['Host']}"
                if self.path.startswith("/simple/"):
                    body, kind = index.page(self.path.split("/")[2], base), "page"
                else:
                    body = index.file(self.path)
                    kind = "metadata" if self.path.endswith(".metadata") else "file"
                tag = f'"{sha256(body).hexdigest()[:16]}"'
                if self.headers.get("If-None-Match") == tag:
                    self._answer(304, tag, "not modified", b"")
                elif kind == "page" and "gzip" in self.headers.get("Accept-Encoding", ""):
                    self._answer(200, tag, kind, gzip.compress(body, 6), {"Content-Encoding": "gzip"})
                else:
                    self._answer(200, tag, kind, body)

            def _answer(
                self, status: int, tag: str, kind: str, body: bytes, extra: Mapping[str, str] | None = None
            ) -> None:
                self.send_response(status)
                # As long as an index that many use lets its pages be kept; `no-cache` stands for a later night.
                keep = "no-cache" if self.path.startswith("/simple/") else "max-age=365000000, immutable"
                media = JSON if self.path.startswith("/simple/") else "application/octet-stream"
                headers = {"ETag": tag, "Cache-Control": keep, "Content-Type": media, **(extra or {})}
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                index.tally.count(kind, len(body))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}/simple"
            server.shutdown()


class Relay:
    """Passes connections on to a port, and counts them and what comes back."""

    def __init__(self, to: int) -> None:
        self.to, self.tally = to, Tally()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            one, _ = self._server.accept()
            threading.Thread(target=self._pass, args=(one,), daemon=True).start()

    def _pass(self, one: socket.socket) -> None:
        with one, socket.create_connection(("127.0.0.1", self.to)) as other:
            thread = threading.Thread(target=self._pump, args=(one, other), daemon=True)
            thread.start()
            self.tally.count("connection", self._pump(other, one))
            thread.join()

    def _pump(self, source: socket.socket, target: socket.socket) -> int:
        passed = 0
        with contextlib.suppress(OSError):
            while part := source.recv(65536):
                target.sendall(part)
                passed += len(part)
            target.shutdown(socket.SHUT_WR)
        return passed


@dataclass(frozen=True, kw_only=True)
class Site:
    """A project that some sixty packages belong to, and what counts what it asks."""

    path: Path
    env: Mapping[str, str]
    index: Index
    git: Relay

    def do(self, *words: str | Path) -> str:
        return run(words, cwd=self.path, env=self.env, check=0, timeout=1800).stdout

    def releaser(self, command: str, *words: str | Path) -> str:
        return self.do(console_script(), *command.split(), *words)

    def update(self, what: str) -> list[Cost]:
        """Update, and return what the index and the git remote were asked."""
        self.index.tally, self.git.tally = Tally(), Tally()
        began = time.monotonic()
        self.releaser("update")
        seconds = time.monotonic() - began
        print(f"{what}: {seconds:.0f} s, {dict(self.index.tally.kinds)}", file=sys.stderr)
        return [
            Cost(what=f"{name}, {what}", requests=tally.requests, sent=tally.sent, seconds=seconds)
            for name, tally in (("index", self.index.tally), ("git remote", self.git.tally))
        ]


@contextlib.contextmanager
def make_site(place: Path, upstream: str, day: str) -> Iterator[Site]:
    """Make the project as it was on a day, with a remote that git's own server offers."""
    env = clean_environment(place / "home", place / "cache") | {"RELEASER_ENVIRONMENT": "local"}
    path, remote = place / "srv" / "site", place / "git" / "site.git"
    remote.mkdir(parents=True)
    index = Index(upstream, place.parent / f"{place.name}-index")
    with socket.create_server(("127.0.0.1", 0)) as finder:
        port = finder.getsockname()[1]
    words = ["git", "daemon", f"--base-path={remote.parent}", "--export-all", "--enable=receive-pack", "--reuseaddr"]
    with index.serving() as address, subprocess.Popen([*words, "--listen=127.0.0.1", f"--port={port}"]) as daemon:
        try:
            site = Site(path=path, env=env, index=index, git=Relay(port))
            path.mkdir(parents=True)
            settings = {"mail_from": "releaser@example.org", "sendmail": "none", "test_command": "true"}
            settings |= {"vulnerability_service": "none", "min_age": "0"}
            needs = json.dumps(PACKAGES)
            lines = ["[project]", 'name = "site"', 'version = "1"', 'requires-python = ">=3.11"']
            lines += [f"dependencies = {needs}", "[dependency-groups]", "local = []", "[tool.uv]"]
            lines += [
                "package = false",
                f'exclude-newer = "{day}"',
                f'index = [{{ url = "{address}", default = true }}]',
            ]
            lines += ["[tool.releaser]", *(f'{name} = "{value}"' for name, value in settings.items())]
            (path / "pyproject.toml").write_text("\n".join([*lines, ""]), encoding="utf-8")
            (path / ".gitignore").write_text(".venv\n", encoding="utf-8")
            (path.parent / ".env").write_text(DOTENV, encoding="utf-8")
            site.do("git", "init", "--quiet")
            site.do("git", "init", "--quiet", "--bare", remote)
            site.do(uv_executable(), "lock", "--quiet")
            for name in ("name", "email"):
                site.do("git", "config", f"user.{name}", "ada@example.org")
            site.do("git", "remote", "add", "origin", f"git://127.0.0.1:{site.git.port}/site.git")
            commit(site, "Begin")
            yield site
        finally:
            daemon.terminate()


def commit(site: Site, message: str) -> None:
    site.do("git", "add", "--all")
    site.do("git", "commit", "--quiet", "--message", message)
    site.do("git", "push", "--quiet", "--set-upstream", "origin", "main")


def measure(place: Path, upstream: str, day: str) -> list[Cost]:
    """Return what one host costs in each way."""
    costs: list[Cost] = []
    with make_site(place, upstream, day) as site:
        site.do(uv_executable(), "sync", "--quiet", "--frozen", "--group", "local")
        site.releaser("init")
        site.releaser("rebuild")
        old, new, delta = (place / f"{name}.bundle" for name in ("old", "new", "delta"))
        site.releaser("bundle create", "--no-installer", "-o", old)
        text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
        (site.path / "pyproject.toml").write_text(re.sub("exclude-newer.*\n", "", text), encoding="utf-8")
        commit(site, "Take what is new")
        costs += site.update("news")
        costs += site.update("no news")
        key, signers = make_key(site, place)
        site.releaser("bundle create", "--no-installer", "--sign", key, "-o", new)
        site.releaser("bundle create", "--no-installer", "--sign", key, "--base", old, "-o", delta)
        print(f"{site.releaser('packages').count(chr(10))} packages", file=sys.stderr)
        costs += follow(site, place, key, signers, old=old, new=new, delta=delta)
    return costs


def make_key(site: Site, place: Path) -> tuple[Path, Path]:
    """Make a key, and a file that lets it sign bundles and channels."""
    key, signers = place / "key", place / "signers"
    site.do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "build", "-f", key)
    public = key.with_suffix(".pub").read_text(encoding="utf-8")
    signers.write_text(f'build namespaces="releaser-bundle,releaser-channel" {public}', encoding="utf-8")
    return key, signers


def follow(site: Site, place: Path, key: Path, signers: Path, *, old: Path, new: Path, delta: Path) -> list[Cost]:
    """Let hosts that have an old bundle follow channels, and return what the bucket was asked."""
    costs: list[Cost] = []
    with s3_server(place) as s3:
        s3.put("bucket")
        plain = {**s3.env, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3.port}"}  # past what counts
        env = {**site.env, "RELEASER_BUNDLE_SIGNERS": str(signers)}
        for kind, more in (("bundles", ()), ("deltas", ("--delta", delta))):
            host = place / kind / "site"
            host.parent.mkdir()
            (host.parent / ".env").write_text(DOTENV, encoding="utf-8")
            words: list[str | Path] = ["bundle", "install", "--unsigned", "--into", host, old]
            run([console_script(), *words], cwd=place, env=env, check=0, timeout=1800)
            words = ["channel", "publish", new, *more, "--to", "s3://bucket", "--name", kind, "--sign", key]
            run([console_script(), *words], cwd=site.path, env=env | plain, check=0)
            for news in (f"news by {kind}", "no news")[: 1 if more else 2]:
                s3.asked.clear()
                s3.sent = 0
                words = ["update", "--project", host, "--from", f"s3://bucket/{kind}"]
                run([console_script(), *words], cwd=place, env=env | s3.env, check=0, timeout=1800)
                requests, sent = len(s3.asked), s3.sent
                costs.append(Cost(what=f"bucket, {news}", requests=requests, sent=sent, seconds=seconds_of(sent)))
    return costs


def seconds_of(sent: int) -> float:
    """Return how long a host with 100 Mbit/s downloads."""
    return max(1.0, sent * 8 / 100e6)


def peaks(cost: Cost, spread: int) -> tuple[int, float]:
    """Return the most requests a second, and the most Mbit/s, if each host begins at random within the spread."""
    chosen = random.Random(1)  # noqa: S311 - a simulation
    seconds = max(1, round(cost.seconds))
    asked = [0.0] * (spread + seconds + 1)
    for _ in range(HOSTS):
        began = chosen.randrange(spread)
        for second in range(began, began + seconds):
            asked[second] += 1 / seconds
    most = max(asked)
    return round(most * cost.requests), most * cost.sent * 8 / 1e6


def table(costs: list[Cost]) -> str:
    """Return the table of the documentation."""
    first, *others = SPREADS
    rows = [["who is asked", "a host", f"{HOSTS:,} hosts", f"most in a second: {first}", *others]]
    rows.append(["---"] * len(rows[0]))
    for cost in costs:
        row = [cost.what, f"{plural(cost.requests, 'request')}, {size(cost.sent)}"]
        row.append(f"{cost.requests * HOSTS:,}, {size(cost.sent * HOSTS)}")
        found = (peaks(cost, spread) for spread in SPREADS.values())
        row += [f"{asked:,}, {rate:,.0f} Mbit/s" if rate >= 1 else f"{asked:,}" for asked, rate in found]
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("place", type=Path, help="a directory that is not there yet")
    parser.add_argument("--index", required=True, help="the address of an index with the simple API as JSON")
    parser.add_argument("--day", required=True, help="what the packages were on this day is what is updated")
    args = parser.parse_args()
    args.place.mkdir()
    fill(PAGE, {"load": table(measure(args.place.absolute(), args.index, args.day))})


if __name__ == "__main__":
    main()
