"""An attacker who controls the page and its directory can only make known requests, each once."""

import fcntl
import json
import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import pytest

from releaser.core.request import Wanted, find_flaw
from releaser.pipelines import requests
from releaser.pipelines.request_prelude import carry_out_before_update
from releaser.pipelines.session import Request
from releaser.releases.requests import OLDEST, Requests, Waiting, find_unsafe, leave, read_taken
from releaser.site.site import Site
from tests.pipelines.test_requests import carried_out, make_kept_site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_kept_site(tmp_path)


def plant(directory: Path, content: str | bytes) -> Path:
    file = directory / f"{secrets.token_hex(16)}.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    file.chmod(0o644)
    return file


def content(site: Site, **changed: object) -> str:
    return json.dumps({"version": 2, "project": str(site.project.checkout), "action": "update", **changed})


#: The content of the file: bytes, or the changed fields of a request that would be carried out.
CONTENTS: dict[str, bytes | dict[str, object]] = {
    "no JSON": b"{",
    "a list": b"[]",
    "nested deeply": b"[" * 8000,
    "no text": b"\xff\xfe" * 100,
    "a large one": {"reason": "x" * 9000},
    "an unknown action": {"action": "run"},
    "the name of a method": {"action": "__class__"},
    "a list of words": {"action": ["update", "--force"]},
    "an option as a package": {"action": "hold", "name": "--force"},
    "a path as a package": {"action": "update-package", "name": "../../etc/passwd"},
    "an address as a package": {"action": "update-package", "name": "alpha@file:///tmp/alpha"},
    "a name where none belongs": {"name": "alpha"},
    "a line end in the name": {"action": "hold", "name": "alpha\n"},
    "escapes in the reason": {"action": "hold", "name": "alpha", "reason": "\x1b[2J"},
    "lines in the person": {"by": "alice\nBcc: mallory"},
    "a long person": {"by": "a" * 201},
    "a rollback from an unknown release": {"action": "rollback"},
    "a path as the live release": {"action": "rollback", "live": "../x"},
    "a release where none belongs": {"live": "20260101T020304Z"},
    "another length of a pause": {"action": "pause", "length": "99999d"},
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_malformed_request_is_refused_and_deleted(site: Site, tmp_path: Path, name: str) -> None:
    found = CONTENTS[name]
    plant(tmp_path / "requests", found if isinstance(found, bytes) else content(site, **found))
    taken, runs = carried_out(site)
    assert (runs, [one.request.result for one in taken]) == ([], ["refused"])
    assert list((tmp_path / "requests").iterdir()) == []
    (noted,) = read_taken(site.state_dir).requests
    assert noted.headline.isprintable()
    assert len(noted.headline) < 200


def link_to(site: Site, directory: Path) -> None:
    secret = directory.parent / "secret.json"
    secret.write_text(content(site), encoding="utf-8")
    (directory / f"{'a' * 32}.json").symlink_to(secret)


def hard_link(site: Site, directory: Path) -> None:
    secret = directory.parent / "secret.json"
    secret.write_text(content(site), encoding="utf-8")
    os.link(secret, directory / f"{'a' * 32}.json")


def pipe(site: Site, directory: Path) -> None:
    os.mkfifo(directory / f"{'a' * 32}.json")


def open_to_others(site: Site, directory: Path) -> None:
    plant(directory, content(site)).chmod(0o666)


@pytest.mark.parametrize("trick", [link_to, hard_link, pipe, open_to_others], ids=lambda trick: trick.__name__)
def test_a_request_must_be_a_plain_file_that_only_its_writer_can_change(
    site: Site, tmp_path: Path, trick: Callable[[Site, Path], None]
) -> None:
    trick(site, tmp_path / "requests")
    found, runs = carried_out(site)
    assert (runs, [one.request.result for one in found]) == ([], ["refused"])
    assert list((tmp_path / "requests").iterdir()) == []
    assert not (tmp_path / "secret.json").exists() or (tmp_path / "secret.json").read_text() == content(site)


def test_other_files_and_directories_are_left_alone(site: Site, tmp_path: Path) -> None:
    directory = tmp_path / "requests"
    (directory / f"{'b' * 32}.json").mkdir()
    for name in ("notes.txt", f".{'a' * 32}.json.new", f"{'A' * 32}.json", f"{'a' * 33}.json"):
        (directory / name).write_text(content(site), encoding="utf-8")
    before = sorted(directory.iterdir())
    assert carried_out(site) == ((), [])
    assert sorted(directory.iterdir()) == before


def test_a_full_directory_is_read_in_bounded_time(site: Site, tmp_path: Path) -> None:
    directory = tmp_path / "requests"
    for _ in range(1500):
        plant(directory, "{}")
    found, runs = carried_out(site)
    assert (len(found), runs) == (20, [])
    with Requests(directory) as place:
        assert len(place.waiting()) <= 1000


def test_a_request_counts_for_one_site_and_expires(site: Site, tmp_path: Path) -> None:
    directory = tmp_path / "requests"
    other = plant(directory, content(site, project="/srv/other"))
    assert carried_out(site) == ((), [])
    assert other.exists()
    plant(directory, content(site))
    with mock.patch.object(requests, "datetime", wraps=datetime) as clock:
        clock.now.return_value = datetime.now(UTC) + OLDEST * 1.01
        found, runs = carried_out(site)
    assert (runs, found[0].request.headline) == ([], "it is older than 26 hours")


def test_a_request_is_carried_out_once_by_its_id(site: Site, tmp_path: Path) -> None:
    file = plant(tmp_path / "requests", content(site))
    kept = file.read_bytes()
    assert len(carried_out(site)[1]) == 1
    file.write_bytes(kept)
    found, runs = carried_out(site)
    assert (runs, found[0].request.headline) == ([], "it was already carried out")


def test_endless_new_files_do_not_keep_a_run_busy(site: Site, tmp_path: Path) -> None:
    directory, real, looks = tmp_path / "requests", Requests.waiting, list[int]()

    def look(place: Requests) -> list[Waiting]:
        plant(directory, content(site, project="/srv/other"))  # faster than the run looks
        looks.append(1)
        assert len(looks) < 10
        return real(place)

    leave(directory, Wanted(project=str(site.project.checkout), action="update"))
    with mock.patch.object(Requests, "waiting", look):
        assert len(carried_out(site)[1]) == 1


def test_a_lock_on_the_directory_stops_no_request(site: Site, tmp_path: Path) -> None:
    directory = tmp_path / "requests"
    leave(directory, Wanted(project=str(site.project.checkout), action="update"))
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert len(carried_out(site)[1]) == 1
    finally:
        os.close(descriptor)


def open_to_all(directory: Path) -> None:
    directory.chmod(0o1777)


def without_sticky_bit(directory: Path) -> None:
    directory.chmod(0o2770)


def below_an_open_one(directory: Path) -> None:
    directory.parent.chmod(0o777)


def of_another(directory: Path) -> None:
    os.chown(directory, 12345, -1)


def linked(directory: Path) -> None:
    directory.rename(directory.with_name("elsewhere"))
    directory.symlink_to("elsewhere")


@pytest.mark.parametrize(
    "trick", [open_to_all, without_sticky_bit, below_an_open_one, of_another, linked], ids=lambda trick: trick.__name__
)
def test_a_directory_that_others_could_use_is_ignored(
    site: Site, tmp_path: Path, trick: Callable[[Path], None]
) -> None:
    directory = tmp_path / "requests"
    leave(directory, Wanted(project=str(site.project.checkout), action="update"))
    assert find_unsafe(directory, os.geteuid()) is None
    if trick is of_another and os.geteuid():
        pytest.skip("only root can give a directory away")
    trick(directory)
    assert find_unsafe(directory, os.geteuid()) is not None
    carry_out_before_update(
        Request(path=site.project.checkout, environ={"RELEASER_REQUEST_DIR": str(directory)}, command="update")
    )
    assert len(list(directory.iterdir())) == 1


def test_each_kind_accepts_what_its_button_sends() -> None:
    for wanted in (
        {"action": "update"}, {"action": "update-package", "name": "zope.interface"},
        {"action": "rollback", "live": "20260101T020304Z"},
        {"action": "hold", "name": "a", "reason": "Grüße, 4 %"}, {"action": "unhold", "name": "3f2a9c0b"},
        {"action": "pause", "length": ""}, {"action": "pause", "length": "7d", "reason": "sale"}, {"action": "resume"},
    ):  # fmt: skip
        assert find_flaw(Wanted(project="/srv/site", **wanted)) == ""
