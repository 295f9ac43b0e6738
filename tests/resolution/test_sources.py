"""Mirrors of S3, against moto's server over TLS; it fails in all ways, and what was mirrored before stays."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from releaser.core.run import new_log
from releaser.errors import PreflightError, ResolutionError
from releaser.report import RunLog
from releaser.resolution.sources import MIRRORS, mirror_sources, source_findings
from releaser.site.site import Site, open_site
from tests.support.s3 import S3, SECRET, Mood, s3_server

WHEEL, SOURCE = "alpha-1.0-py3-none-any.whl", "beta_lib-2.0.tar.gz"
HOSTILE = ("notes.txt", f".{WHEEL}", "deeper/alpha-3.0-py3-none-any.whl", "alpha-1.0 .tar.gz", "-1.zip")
pytestmark = pytest.mark.slow  # each asks in a process of its own, some until their time is up

PYPROJECT = """
[project]
name = "shop"
version = "1"
[tool.uv]
find-links = ["{links}"]
[tool.releaser]
sources = ["s3://{bucket}/python"]
sources_timeout = "{seconds}s"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(server: S3) -> S3:
    """A bucket with a wheel, a source archive, and what is neither."""
    server.mood, server.has_cut = "is well", False
    server.bucket = f"wheels-{time.monotonic_ns()}"
    server.put(server.bucket)
    for name in (WHEEL, SOURCE, *(one.replace(" ", "%20") for one in HOSTILE)):
        server.put(f"{server.bucket}/python/{name}", name.encode())
    server.asked.clear()
    server.accounts.clear()
    server.regions.clear()
    return server


def shop(tmp_path: Path, s3: S3, env: dict[str, str] | None = None, *, links: str = "", seconds: float = 30) -> Site:
    (tmp_path / "shop").mkdir(exist_ok=True)
    links = links or f"{MIRRORS}/{s3.bucket}/python"
    (tmp_path / "shop/pyproject.toml").write_text(PYPROJECT.format(links=links, bucket=s3.bucket, seconds=seconds))
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **(s3.env if env is None else env)}
    return open_site(tmp_path / "shop", environ)


@pytest.fixture
def site(s3: S3, tmp_path: Path) -> Site:
    return shop(tmp_path, s3)


def mirrored(site: Site) -> RunLog:
    log = new_log("update")
    mirror_sources(site, log)
    assert SECRET not in str([log.outcomes, log.findings])
    return log


def place(site: Site, s3: S3) -> Path:
    return site.project.root / MIRRORS / s3.bucket / "python"


def files(site: Site, s3: S3) -> dict[str, str]:
    return {one.name: one.read_text() for one in place(site, s3).iterdir() if not one.name.startswith(".")}


def said(log: RunLog) -> tuple[str, str]:
    return log.outcomes[-1].status, log.outcomes[-1].detail.partition(": ")[2]


def test_wheels_and_source_archives_come_once_and_nothing_else_does(site: Site, s3: S3) -> None:
    assert said(mirrored(site)) == ("ok", "2 new")
    assert files(site, s3) == {WHEEL: WHEEL, SOURCE: SOURCE}
    root = site.project.root / MIRRORS
    assert (root / ".gitignore").read_text() == "*\n"
    modes = {one.stat().st_mode & 0o077 for one in (root, *place(site, s3).rglob("*"))}
    assert modes == {0}
    s3.asked.clear()
    assert said(mirrored(site)) == ("ok", "nothing new")
    assert [one.partition("?")[0] for one in s3.asked] == [f"/{s3.bucket}"]


def test_what_is_replaced_withdrawn_or_damaged_follows(site: Site, s3: S3) -> None:
    mirrored(site)
    s3.put(f"{s3.bucket}/python/{WHEEL}", b"other bytes")
    s3.delete(f"{s3.bucket}/python/{SOURCE}")
    assert said(mirrored(site)) == ("ok", "1 new, 1 gone")
    assert files(site, s3) == {WHEEL: "other bytes"}
    (place(site, s3) / WHEEL).write_text("OTHER bytes")  # as long
    (place(site, s3) / ".part-left").touch()
    assert said(mirrored(site)) == ("ok", "1 new")
    assert files(site, s3) == {WHEEL: "other bytes"}
    assert not (place(site, s3) / ".part-left").exists()


@pytest.mark.parametrize(
    ("mood", "seconds", "reason"),
    [
        ("hangs", 1, "no answer within 1 s"),
        ("refuses", 30, "An error occurred (AccessDenied)"),
        ("fails", 30, "An error occurred (InternalError)"),
        ("alters", 30, f"1 file could not be downloaded ({WHEEL}: its MD5 is not the ETag in S3"),
        ("cuts a file", 30, f"1 file could not be downloaded ({WHEEL}: "),
        ("trickles a file", 4, f"1 file could not be downloaded ({WHEEL}: no time was left for it)"),
    ],
)
def test_what_was_mirrored_is_used_while_s3_is_away(
    tmp_path: Path, s3: S3, mood: Mood, seconds: int, reason: str
) -> None:
    mirrored(shop(tmp_path, s3))
    site = shop(tmp_path, s3, seconds=seconds)
    s3.put(f"{s3.bucket}/python/{WHEEL}", b"other bytes, and more of them than can trickle in" * 9)
    s3.delete(f"{s3.bucket}/python/{SOURCE}")
    s3.mood, began = mood, time.monotonic()
    log = mirrored(site)
    assert time.monotonic() - began < seconds + 10
    status, detail = said(log)
    assert (status, detail[: len(reason)]) == ("warning", reason)
    assert "its mirror from " in detail
    assert log.findings == []
    assert files(site, s3) == {WHEEL: WHEEL, SOURCE: SOURCE}


