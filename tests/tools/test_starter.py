"""Starters, as `bootstrap` writes them: started by real programs, twice at once, offline, and killed half-way."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from releaser.errors import UsageError
from releaser.pipelines.bootstrap import Starter, is_unchanged, refuse_edited, write_starter
from releaser.system.signals import is_alive
from tests.e2e.scenes import SECONDS, eventually
from tests.support.commands import console_script, uv_executable
from tests.support.simple_index import serving
from tests.support.wheels import build_sdist

if TYPE_CHECKING:
    from tests.support.wheels import LocalIndex

APP = """
import os, sys
def main():
    print("shop", *sys.argv[1:], os.path.basename(sys.prefix), os.path.samefile(os.environ["VIRTUAL_ENV"], sys.prefix))
    return 3
"""
SCRIPTS = {"shop": "shop:main"}


MODULES = {"shop/__init__.py": APP, "shop/__main__.py": "import shop, sys; sys.exit(shop.main())\n"}


class Shop:
    """A starter of an application, and what it is started with."""

    def __init__(self, base: Path, index: LocalIndex, uv_cache: Path) -> None:
        self.file, self.state, self.bin, self.index = base / "shop.py", base / "state", base / "bin", index
        self.project, self.python = self.state / "shop", sys.executable
        self.bin.mkdir()
        own = {"HOME": str(base), "PATH": f"{self.bin}:/usr/bin:/bin"}
        self.env = {**own, "UV_CACHE_DIR": str(uv_cache), "UV_PYTHON_DOWNLOADS": "never"}
        index.publish("shop", "1.0", modules=MODULES, scripts=SCRIPTS)
        self.write()

    def write(self, old: str = "", new: str = "", **options: Any) -> None:
        """Write the starter, with a change of its text."""
        usual = {"find_links": [str(self.index.path)], "index": "none", "state": str(self.state)}
        text = Starter(**{"name": "shop", "requirements": ["shop"], **usual, **options}).text()
        assert old in text
        write_starter(self.file, text.replace(old, new, 1) if old else text)

    def program(self, name: str, script: str) -> None:
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def has_uv(self) -> None:
        (self.bin / "uv").unlink(missing_ok=True)
        (self.bin / "uv").symlink_to(uv_executable())

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        words = [self.python, str(self.file), *arguments]
        return subprocess.Popen(words, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def start(self, *arguments: str) -> tuple[int, str, str]:
        process = self.begin(*arguments)
        stdout, stderr = process.communicate(timeout=180)  # pip makes two venvs
        return process.returncode, stdout.strip(), stderr.strip()

    def adopt(self) -> Path:
        """Make the environment a release, as releaser does; return where it lies."""
        release, link = self.state / ".releaser/shop/releases/first", self.project / ".venv"
        release.mkdir(parents=True)
        (release / "venv").symlink_to(os.path.realpath(link))
        link.unlink()
        link.symlink_to("../.releaser/shop/releases/first/venv")
        return Path(os.path.realpath(link))

    def left(self) -> list[str]:
        return sorted(one.name for one in self.state.iterdir() if one.name != ".starting")


@pytest.fixture
def shop(tmp_path: Path, index: LocalIndex, uv_cache: Path) -> Shop:
    return Shop(tmp_path, index, uv_cache)


MAKING = "shop: creating its environment; this happens only once."


def test_the_first_start_makes_the_environment_and_later_ones_need_nothing(shop: Shop) -> None:
    shop.has_uv()
    assert shop.start("a", "b c") == (3, "shop a b c venv True", MAKING)
    assert oct(shop.state.stat().st_mode & 0o777) == "0o700"
    assert 'name = "shop"' in (shop.project / "uv.lock").read_text()
    shop.program("uv", "exit 1")
    assert shop.start() == (3, "shop venv True", "")
    shop.write(run="-m shop")
    assert shop.start() == (3, "shop venv True", "")
    shop.write(run=f"python {shop.file}")
    status, _, said = shop.start()
    assert (status, said) == (70, f"shop: COMMAND leads back to {shop.file}, so nothing would start.")


def test_two_that_start_at_once_make_one_environment_of_what_lies_beside_the_file(shop: Shop) -> None:
    for name in ("grp", "contextlib", "subprocess", "__future__"):  # which are not imported
        shop.file.with_name(f"{name}.py").write_text("raise SystemExit(99)")
    shop.write(find_links=[os.path.relpath(shop.index.path, shop.file.parent)])
    shop.has_uv()
    both = [shop.begin(), shop.begin()]
    said = [one.communicate(timeout=60) for one in both]
    assert [one.returncode for one in both] == [3, 3]
    assert sorted(stderr.strip() for _, stderr in said) == ["", MAKING]
    assert len([one for one in shop.left() if one.startswith("first-")]) == 1


def test_a_start_that_is_killed_leaves_nothing_that_counts(shop: Shop) -> None:
    shop.program("uv", f"mkdir -p $UV_PROJECT_ENVIRONMENT/bin; touch {shop.bin}/begun; exec sleep 30")
    process = shop.begin()
    while not (shop.bin / "begun").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not os.path.lexists(shop.project / ".venv")
    (half,) = shop.left()
    shop.has_uv()
    told = f"{MAKING}\nshop: deleting {shop.state / half}, which an earlier start left behind."
    assert shop.start() == (3, "shop venv True", told)
    assert half not in shop.left()


@pytest.mark.parametrize("by", [0, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_start_ends_in_its_time_and_takes_with_it_what_it_has_begun(shop: Shop, by: int) -> None:
    shop.write("FIRST_LIMIT = 900.0", f"FIRST_LIMIT = {SECONDS if by else 4.0}")
    shop.program("uv", f"sleep 30 & echo $! > {shop.bin}/pid.part; mv {shop.bin}/pid.part {shop.bin}/pid; wait")
    process = shop.begin()
    if by:
        while not (shop.bin / "pid").exists():
            time.sleep(0.01)
        process.send_signal(by)
    said = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == (128 + by if by else 1)
    assert by or "was stopped: it ran for longer than 4 s in all" in said
    assert shop.left() == []
    pid = int((shop.bin / "pid").read_text())
    eventually(lambda: not is_alive(pid), "the end of what it has begun")


def test_what_the_first_start_runs_gets_signals_as_it_does_itself(shop: Shop) -> None:
    told = "    import signal\n    print(signal.pthread_sigmask(signal.SIG_BLOCK, []))\n    return 1\n\n\ndef main"
    shop.write("    return 1\n\n\ndef main", told)
    shop.program("uv", "grep ^SigBlk /proc/self/status; exit 1")
    status, stdout, stderr = shop.start()
    assert (status, stdout, stderr.splitlines()[2].split()) == (1, "set()", ["SigBlk:", "0" * 16])
    (shop.bin / "uv").write_text("#!/nowhere/python\n")
    assert shop.start()[:2] == (1, "set()")


def test_an_environment_whose_python_is_gone_is_made_anew_and_what_a_release_leads_to_stays(
    shop: Shop,
) -> None:
    shop.has_uv()
    shop.start()
    venv = shop.adopt()
    for name in ("first-left", "first-letters"):
        (shop.state / name / "complete").mkdir(parents=True)
    (shop.state / "first-left/.releaser-starter").touch()
    (shop.state / "first-link").symlink_to(shop.state / "first-left")
    (venv / "bin/python").unlink()
    with (shop.project / "pyproject.toml").open("a") as file:
        file.write("# mine\n")
    shop.index.publish("shop", "2.0")
    told = f"{MAKING}\nshop: deleting {shop.state / 'first-left'}, which an earlier start left behind."
    assert shop.start() == (3, "shop venv True", told)  # as it was
    assert (shop.project / "pyproject.toml").read_text().endswith("# mine\n")
    assert venv.parent.name in shop.left()
    assert "first-left" not in shop.left()
    assert {"first-letters", "first-link"} < {*shop.left()}  # somebody else's


def test_hooks_are_called_in_their_places(shop: Shop) -> None:
    hooks = "\n".join(
        f"def {name}(*given):\n    print({name!r}, *given[1:])\n    return {value}\n"
        for name, value in {"starting": None, "succeeded": None, "failed": 9, "main": 4}.items()
    )
    shop.write("# How it is done", f"{hooks}\n# How it is done")
    shop.program("uv", "echo no such package; exit 1")
    assert shop.start("x") == (9, "starting\nfailed", "")
    shop.has_uv()
    assert shop.start("x") == (4, "starting\nsucceeded\nmain ['x']", "")
    assert shop.start("y") == (4, "main ['y']", "")


def test_what_uv_says_is_told_at_each_start_without_control_characters_and_secrets(shop: Shop) -> None:
    shop.env |= {"API_TOKEN": "s3cret", "DB_PASSWORD": "s3cret", "SSH_AUTH_SOCK": "s3cret"}
    shop.program("uv", r"env | grep s3cret; printf 'no \033]0;title\007such \033[2Jpack\bage\r\n'; pwd; exit 1")
    shop.write(state="")  # environments lie apart from what applications keep
    place = shop.file.parent / ".local/share/releaser-environments/shop/first-"
    for _ in range(2):
        status, _, said = shop.start()
        making, failed, told, where, *_ = said.splitlines()
        assert (status, making, told) == (1, MAKING, "no such package")
        assert failed == "shop: its environment could not be created."
        assert where.startswith(str(place))


@pytest.mark.parametrize("tells", [True, False])
def test_the_first_start_takes_nothing_young_where_the_index_tells_ages(shop: Shop, *, tells: bool) -> None:
    shop.has_uv()
    shop.index.publish("shop", "2.0", modules=MODULES, scripts=SCRIPTS)
    with serving(shop.index.path) as server:
        shop.write(index=server.url, find_links=[])
        for version, days in (("1.0", 4), ("2.0", 2)) if tells else ():
            server.uploaded["shop", version] = datetime.now(UTC) - timedelta(days=days)
        assert shop.start() == (3, "shop venv True", MAKING)
        lock = (shop.project / "uv.lock").read_text()
        assert f'version = "{"1.0" if tells else "2.0"}"' in lock
        assert "exclude-newer" not in lock
        if tells:
            shutil.rmtree(shop.state)
            server.uploaded["shop", "1.0"] = datetime.now(UTC)
            status, _, stderr = shop.start()
            assert (status, "MIN_AGE = 3 (days) and BUILD = False in" in stderr) == (1, True)


@pytest.mark.parametrize("has_uv", [True, pytest.param(False, marks=pytest.mark.slow)])  # ensurepip, twice
def test_the_first_start_builds_nothing_unless_that_is_said(shop: Shop, *, has_uv: bool) -> None:
    """Where there is no uv, pip makes the environment."""
    if has_uv:
        shop.has_uv()
    mark = shop.bin / "mark"
    shop.index.publish("shop", "1.0", requires=["helper"], modules=MODULES, scripts=SCRIPTS)
    build_sdist(shop.index.path, "helper", "1.0", mark=mark)
    status, _, stderr = shop.start()
    assert (status, mark.exists(), "building from source is disabled" in stderr) == (1, False, has_uv)
    shop.write(build=True)
    assert shop.start() == (3, "shop venv True", MAKING)
    assert (mark.exists(), (shop.project / "uv.lock").exists()) == (True, has_uv)


def test_what_is_named_by_its_url_may_have_to_be_built() -> None:
    for one, builds in (
        ("shop", False),
        ("shop @ https://a.b/shop-1-py3-none-any.whl", False),
        ("s @ git+https://a.b/s", True),
    ):
        assert f"\nBUILD = {builds}\n" in Starter(name="shop", requirements=[one]).text()


@pytest.mark.parametrize("has_uv", [True, pytest.param(False, marks=pytest.mark.slow)])  # ensurepip
def test_releaser_takes_over_where_it_is_installed_and_updates(shop: Shop, *, has_uv: bool) -> None:
    """It locks an environment that pip made, as no uv was installed."""
    if has_uv:
        shop.has_uv()
    assert shop.start("1") == (3, "shop 1 venv True", MAKING)
    (shop.bin / "releaser").symlink_to(console_script())
    shop.write("WAIT = '5s'", "WAIT = '50s'")
    second = shop.start("2")
    assert second[:2] == (3, "shop 2 venv True"), second[2]
    assert ".releaser/shop/releases" in os.readlink(shop.project / ".venv")
    newer = {"shop/__init__.py": APP.replace('"shop"', '"newer"')}
    shop.index.publish("shop", "2.0", modules=newer, scripts=SCRIPTS)
    shop.write("WAIT = '5s'", "WAIT = '50s'", refresh="1s")
    time.sleep(1)
    assert shop.start("3")[:2] == (3, "newer 3 venv True")


def test_a_releaser_that_does_not_work_keeps_nothing_from_starting(shop: Shop) -> None:
    shop.has_uv()
    shop.program("releaser", f"echo >> {shop.bin}/asked; exit 1")
    for _ in range(2):
        assert shop.start()[:2] == (3, "shop venv True")
    assert (shop.bin / "asked").read_text() == "\n"
    shop.adopt()
    assert shop.start() == (3, "shop venv True", "")
    shop.program("releaser", "echo broken >&2; exit 2")  # as an older one, which has no `exec`
    assert shop.start() == (3, "shop venv True", "")
    shop.program("releaser", "echo not what is asked")
    assert shop.start() == (3, "shop venv True", "")
    (shop.bin / "releaser").write_text("#!/nowhere/python\n")
    assert shop.start()[:2] == (3, "shop venv True")
    shop.program("releaser", "echo refused >&2; exit 5")
    assert shop.start() == (5, "", "refused")
    shop.write("RELEASER_LIMIT = 5.0", "RELEASER_LIMIT = 0.1", limit="0.1s")
    shop.program("releaser", "exec sleep 60")
    assert shop.start() == (3, "shop venv True", "")


def test_releaser_is_asked_when_a_look_is_due_or_a_file_has_changed(shop: Shop) -> None:
    """What it answers holds until then, and the program gets the same environment in both cases."""
    shop.has_uv()
    shop.program("releaser", f'echo >> {shop.bin}/asked; exec {console_script()} "$@"')
    shop.write("RELEASER_LIMIT = 5.0", "RELEASER_LIMIT = 60.0", limit="60s", run="python")
    shop.env |= {"UV_INDEX": "none", "UV_OFFLINE": "1", "UV_INDEX_OURS_PASSWORD": "x", "GIT_DIR": "x", "_SHOWN": "1"}
    shop.start("-c", "pass")
    (shop.state / ".vouched").unlink()
    asked, looked = shop.bin / "asked", shop.state / ".releaser/shop/run/looked"

    def start() -> tuple[int, dict[str, str]]:
        """Return how often releaser was asked, and what the program sees."""
        asked.write_text("")
        status, seen, said = shop.start("-c", "import json, os; print(json.dumps(dict(os.environ)))")
        assert (status, said) == (0, "")
        env = json.loads(seen)
        return len(asked.read_text()), {name: env[name] for name in env if name != "_RELEASER_STARTER"}

    first, second = start(), start()
    assert [first[0], second[0]] == [1, 0]
    assert first[1] == second[1]
    place = Path(second[1]["VIRTUAL_ENV"])
    assert second[1]["UV_INDEX_OURS_PASSWORD"] == "x"
    assert {"UV_INDEX", "GIT_DIR"}.isdisjoint(second[1])
    looked.write_text("1 2\n")
    assert [start()[0] for _ in range(2)] == [1, 0]
    next(place.glob("lib/*/site-packages")).joinpath("mine.pth").touch()
    assert [start()[0] for _ in range(2)] == [1, 0]  # of a user who may start anything here
    with (place / "pyvenv.cfg").open("a") as file:
        file.write("# other\n")
    for _ in range(2):
        status, _, said = shop.start("-c", "pass")
        assert (status, "bin/python or pyvenv.cfg of " in said) == (3, True)


@pytest.mark.parametrize("is_vouched", [True, False])
def test_a_releaser_that_hangs_is_not_asked_again_at_once(shop: Shop, *, is_vouched: bool) -> None:
    """A release for which it has not vouched may start only once it did, or if it does not work."""
    shop.has_uv()
    (shop.bin / "releaser").symlink_to(console_script())
    shop.write("RELEASER_LIMIT = 5.0", "RELEASER_LIMIT = 60.0", limit="60s")
    shop.start()
    shop.start()
    (shop.state / ".releaser/shop/run/looked").write_text("1 2\n")
    if not is_vouched:
        (shop.state / ".vouched").unlink()
    shop.write("RELEASER_LIMIT = 5.0", "RELEASER_LIMIT = 0.1", limit="0.1s")
    shop.program("releaser", f"echo >> {shop.bin}/asked; exec sleep 60")
    for _ in range(3):
        assert shop.start() == (3, "shop venv True", "")
    assert len((shop.bin / "asked").read_text()) == (1 if is_vouched else 3)


def test_the_file_is_for_old_pythons(shop: Shop) -> None:
    tree = ast.parse(shop.file.read_text(), feature_version=(3, 8))
    imported = {one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= {"__future__", *sys.stdlib_module_names}
    newer = {"removeprefix", "removesuffix", "is_relative_to", "file_digest", "UTC", "to_thread", "pairwise"}
    assert newer.isdisjoint(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))


def test_a_starter_that_somebody_has_edited_is_kept(shop: Shop, tmp_path: Path) -> None:
    assert is_unchanged(shop.file.read_text())
    refuse_edited(shop.file, force=False)
    shop.write("# How it is done", "# mine")
    with pytest.raises(UsageError, match="exists, and was edited, or was not written by releaser"):
        refuse_edited(shop.file, force=False)
    refuse_edited(shop.file, force=True)
    with pytest.raises(UsageError, match="is not a file"):
        refuse_edited(tmp_path, force=True)


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("'a\\nb' cannot name", {"name": "a\nb"}),
        ("'grp' is a module of Python", {"name": "grp"}),
        ("--requirement ==1", {"requirements": ["==1"]}),
        ("--index contains a password", {"index": "https://ada:letmein@packages.example.org/simple"}),
        ("--find-links s3://b", {"find_links": ["s3://b"]}),
        ("--refresh often", {"refresh": "often"}),
        ("--limit long", {"limit": "long"}),
        ("--min-age old", {"min_age": "old"}),
        ("--run '", {"run": "'"}),
    ],
)
def test_what_cannot_be_is_refused(option: str, given: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        Starter(**{"name": "shop", "requirements": ["shop"], **given}).text()  # type: ignore[arg-type]
    assert caught.value.message.startswith(option)
