"""Channels: signed pointers to bundles, which hosts follow by `update --from`, forward and back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_bundles import host_of, make_key
from tests.support.sites import SampleSite, SiteFactory


@dataclass(frozen=True, kw_only=True)
class Published:
    """A site with three releases, a bundle of each, the deltas between them, and who may sign."""

    site: SampleSite
    key: Path
    signers: Path
    bundles: tuple[Path, ...]
    deltas: tuple[Path, ...]
    #: The site as it was before, on a host of its own.
    before: SampleSite

    def channel(self, action: str, *words: str | Path, check: int = 0) -> Any:
        return self.site.json(f"channel {action}", "--sign", self.key, "--signers", self.signers, *words, check=check)


@pytest.fixture(scope="module")
def published(make_scene: SiteFactory, tmp_path_factory: pytest.TempPathFactory) -> Published:
    base = tmp_path_factory.mktemp("channels")
    key, signers = make_key(base)
    line = signers.read_text(encoding="utf-8")
    signers.write_text(line.replace('"releaser-bundle"', '"releaser-bundle,releaser-channel"'), encoding="utf-8")
    site = make_scene(outer="published", venv=True)
    site.releaser("init", check=0)
    before = host_of(site, base / "before", signers)
    bundles, deltas = list[Path](), list[Path]()
    for number, version in enumerate(("1.1.0", "1.2.0", "1.3.0")):
        site.publish("alpha", version)
        site.edit("code.py", f"VERSION = {version!r}\n")
        site.commit(f"for {version}")
        site.push()
        site.releaser("update", check=0)
        bundles.append(base / f"{number}.bundle")
        site.releaser("bundle create", "--sign", key, "--no-installer", "-o", bundles[-1], check=0)
        if number:
            deltas.append(base / f"{number}.delta")
            site.releaser(
                "bundle create", "--sign", key, "--base", bundles[-2], "--no-installer", "-o", deltas[-1], check=0
            )
    return Published(
        site=site, key=key, signers=signers, bundles=tuple(bundles), deltas=tuple(deltas), before=before
    )  # fmt: skip


@pytest.fixture
def host(published: Published, tmp_path: Path) -> SampleSite:
    return published.before.copy(tmp_path / "host")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "channels"


def test_hosts_follow_a_channel_and_the_next_look_downloads_nothing(
    published: Published, host: SampleSite, place: Path
) -> None:
    told = published.channel("publish", published.bundles[0], "--to", place, "--name", "production", "--dry-run")
    assert "production points to" in str(told["would"])
    assert not place.exists()
    first = published.channel("publish", published.bundles[0], "--to", place, "--name", "production")
    assert [path.name for path in place.glob("*.channel")] == ["production.channel"]
    channel = place / "production"
    assert "would download" in str(host.json("update", "--from", channel, "--dry-run")["would"])
    report = host.json("update", "--from", channel)
    assert (report["result"], host.live_version("alpha")) == ("activated", "1.1.0")
    assert "builder@example.org" in str(report["steps"])
    report = host.json("update", "--from", channel)
    assert (report["result"], report["headline"]) == ("unchanged", "nothing newer on production")
    assert "download" not in str(report["steps"])
    assert host.releaser("update", "--from", channel, check=0).stdout == ""

    deltas = ("--delta", published.deltas[0])
    second = published.channel("publish", published.bundles[1], *deltas, "--to", place, "--name", "production")
    assert second["sequence"] > first["sequence"]
    for one in place.glob(f"{second['release']}-*"):  # it is the delta that is asked for
        if one.stat().st_size == published.bundles[1].stat().st_size:
            one.rename(place / "aside")
    report = host.json("update", "--from", channel)
    assert (report["result"], host.live_version("alpha")) == ("activated", "1.2.0")
    assert "a delta to" in str(report["steps"])
    assert not (host.state_dir / "bundles" / "download").exists()
    assert json.loads((host.state_dir / "channels.json").read_text())["channels"][0]["sequence"] == second["sequence"]
