"""Channels that somebody has tampered with: each is made from a good one, and says why it must be refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

NAMESPACE = "releaser-channel"


@dataclass(frozen=True, kw_only=True)
class Forger:
    """The file of a good channel, one from before, a key that the host trusts, and one that it does not."""

    good: bytes
    earlier: bytes
    key: Path
    other_key: Path

    @property
    def signature(self) -> str:
        found: str = json.loads(self.good)["signature"]
        return found

    @property
    def text(self) -> str:
        found: str = json.loads(self.good)["pointer"]
        return found

    def sign(self, text: str, *, key: Path | None = None, namespace: str = NAMESPACE) -> str:
        words: list[str | Path] = ["ssh-keygen", "-q", "-Y", "sign", "-f", key or self.key, "-n", namespace]
        return subprocess.run(words, input=text.encode(), stdout=subprocess.PIPE, check=True).stdout.decode()

    def write(self, text: object, signature: object, **more: object) -> bytes:
        return json.dumps({"pointer": text, "signature": signature, **more}, indent=1).encode() + b"\n"

    def signed(self, text: str) -> bytes:
        return self.write(text, self.sign(text))

    def changed(self, change: Callable[[dict[str, Any]], object]) -> bytes:
        """Change what it says, and sign that with the key that the host trusts."""
        pointer = json.loads(self.text)
        change(pointer)
        return self.signed(json.dumps(pointer, indent=1) + "\n")


def _of(**values: object) -> Callable[[Forger], bytes]:
    return lambda it: it.changed(lambda pointer: pointer.update(values))


def _move(**values: object) -> Callable[[Forger], bytes]:
    """Change the newest move, which gets a sequence of its own: what is wrong is not that it is old."""

    def change(pointer: dict[str, Any]) -> None:
        pointer["moves"][0]["sequence"] += 1
        pointer["moves"][0].update(values)

    return lambda it: it.changed(change)


def _bundle(**values: object) -> Callable[[Forger], bytes]:
    def change(pointer: dict[str, Any]) -> None:
        pointer["moves"][0]["sequence"] += 1
        pointer["moves"][0]["bundle"].update(values)

    return lambda it: it.changed(change)


def _delta(**values: object) -> Callable[[Forger], bytes]:
    def change(pointer: dict[str, Any]) -> None:
        move = pointer["moves"][0]
        move["sequence"] += 1
        move["deltas"] = [{**move["bundle"], "base": move["release"], **values}]

    return lambda it: it.changed(change)


def _without(name: str) -> Callable[[Forger], bytes]:
    return lambda it: it.changed(lambda pointer: pointer.pop(name))


def _later(it: Forger) -> str:
    """Return the text with a later expiry, which has another signature."""
    pointer = json.loads(it.text)
    pointer["expires"] = (datetime.now(UTC) + timedelta(days=400)).isoformat(timespec="seconds")
    return json.dumps(pointer, indent=1) + "\n"


#: What is done, and words of the reason that must be given.
TAMPERINGS: dict[str, tuple[Callable[[Forger], bytes], str]] = {
    "nothing": (lambda _: b"", "it is not JSON"),
    "a text": (lambda _: b"hello\n", "it is not JSON"),
    "a list": (lambda _: b"[]", "does not consist of a pointer and a signature"),
    "half of it": (lambda it: it.good[: len(it.good) // 2], "it is not JSON"),
    "more than a megabyte": (lambda it: it.good + b" " * (1 << 20), "it is larger than"),
    "nested deeply": (lambda _: b"[" * 100_000, "it is not JSON"),
    "a pointer without a signature": (lambda it: json.dumps({"pointer": it.text}).encode(), "a signature"),
    "something beside them": (lambda it: it.write(it.text, it.signature, more="x"), "does not consist of"),
    "a pointer that is no text": (lambda it: it.write(json.loads(it.text), it.signature), "is not text"),
    "a pointer that is not ASCII": (lambda it: it.write(it.text + "é", it.signature), "is not text"),
    "an empty signature": (lambda it: it.write(it.text, ""), "no signer in"),
    "a signature that is none": (lambda it: it.write(it.text, "x" * 300), "no signer in"),
    "the signature of an earlier pointer": (
        lambda it: it.write(it.text, json.loads(it.earlier)["signature"]),
        "incorrect signature",
    ),
    "another expiry, not signed": (lambda it: it.write(_later(it), it.signature), "incorrect signature"),
    "a space behind it": (lambda it: it.write(it.text + " ", it.signature), "incorrect signature"),
    "signed by somebody else": (
        lambda it: it.write(it.text, it.sign(it.text, key=it.other_key)),
        "no signer in",
    ),
    "signed as a bundle": (
        lambda it: it.write(it.text, it.sign(it.text, namespace="releaser-bundle")),
        "namespace does not match",
    ),
    "signed as a file": (
        lambda it: it.write(it.text, it.sign(it.text, namespace="file")),
        "namespace does not match",
    ),
    "signed as a commit of git": (
        lambda it: it.write(it.text, it.sign(it.text, namespace="git")),
        "namespace does not match",
    ),
    "the pointer from before": (lambda it: it.earlier, "is older than before: its sequence is"),
    "the same sequence with a later expiry": (
        lambda it: it.signed(_later(it)),
        "has changed, but its sequence is still",
    ),
    "the same sequence with another bundle": (
        lambda it: it.changed(lambda pointer: pointer["moves"][0]["bundle"].update(sha256="0" * 64)),
        "has changed, but its sequence is still",
    ),
    "no sequence at all": (_move(sequence=0), "its sequence does not grow"),
    "a negative sequence": (_move(sequence=-5), "its sequence does not grow"),
    "a sequence that is a text": (_move(sequence="9"), "is not valid"),
    "moves in another order": (lambda it: it.changed(lambda one: one["moves"].reverse()), "its sequence does not grow"),
    "no move": (_of(moves=[]), "its sequence does not grow"),
    "expired": (
        lambda it: it.changed(
            lambda pointer: (
                pointer["moves"][0].update(sequence=pointer["moves"][0]["sequence"] + 1),
                pointer.update(expires="2020-01-01T00:00:00+00:00"),
            )
        ),
        "expired at 2020-01-01",
    ),
    "without an expiry": (_of(expires=None), "is not valid"),
    "an expiry that is none": (_of(expires="never"), "is not a time in UTC"),
    "an expiry without its zone": (_of(expires="2999-01-01T00:00:00"), "is not a time in UTC"),
    "another project": (_of(project="another"), "the channel is of another"),
    "another channel": (_of(channel="staging"), "it is that of the channel staging"),
    "a format to come": (_of(format=2), "it has format 2"),
    "without the project": (_without("project"), "is not valid"),
    "without moves": (_without("moves"), "is not valid"),
    "an unknown field": (_of(command="rm -rf /"), "releaser did not write it in this form"),
    "written otherwise": (
        lambda it: it.signed(json.dumps(json.loads(it.text))),
        "releaser did not write it in this form",
    ),
    "something else that is signed": (lambda it: it.signed("[]"), "is not valid"),
    "a bundle that lies above": (_bundle(path="../other.bundle"), "is not the name of a bundle"),
    "a bundle at an absolute path": (_bundle(path="/etc/passwd"), "is not the name of a bundle"),
    "a bundle of another host": (_bundle(path="https://example.org/x.bundle"), "is not the name of a bundle"),
    "a bundle that is an option": (_bundle(path="--help.bundle"), "is not the name of a bundle"),
    "a bundle of a name in two lines": (_bundle(path="a\nb.bundle"), "is not the name of a bundle"),
    "a hash that is none": (_bundle(sha256="../x"), "is not valid"),
    "a manifest that is none": (_bundle(manifest=""), "is not valid"),
    "a bundle of no size": (_bundle(size=0), "cannot be 0 bytes"),
    "a bundle of negative size": (_bundle(size=-1), "cannot be -1 bytes"),
    "a bundle of a terabyte": (_bundle(size=1 << 40), "cannot be"),
    "a release that is a path": (_move(release="../../etc"), "is not the name of a release"),
    "an action that there is not": (_move(action="run"), "is not valid"),
    "an expiry of the bundle that is none": (_move(bundle_expires="never"), "is not a time in UTC"),
    "a time that is none": (_move(at="yesterday"), "is not a time in UTC"),
    "a delta that lies above": (_delta(path="../x.bundle"), "is not the name of a bundle"),
    "a delta to what is no release": (_delta(base="HEAD"), "is not the name of a release"),
}

#: The same for what a good pointer leads to: it ends with code 4, as what cannot be downloaded does.
BUNDLES: dict[str, tuple[Callable[[bytes], bytes | None], str]] = {
    "a bundle that is missing": (lambda _: None, "No such file"),
    "a bundle cut off": (lambda data: data[:-1], "do not match the size and hash"),
    "a bundle with more behind it": (lambda data: data + b"x", "it is larger than the"),
    "a bundle with another byte": (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "do not match the size and hash"),
    "an empty bundle": (lambda _: b"", "do not match the size and hash"),
}