def test_an_index_that_somebody_has_edited_deletes_nothing_elsewhere(site: Site, s3: S3, tmp_path: Path) -> None:
    mirrored(site)
    mine, index = tmp_path / "alpha-1.0.tar.gz", place(site, s3) / ".mirror.json"
    (place(site, s3) / "mine").touch()
    mine.touch()
    found = json.loads(index.read_text())
    entry = found["files"][WHEEL]
    found["files"] |= {str(mine): entry, os.path.relpath(mine, index.parent): entry, "mine": entry, ".": entry}
    found["files"][SOURCE] = [1]
    index.write_text(json.dumps(found))
    assert said(mirrored(site)) == ("ok", "1 new")
    assert mine.exists()
    assert set(files(site, s3)) == {WHEEL, SOURCE, "mine"}
    found["files"] = {"gamma-1.0.tar.gz": entry}  # which cannot be deleted
    (place(site, s3) / "gamma-1.0.tar.gz").mkdir()
    index.write_text(json.dumps(found))
    assert said(mirrored(site)) == ("ok", "2 new")


@pytest.mark.parametrize(
    ("synced", "is_used"),
    [("2020-01-01T00:00:00+00:00", True), ("2020-01-01T00:00:00", False), ("soon", False), (3, False)],
)
def test_people_hear_of_a_mirror_that_is_old_and_one_that_was_never_complete_is_none(
    site: Site, s3: S3, synced: object, is_used: bool
) -> None:
    mirrored(site)
    index = place(site, s3) / ".mirror.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "synced": synced}))
    s3.mood = "refuses"
    if not is_used:
        with pytest.raises(ResolutionError, match="has not been mirrored completely yet: An error occurred"):
            mirrored(site)
        return
    (finding,) = mirrored(site).findings
    assert finding.message.startswith(f"s3://{s3.bucket}/python: An error occurred (AccessDenied)")
    assert "years ago is used" in finding.message


def test_a_download_that_is_cut_off_is_tried_again_and_an_empty_prefix_takes_nothing_away(site: Site, s3: S3) -> None:
    s3.mood = "cuts a file once"
    assert said(mirrored(site)) == ("ok", "2 new")
    assert s3.has_cut
    for name in (WHEEL, SOURCE):
        s3.delete(f"{s3.bucket}/python/{name}")
    assert said(mirrored(site))[1].startswith("there are no wheels or source archives")
    assert set(files(site, s3)) == {WHEEL, SOURCE}


def test_a_source_that_never_came_whole_ends_the_run_and_the_next_one_goes_on(tmp_path: Path, s3: S3) -> None:
    s3.put(f"{s3.bucket}/python/gamma-1.0.tar.gz", b"long" * 99)
    s3.mood = "trickles a file"
    with pytest.raises(ResolutionError, match="has not been mirrored completely yet: 1 file could not be downloaded"):
        mirrored(shop(tmp_path, s3, seconds=4))
    s3.mood = "is well"
    assert said(mirrored(shop(tmp_path, s3))) == ("ok", "1 new")


def test_credentials_are_found_under_their_older_names(s3: S3, tmp_path: Path) -> None:
    left = {name: value for name, value in s3.env.items() if "KEY" not in name and "REGION" not in name}
    (tmp_path / "account").write_text(f"AWSAccessKeyId=older\nAWSSecretKey={SECRET}\n")
    for given in (
        {"AWS_ACCESS_KEY": "older", "AWS_SECRET_KEY": SECRET, "EC2_REGION": "eu-west-1"},
        {"AWS_CREDENTIAL_FILE": str(tmp_path / "account"), "AWS_DEFAULT_REGION": "eu-west-1"},
    ):
        s3.accounts.clear()
        s3.regions.clear()
        mirrored(shop(tmp_path, s3, {**left, **given}))
        assert (s3.accounts, s3.regions) == ({"older"}, {"eu-west-1"})


def test_a_certificate_that_nobody_trusts_is_refused(s3: S3, tmp_path: Path) -> None:
    env = {name: value for name, value in s3.env.items() if name != "AWS_CA_BUNDLE"}
    with pytest.raises(ResolutionError, match="SSL validation failed"):
        mirrored(shop(tmp_path, s3, env))
    assert s3.asked == []


def test_a_site_that_cannot_take_packages_from_there_is_refused(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = shop(tmp_path, s3, links="wheels")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    found = [(one.message, one.advice) for one in source_findings(site)]
    assert [message for message, _ in found] == [
        "`sources` names S3, but boto3 is not installed with releaser",
        f"`sources`: s3://{s3.bucket}/python is mirrored in .s3/{s3.bucket}/python, but pyproject.toml does not "
        f"name that directory for uv",
    ]
    assert "pip install 'venv-releaser[s3]'" in found[0][1]
    with pytest.raises(PreflightError):
        mirrored(site)


def test_a_dry_run_leaves_the_mirror_as_it_is(site: Site, s3: S3, tmp_path: Path) -> None:
    mirrored(site)
    s3.put(f"{s3.bucket}/python/{WHEEL}", b"other bytes")
    s3.put(f"{s3.bucket}/python/gamma-1.0.tar.gz", b"gamma")
    before = {one: (one.stat().st_ino, one.stat().st_mtime_ns) for one in place(site, s3).iterdir()}
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / MIRRORS).symlink_to(site.project.root / MIRRORS)
    aside = replace(site, project=replace(site.project, root=tree, staged_from=site.project.root))
    mirror_sources(aside, new_log("update"), aside=True)
    assert files(aside, s3) == {WHEEL: "other bytes", SOURCE: SOURCE, "gamma-1.0.tar.gz": "gamma"}
    assert {one: (one.stat().st_ino, one.stat().st_mtime_ns) for one in place(site, s3).iterdir()} == before
