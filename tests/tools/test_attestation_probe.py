"""What is asked of indexes about attestations, and how it is verified: by the real libraries."""

import base64
import contextlib
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import time
import warnings
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from releaser.tools import attestation_probe
from tests.support.commands import clean_environment, run
from tests.support.serving import begin_reply, http_server, reply
from tests.support.sigstore import Sigstore

# Nothing but the loopback can be reached, so that the trust root of Sigstore cannot be fetched.
ALONE = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
OWN = {"kind": "GitHub", "repository": "example/alpha", "workflow": "publish.yml"}


class Probe:
    """Files of a package that an index has, each with what it answers when it is asked for the provenance."""

    def __init__(self, place: Path, url: str) -> None:
        self.place = place
        self.url = url
        self.answers: dict[str, Any] = {}
        self.pages: dict[str, bytes] = {}
        self.questions: list[list[str]] = []

    def add(self, name: str, provenance: Any = None, *, content: bytes = b"", package: str = "alpha") -> Path:
        """Offer a file; without `provenance` none is named, an exception stands for status 503."""
        file = self.place / name
        file.write_bytes(content or name.encode())
        if provenance is not None:
            self.answers[name] = provenance
        self.questions.append([f"{self.url}/simple", package, name, hashlib.sha256(file.read_bytes()).hexdigest()])
        return file

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """Answer as an index."""
        kind, _, name = request.path.strip("/").partition("/")
        if kind == "simple":
            files = [{"filename": one, "provenance": f"../../of/{one}"} for one in self.answers]
            if name == "plain":
                reply(request, 406)
                return
            page = self.pages.get(name, json.dumps({"files": files}).encode())
            begin_reply(request, 200, len(page) + (name == "cut"), {"Connection": "close"})
            request.wfile.write(page)
            request.close_connection = True
        elif name == "trickled":
            begin_reply(request, 200, 1000)
            for _ in range(999):
                request.wfile.write(b" ")
                time.sleep(0.1)
        elif name == "moved":
            reply(request, 302, headers={"Location": "ftp://127.0.0.1/alpha"})
        else:
            found = self.answers[name]
            reply(request, 503 if isinstance(found, Exception) else 200, json.dumps(found, default=str).encode())

    def ask(self, root: Mapping[str, Any] | None, place: Path, *, proxy: str = "", **limits: float) -> list[Any]:
        """Run the probe in a fork, which saves loading the libraries each time; `limits` are its own, in seconds."""
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # newer versions of Python warn of the server's threads
            child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                os.environ.update(self.own_environment(place, proxy))
                vars(attestation_probe).update(limits)
                sys.stdin, sys.stdout = io.StringIO(self.request(root, place)), os.fdopen(writing, "w")
                attestation_probe.main()
            os._exit(0)
        os.close(writing)
        with open(reading, encoding="utf-8") as printed:
            text = printed.read()
        os.waitpid(child, 0)
        return list(json.loads(text))

    def own_environment(self, place: Path, proxy: str = "") -> dict[str, str]:
        own = ALONE | {"XDG_CACHE_HOME": str(place), "XDG_DATA_HOME": str(place)}
        return own | ({"HTTPS_PROXY": proxy} if proxy else {})

    def request(self, root: Mapping[str, Any] | None, place: Path) -> str:
        file = place / "trusted_root.json"
        file.write_text(json.dumps(root), encoding="utf-8")
        return json.dumps({"root": str(file) if root else "", "questions": self.questions})


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Probe]:
    """An index without files; the libraries are loaded, for forks."""
    attestation_probe._load()
    place = tmp_path / "files"
    place.mkdir()
    found = Probe(place, "")
    with http_server(found.serve) as url:
        found.url = url.rstrip("/")
        yield found


