"""The ways to restart a site: a file that is touched, and what Passenger is told and says."""

import os
import time
from pathlib import Path

import pytest

from releaser.errors import ToolError
from releaser.serving.restarts import RESTARTS, restart_words
from releaser.serving.restarts.nothing import Nothing
from releaser.serving.restarts.passenger import passenger_result
from releaser.serving.restarts.touch import Touch, restart_file_in, touch
from releaser.site.restart_settings import RestartSettings


def test_the_text_of_the_setting_names_every_method() -> None:
    text = Path("docs/reference/settings.md").read_text(encoding="utf-8")
    section = text.partition("\n### `restart`\n")[2].partition("\n### ")[0]
    assert [word for word in restart_words() if f"`{word}`" not in section] == []


def test_the_default_touches_a_file_and_restarts_nothing_without_that_method() -> None:
    """The first that answers counts, and without any, the default would be taken for a command."""
    found = [type(one) for one in RESTARTS if one.selected_by(RestartSettings().restart)]
    assert found == [Touch, Nothing]


def test_a_touch_makes_the_file_for_the_group_too_and_its_time_new(tmp_path: Path) -> None:
    made, theirs = tmp_path / "restart.txt", tmp_path / "theirs.txt"
    theirs.touch()
    theirs.chmod(0o600)
    os.utime(theirs, (1, 1))
    before = os.umask(0o077)
    try:
        touch(made, tmp_path)
        touch(theirs, tmp_path)
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (made, theirs)] == [0o664, 0o600]
    assert abs(theirs.stat().st_mtime - time.time()) < 3600
    seconds = int(theirs.stat().st_mtime)
    touch(theirs, tmp_path)
    assert int(theirs.stat().st_mtime) > seconds  # Passenger compares no more, and uWSGI needs a later one
    assert made.read_bytes() == b""


def test_a_file_that_cannot_be_touched_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "restart.txt"
    with pytest.raises(ToolError, match=f"^{path} cannot be touched: No such file or directory$") as caught:
        touch(path, tmp_path)
    assert "restart_file" in caught.value.advice


@pytest.mark.parametrize(
    ("present", "found"),
    [
        ([], None),
        (["tmp"], "tmp/restart.txt"),
        (["config/tmp"], "config/tmp/restart.txt"),
        (["tmp", "config/tmp"], "config/tmp/restart.txt"),
        (["config"], None),
    ],
)
def test_the_restart_file_lies_where_passenger_looks(tmp_path: Path, present: list[str], found: str | None) -> None:
    for name in present:
        (tmp_path / name).mkdir(parents=True)
    assert restart_file_in(tmp_path) == (tmp_path / found if found else None)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("", ""),
        ("Restarting /srv/shop (production)\n", "Restarting /srv/shop (production)"),
        ("Restarting /srv/shop (production)\nRestarting /srv/shop2 (production)\n", 2 * "Restarting /srv/shop"),
        ("There are no applications running whose paths begin with '/srv/shop'.", "There are no applications"),
    ],
)
def test_what_passenger_did_is_told(output: str, said: str) -> None:
    told = passenger_result(output)
    assert "\n" not in told
    assert told.startswith(said[:20])
    assert told.count("Restarting") == said.count("Restarting")


def test_passenger_that_refuses_has_restarted_nothing_though_it_says_that_all_is_well() -> None:
    refused = "*** ERROR: You are not authorized to query the status for this Phusion Passenger(R) instance."
    with pytest.raises(ToolError, match="restarted nothing: You are not authorized") as caught:
        passenger_result(refused)
    assert "as the user of the application" in caught.value.advice
