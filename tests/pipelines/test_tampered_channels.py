"""Channels that somebody has tampered with: each is made from a good one, and refused with its reason."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from releaser.bundles.pointer import NAMESPACE, Channel, Move, Pointer, PublishedBundle
from releaser.errors import PreflightError
from releaser.pipelines.bundle_install import trust_of
from releaser.pipelines.channel import Publisher
from releaser.pipelines.due import Timing
from releaser.pipelines.update_from import plan_update_from
from releaser.releases.channels import CHANNELS, Seen, SeenChannels
from releaser.site.site import Site
from releaser.system.files import write_state
from tests.pipelines.test_tampered_bundles import trusting
from tests.support.signing import make_key

pytestmark = pytest.mark.slow  # ssh-keygen, several times in each

LATER, PAST = "2999-01-01T00:00:00+00:00", "2020-01-01T00:00:00+00:00"
Edit = Callable[[Any], object]


def a_pointer(*sequences: int) -> Pointer:
    """Return a pointer with these moves, the newest first."""
    bundle = PublishedBundle(path="20261120T061200Z-0123.bundle", sha256="1" * 64, size=9, manifest="2" * 64)
    moves = tuple(
        Move(sequence=one, at=PAST, by="ada@build1", action="publish", release="20261120T061200Z", built=one,
             bundle_expires=None, bundle=bundle)
        for one in sequences
    )  # fmt: skip
    return Pointer(project="shop", channel="production", expires=LATER, moves=moves)


@dataclass(frozen=True, kw_only=True)
class Forger:
    """A good pointer, a key that the host trusts, and one that it does not."""

    key: Path
    other_key: Path
    text = a_pointer(2, 1).text

    def sign(self, text: str, *, key: Path | None = None, namespace: str = NAMESPACE) -> str:
        words: list[str | Path] = ["ssh-keygen", "-q", "-Y", "sign", "-f", key or self.key, "-n", namespace]
        return subprocess.run(words, input=text.encode(), stdout=subprocess.PIPE, check=True).stdout.decode()

    def write(self, text: object, signature: str | None = None, **more: object) -> bytes:
        """Return a file with this pointer, and a signature of the good one unless another one is given."""
        signature = self.sign(self.text) if signature is None else signature
        return json.dumps({"pointer": text, "signature": signature, **more}, indent=1).encode() + b"\n"

    def signed(self, text: str) -> bytes:
        return self.write(text, self.sign(text))

    def changed(self, change: Edit) -> bytes:
        """Change what the good pointer says, and sign that with the key that the host trusts."""
        pointer = json.loads(self.text)
        change(pointer)
        return self.signed(json.dumps(pointer, indent=1) + "\n")


@pytest.fixture(scope="module")
def forger(tmp_path_factory: pytest.TempPathFactory) -> Forger:
    base = tmp_path_factory.mktemp("forger")
    return Forger(key=make_key(base)[0], other_key=make_key(base, "other")[0])


@pytest.fixture(scope="module")
def site(forger: Forger) -> Site:
    """A project that has seen the good pointer."""
    site = trusting(forger.key)
    site.state_dir.mkdir(parents=True)
    good = a_pointer(2, 1)
    seen = Seen(channel="production", sequence=2, sha256=good.sha256, release=good.current.release)
    write_state(site.state_dir / CHANNELS, SeenChannels(channels=(seen,)))
    return site


def of(**values: object) -> Callable[[Forger], bytes]:
    return lambda it: it.changed(lambda pointer: pointer.update(values))


def move(**values: object) -> Callable[[Forger], bytes]:
    return lambda it: it.changed(lambda pointer: pointer["moves"][0].update(values))


def bundle(**values: object) -> Callable[[Forger], bytes]:
    return lambda it: it.changed(lambda pointer: pointer["moves"][0]["bundle"].update(values))


def delta(**values: object) -> Callable[[Forger], bytes]:
    def change(pointer: dict[str, Any]) -> None:
        newest = pointer["moves"][0]
        newest["deltas"] = [{**newest["bundle"], "base": newest["release"], **values}]

    return lambda it: it.changed(change)


def without(name: str) -> Callable[[Forger], bytes]:
    return lambda it: it.changed(lambda pointer: pointer.pop(name))


def signed_as(namespace: str) -> Callable[[Forger], bytes]:
    return lambda it: it.write(it.text, it.sign(it.text, namespace=namespace))


def extended(text: str) -> str:
    return text.replace(LATER, "2999-02-01T00:00:00+00:00")


#: What is done, and words of the reason that must be given.
TAMPERINGS: dict[str, tuple[Callable[[Forger], bytes], str]] = {
    "nothing": (lambda _: b"", "it is not JSON"),
    "a text": (lambda _: b"hello\n", "it is not JSON"),
    "a list": (lambda _: b"[]", "does not consist of a pointer and a signature"),
    "half of it": (lambda it: it.write(it.text)[:1000], "it is not JSON"),
    "more than a megabyte": (lambda it: it.write(it.text) + b" " * (1 << 20), "it is larger than"),
    "nested deeply": (lambda _: b"[" * 100_000, "it is not JSON"),
    "no signature": (lambda it: json.dumps({"pointer": it.text}).encode(), "a signature"),
    "something beside them": (lambda it: it.write(it.text, more="x"), "does not consist of"),
    "a pointer that is no text": (lambda it: it.write(json.loads(it.text)), "is not text"),
    "a pointer that is not ASCII": (lambda it: it.write(it.text + "é"), "is not text"),
    "an empty signature": (lambda it: it.write(it.text, ""), "no signer in"),
    "a signature that is none": (lambda it: it.write(it.text, "x" * 300), "no signer in"),
    "the signature of another": (lambda it: it.write(it.text, it.sign(a_pointer(1).text)), "incorrect signature"),
    "another expiry, not signed": (lambda it: it.write(extended(it.text)), "incorrect signature"),
    "a space behind it": (lambda it: it.write(it.text + " "), "incorrect signature"),
    "signed by another": (lambda it: it.write(it.text, it.sign(it.text, key=it.other_key)), "no signer in"),
    "signed as a bundle": (signed_as("releaser-bundle"), "namespace does not match"),
    "signed as a file": (signed_as("file"), "namespace does not match"),
    "signed as a commit of git": (signed_as("git"), "namespace does not match"),
    "the pointer from before": (lambda it: it.signed(a_pointer(1).text), "is older than before: its sequence is 1"),
    "the same sequence with a later expiry": (lambda it: it.signed(extended(it.text)), "its sequence is still 2"),
    "the same sequence with another bundle": (bundle(sha256="0" * 64), "its sequence is still 2"),
    "no sequence at all": (move(sequence=0), "its sequence does not grow"),
    "a negative sequence": (move(sequence=-5), "its sequence does not grow"),
    "a sequence that is a text": (move(sequence="9"), "is not valid"),
    "moves in another order": (lambda it: it.changed(lambda one: one["moves"].reverse()), "its sequence does not grow"),
    "no move": (of(moves=[]), "its sequence does not grow"),
    "expired": (lambda it: it.signed(a_pointer(3).text.replace(LATER, PAST)), "expired at 2020-01-01"),
    "without an expiry": (of(expires=None), "is not valid"),
    "an expiry that is none": (of(expires="never"), "is not a time in UTC"),
    "an expiry without its zone": (of(expires="2999-01-01T00:00:00"), "is not a time in UTC"),
    "another project": (of(project="another"), "the channel is of another"),
    "another channel": (of(channel="staging"), "it is that of the channel staging"),
    "a format to come": (of(format=2), "it has format 2"),
    "without the project": (without("project"), "is not valid"),
    "without moves": (without("moves"), "is not valid"),
    "an unknown field": (of(command="rm -rf /"), "it is not in the form that releaser writes"),
    "written otherwise": (
        lambda it: it.signed(json.dumps(json.loads(it.text))),
        "not in the form that releaser writes",
    ),
    "something else that is signed": (lambda it: it.signed("[]"), "is not valid"),
    "a bundle that lies above": (bundle(path="../other.bundle"), "is not the name of a bundle"),
    "a bundle at an absolute path": (bundle(path="/etc/passwd"), "is not the name of a bundle"),
    "a bundle of another host": (bundle(path="https://example.org/x.bundle"), "is not the name of a bundle"),
    "a bundle that is an option": (bundle(path="--help.bundle"), "is not the name of a bundle"),
    "a bundle of a name in two lines": (bundle(path="a\nb.bundle"), "is not the name of a bundle"),
    "a hash that is none": (bundle(sha256="../x"), "is not valid"),
    "a manifest that is none": (bundle(manifest=""), "is not valid"),
    "a bundle of no size": (bundle(size=0), "cannot be 0 bytes"),
    "a bundle of negative size": (bundle(size=-1), "cannot be -1 bytes"),
    "a bundle of a terabyte": (bundle(size=1 << 40), "cannot be"),
    "a release that is a path": (move(release="../../etc"), "is not the name of a release"),
    "an action that there is not": (move(action="run"), "is not valid"),
    "an expiry of the bundle that is none": (move(bundle_expires="never"), "is not a time in UTC"),
    "a time that is none": (move(at="yesterday"), "is not a time in UTC"),
    "a delta that lies above": (delta(path="../x.bundle"), "is not the name of a bundle"),
    "a delta to what is no release": (delta(base="HEAD"), "is not the name of a release"),
}


def plan(site: Site, place: Path, data: bytes) -> tuple[str, ...]:
    """Ask a site what it would do with a channel."""
    (place / "production.channel").write_bytes(data)
    return plan_update_from(site, Timing(), Channel.of(str(place), "production")).would


@pytest.mark.parametrize(("tamper", "reason"), TAMPERINGS.values(), ids=TAMPERINGS)
def test_a_tampered_channel_is_refused_with_its_reason(
    forger: Forger, site: Site, tmp_path: Path, tamper: Callable[[Forger], bytes], reason: str
) -> None:
    with pytest.raises(PreflightError) as refused:
        plan(site, tmp_path, tamper(forger))
    assert reason in refused.value.message


@pytest.mark.parametrize("sequence", [2, 3])
def test_the_same_pointer_and_a_later_one_are_good(forger: Forger, site: Site, tmp_path: Path, sequence: int) -> None:
    (would,) = plan(site, tmp_path, forger.signed(a_pointer(sequence, 1).text))
    assert would.startswith("would download 20261120T061200Z")


def test_a_bundle_that_has_expired_is_not_promoted(forger: Forger, site: Site, tmp_path: Path) -> None:
    file = forger.changed(lambda pointer: pointer["moves"][0].update(bundle_expires=PAST))
    (tmp_path / "production.channel").write_bytes(file)
    publisher = Publisher(runner=site.runner, key=forger.key, expires=60, trust=trust_of(site))
    source, target = (Channel.of(str(tmp_path), name) for name in ("production", "late"))
    with pytest.raises(PreflightError, match="expired at 2020-01-01"):
        publisher.promote(source, target)