def test_only_what_is_attested_for_this_file_by_this_publisher_is_verified(asked: Probe, tmp_path: Path) -> None:
    sigstore, others = Sigstore(), Sigstore()

    def file(number: int) -> Path:
        return asked.place / f"alpha-{number}-py3-none-any.whl"

    def provenance(number: int, by: Sigstore = sigstore, **changes: Any) -> dict[str, Any]:
        file(number).write_bytes(file(number).name.encode())
        found = by.provenance(file(number), OWN["repository"])
        found["attestation_bundles"][0]["publisher"].update(changes)
        return found

    bad, both = provenance(6), provenance(7, others)
    bad["attestation_bundles"][0]["attestations"][0]["envelope"]["signature"] = "AAAA"
    both["attestation_bundles"] += provenance(7)["attestation_bundles"]
    newer, unreadable, renamed = provenance(12), provenance(13), asked.place / "alpha-99-py3-none-any.whl"
    entry = newer["attestation_bundles"][0]["attestations"][0]["verification_material"]["transparency_entries"][0]
    entry["logId"]["keyId"] = base64.b64encode(bytes(32)).decode()
    unreadable["attestation_bundles"][0]["attestations"][0]["envelope"]["statement"] = "W10="
    renamed.write_bytes(file(14).name.encode())
    cases: list[tuple[Any, str, str]] = [
        (provenance(0), "verified", ""),
        (None, "none", ""),
        (provenance(0), "invalid", "for another file"),
        (provenance(3, others), "unknown", "may be outdated; or pypi-attestations"),
        (provenance(4, repository="evil/alpha"), "invalid", "https://github.com/example/alpha"),
        (provenance(5, workflow="other.yml"), "invalid", "other.yml"),
        (bad, "invalid", "signature"),
        (both, "verified", ""),
        (provenance(8, kind="Unheard"), "unknown", "cannot be read"),
        ({"version": 1, "attestation_bundles": []}, "none", ""),
        ({"surprise": 1}, "unknown", "cannot be read"),
        (ValueError(), "unknown", "503"),
        (newer, "unknown", "log entry"),
        (unreadable, "invalid", "signature"),
        (sigstore.provenance(renamed, OWN["repository"]), "invalid", "subject does not match"),
    ]
    for number, (given, _, _) in enumerate(cases):
        asked.add(file(number).name, given)
    asked.pages["beta"] = b"<a href='../../beta-1-py3-none-any.whl'>beta-1-py3-none-any.whl</a>"
    asked.add("beta-1-py3-none-any.whl", provenance(0), package="beta")
    asked.questions.append([f"{asked.url}/simple", "alpha", file(0).name, "md5:00"])
    asked.add("plain-1-py3-none-any.whl", provenance(0), package="plain")
    cases += [({}, "none", ""), ({}, "none", "no SHA-256"), ({}, "none", "")]
    answers = asked.ask(sigstore.root, tmp_path)
    assert [one["state"] for one in answers] == [state for _, state, _ in cases]
    assert answers[0]["publisher"] == answers[7]["publisher"] == OWN
    assert [(text, one) for (_, _, text), one in zip(cases, answers, strict=True) if text not in str(one)] == []


def test_what_an_outdated_trust_root_does_not_verify_is_unknown_but_for_another_file(
    asked: Probe, tmp_path: Path
) -> None:
    wheel = asked.add("alpha-1-py3-none-any.whl")
    asked.answers[wheel.name] = asked.answers["alpha-2-py3-none-any.whl"] = Sigstore().provenance(wheel, "own/alpha")
    asked.add("alpha-2-py3-none-any.whl")
    first, second = asked.ask(None, tmp_path)
    assert (first["state"], second["state"]) == ("unknown", "invalid")
    assert "the trust root of Sigstore could not be fetched" in first["reason"]


