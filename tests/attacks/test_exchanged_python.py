"""No command starts a Python that was put into a release."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.test_interpreters import site_on
from tests.support.pythons import real_pythons
from tests.support.sites import SiteFactory

SECONDS = 60  # of a command that takes a few
QUESTIONS = (
    ["list"], ["list", "--json"], ["status"], ["history"], ["show", "{live}"], ["check"], ["outdated"], ["verify"],
    ["diff", "{first}"], ["update", "--dry-run"], ["rebuild", "--dry-run"], ["rollback", "--dry-run"],
    ["run", "--", "python", "-c", ""], ["run", "--", "true"],
)  # fmt: skip


def a_program(place: Path, mark: Path) -> Path:
    place.unlink(missing_ok=True)
    place.write_text(f'#!/bin/sh\necho $0 $@ >> {mark}\nexec /usr/bin/python3 "$@"\n', encoding="utf-8")
    place.chmod(0o755)
    return place


def a_link(place: Path, mark: Path) -> None:
    program = a_program(mark.with_name("program"), mark)
    place.unlink()
    place.symlink_to(program)


def the_next_link(place: Path, mark: Path) -> None:
    """Exchange what bin/python leads to, and let it lead there."""
    a_program(place.with_name("python3"), mark)
    place.unlink()
    place.symlink_to("python3")


def no_venv(place: Path, mark: Path) -> None:
    """Exchange it in what no longer looks like a venv."""
    a_program(place, mark)
    (place.parent.parent / "pyvenv.cfg").unlink()


def a_pipe(place: Path, mark: Path) -> None:
    config = place.parent.parent / "pyvenv.cfg"
    config.unlink()
    os.mkfifo(config)


def another_home(place: Path, mark: Path) -> None:
    """Let it find a standard library that leaves a mark."""
    home = mark.with_name("home")
    (home / "bin").mkdir(parents=True)
    a_program(home / "bin" / "python3", mark)
    config = place.parent.parent / "pyvenv.cfg"
    lines = config.read_text(encoding="utf-8").splitlines()
    text = "".join(f"{'home = ' + str(home / 'bin') if line.startswith('home') else line}\n" for line in lines)
    config.write_text(text, encoding="utf-8")


def a_large_config(place: Path, mark: Path) -> None:
    """Exchange it, and let nobody read how the venv begins."""
    a_program(place, mark)
    os.truncate(place.parent.parent / "pyvenv.cfg", 65 * 1024 * 1024)


WAYS = (a_program, a_link, the_next_link, no_venv, a_pipe, another_home, a_large_config)


@pytest.mark.spread(5)
@pytest.mark.parametrize(
    ("way", "command"),
    [*((way, "update") for way in WAYS), *itertools.product((a_program, another_home), ("rebuild", "rollback"))],
)
def test_neither_queries_nor_a_rollback_start_it(
    make_site: SiteFactory, tmp_path: Path, way: Callable[[Path, Path], object], command: str
) -> None:
    site, mark = make_site.adopted("1.1.0"), tmp_path / "mark"
    mark.touch()
    way(site.link / "bin" / "python", mark)
    first, live = site.releases()
    assert site.live_id() == live
    path = f"{site.link / 'bin'}:{site.env['PATH']}"  # as with an activated venv
    for words in QUESTIONS if command == "update" else ():
        words = [word.format(live=live, first=first) for word in words]
        finished = site.releaser(*words, timeout=SECONDS, env={"PATH": path})
        assert mark.read_text(encoding="utf-8") == "", words
        assert "Traceback" not in finished.stderr
        if words[0] == "run":
            assert finished.returncode == 3
            assert f"bin/python or pyvenv.cfg of {live} was replaced" in finished.stderr
        elif words[0] in ("status", "check", "verify"):
            assert "bin/python or pyvenv.cfg" in finished.stdout + finished.stderr
    site.releaser(command, timeout=2 * SECONDS, check=0)
    assert (mark.read_text(encoding="utf-8"), site.live_id() != live) == ("", True)
    site.releaser("verify", check=0)


def test_a_rollback_does_not_go_to_it(make_site: SiteFactory, tmp_path: Path) -> None:
    site, mark = make_site.adopted("1.1.0"), tmp_path / "mark"
    mark.touch()
    first, live = site.releases()
    a_program(site.state_dir / "releases" / first / "venv" / "bin" / "python", mark)
    finished = site.releaser("rollback", first, check=9)
    assert "its bin/python or pyvenv.cfg was replaced" in finished.stderr
    assert (mark.read_text(encoding="utf-8"), site.live_id()) == ("", live)


def test_an_interpreter_that_others_may_write_is_not_started_once_it_has_changed(
    make_site: SiteFactory, tmp_path: Path
) -> None:
    site, installation = site_on(make_site, tmp_path, real_pythons()[0])
    live, mark, python = site.live_id(), tmp_path / "mark", installation.executable
    mark.touch()
    saved = python.rename(python.with_name("saved"))
    python.write_text(f'#!/bin/sh\necho $0 $@ >> {mark}\nexec {saved} "$@"\n', encoding="utf-8")
    python.chmod(0o777)
    for words in (["list"], ["status"], ["history"], ["show", live], ["verify"], ["run", "--", "python", "-c", ""]):
        finished = site.releaser(*words, timeout=SECONDS)
        assert mark.read_text(encoding="utf-8") == "", words
        if words[0] in ("status", "verify", "run"):
            said = " ".join((finished.stdout + finished.stderr).split())
            assert "users other than root and the owner of the site can write to it" in said, finished
        assert finished.returncode == 3 or words[0] != "run"
    python.chmod(0o755)  # as an upgrade leaves it
    lists = (["list"], ["list", "--json"], ["list", "--verbose"])  # the last by way of the whole command line
    for words in (*lists, ["status"], ["status", "--nagios"], ["history"], ["show", live]):
        said = " ".join(site.releaser(*words, timeout=SECONDS).stdout.split())
        assert mark.read_text(encoding="utf-8") == "", words
        assert "its interpreter has changed" in said or words != ["status"]
    site.releaser("run", "--", "python", "-c", "", check=0)
    assert mark.read_text(encoding="utf-8")