def test_what_one_answer_does_says_nothing_of_the_others(asked: Probe, tmp_path: Path) -> None:
    sigstore, wheel = Sigstore(), asked.add("alpha-1-py3-none-any.whl")
    asked.answers[wheel.name] = sigstore.provenance(wheel, OWN["repository"])
    asked.answers |= {"moved": {}, "trickled": {}, "large": "x" * (3 << 20)}
    asked.pages = {"nested": b"[" * 100_000, "proxy": b"<html>Log in!</html>", "cut": b'{"files": []}', "login": b"{}"}
    for name in asked.pages:
        asked.add(f"{name}-1-py3-none-any.whl", package=name)
    asked.questions += [[f"{asked.url}/simple", "alpha", name, "0" * 64] for name in ("moved", "trickled", "large")]
    asked.questions.append(["http://127.0.0.1:9/simple", "alpha", wheel.name, "0" * 64])  # where nobody listens
    first, *others = asked.ask(sigstore.root, tmp_path, _SECONDS=3)
    assert (first["state"], {one["state"] for one in others}) == ("verified", {"unknown"})
    no_page = "did not answer with the page of a package"
    texts = [
        no_page,
        no_page,
        "its answer ends early",
        no_page,
        "ftp",
        "no answer within 3 s",
        "with more than 2097152",
    ]
    told = zip([*texts, "127.0.0.1:9 does not answer"], others, strict=True)
    assert [(text, one) for text, one in told if text not in one["reason"]] == []


def test_libraries_that_do_not_fit_are_told_and_not_taken_for_what_an_index_says(asked: Probe, tmp_path: Path) -> None:
    """Run as releaser does, in a process of its own."""
    asked.add("alpha-1-py3-none-any.whl", {"version": 1, "attestation_bundles": []})
    (tmp_path / "pypi_attestations.py").write_text("", encoding="utf-8")
    words = [sys.executable, "-P", attestation_probe.__file__]
    env = clean_environment(tmp_path, tmp_path) | asked.own_environment(tmp_path) | {"PYTHONPATH": str(tmp_path)}
    text = asked.request(None, tmp_path)
    done = subprocess.run(words, input=text, capture_output=True, text=True, env=env, check=False)
    assert done.returncode != 0
    assert "the verification of attestations cannot be used: cannot import name" in done.stderr


def test_what_takes_too_long_in_all_or_to_fetch_the_trust_root_is_unknown(asked: Probe, tmp_path: Path) -> None:
    """A firewall that says nothing holds it up for a short time."""
    sigstore, wheel = Sigstore(), asked.add("alpha-1-py3-none-any.whl")
    asked.answers |= {wheel.name: sigstore.provenance(wheel, OWN["repository"]), "trickled": {}}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        proxy = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (answer,) = asked.ask(None, tmp_path, proxy=proxy, _SECONDS=1)
    assert "the trust root of Sigstore could not be fetched (no answer within 1 s)" in answer["reason"]
    asked.pages["beta"] = json.dumps({"files": [{"filename": "trickled", "provenance": "../../of/trickled"}]}).encode()
    asked.questions.append([f"{asked.url}/simple", "beta", "trickled", "0" * 64])
    first, second = asked.ask(sigstore.root, tmp_path, _ALL_SECONDS=4)
    assert (first["state"], second) == ("verified", {"state": "unknown", "reason": "no answer within 4 s"})


@pytest.mark.network
def test_real_attestations_are_verified_by_the_root_that_the_library_brings(asked: Probe, tmp_path: Path) -> None:
    """The source release of the library has real files with real attestations, which its own tests read."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
    run([*pip, "--dest", tmp_path, "pypi-attestations==0.0.28"], cwd=tmp_path, env=os.environ, check=0)
    with tarfile.open(tmp_path / "pypi_attestations-0.0.28.tar.gz") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.2 has none
        archive.extractall(tmp_path)  # noqa: S202 - pinned by its version
    assets = tmp_path / "pypi_attestations-0.0.28" / "test" / "assets"
    name = "pypi_attestations-0.0.19.tar.gz"
    content, text = (assets / name).read_bytes(), (assets / f"{name}.provenance").read_text(encoding="utf-8")
    asked.add(name, json.loads(text), content=content)
    asked.add("pypi_attestations-0.0.18.tar.gz", json.loads(text), content=content + b"evil")
    true, false = asked.ask(None, tmp_path)
    publisher = {"kind": "GitHub", "repository": "trailofbits/pypi-attestations", "workflow": "release.yml"}
    assert (true.get("publisher"), false["state"]) == (publisher, "invalid")
