"""Starters, as `bootstrap` writes them: started by real programs, twice at once, offline, and killed half-way."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from releaser.errors import UsageError
from releaser.pipelines.bootstrap import Starter, is_unchanged, refuse_edited, write_starter
from releaser.system.signals import is_alive
from tests.e2e.scenes import SECONDS, eventually
from tests.support.commands import console_script, uv_executable
from tests.support.guards import require
from tests.support.simple_index import serving
from tests.support.wheels import build_sdist

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.wheels import LocalIndex

APP = """
import os, sys
def main():
    print("shop", *sys.argv[1:], os.path.basename(sys.prefix), os.path.samefile(os.environ["VIRTUAL_ENV"], sys.prefix))
    return 3
"""
SCRIPTS = {"shop": "shop:main"}


@pytest.fixture
def shop(tmp_path: Path, index: LocalIndex, uv_cache: Path) -> Shop:
    modules = {"shop/__init__.py": APP, "shop/__main__.py": "import shop, sys; sys.exit(shop.main())\n"}
    index.publish("shop", "1.0", modules=modules, scripts=SCRIPTS)
    return Shop(tmp_path, index.path, uv_cache)


class Shop:
    """A starter of an application, and what it is started with."""

    def __init__(self, base: Path, index: Path, uv_cache: Path) -> None:
        self.file, self.state, self.bin = base / "shop.py", base / "state", base / "bin"
        self.project, self.index = self.state / "shop", index
        self.bin.mkdir()
        own = {"HOME": str(base), "PATH": f"{self.bin}:/usr/bin:/bin"}
        self.env = {**own, "UV_CACHE_DIR": str(uv_cache), "UV_PYTHON_DOWNLOADS": "never"}
        self.write()

    def write(
        self, edit: Callable[[str], str] = str, run: str = "", links: str = "", index: str = "none", build: bool = False
    ) -> None:
        places = [] if index != "none" else [links or str(self.index)]
        starter = Starter(
            name="shop",
            requirements=["shop"],
            find_links=places,
            index=index,
            state=str(self.state),
            run=run,
            build=build,
        )
        text = starter.text()
        write_starter(self.file, edit(text))

    def program(self, name: str, script: str) -> None:
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def has_uv(self) -> None:
        (self.bin / "uv").unlink(missing_ok=True)
        (self.bin / "uv").symlink_to(uv_executable())

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        words = [sys.executable, str(self.file), *arguments]
        return subprocess.Popen(words, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def start(self, *arguments: str) -> tuple[int, str, str]:
        process = self.begin(*arguments)
        stdout, stderr = process.communicate(timeout=60)
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


def test_environments_lie_apart_from_what_applications_keep(shop: Shop) -> None:
    shop.write(lambda text: text.replace(f"STATE = {str(shop.state)!r}", "STATE = ''"))
    shop.program("uv", "pwd; exit 1")
    assert f"{shop.file.parent}/.local/share/releaser-environments/shop/first-" in shop.start()[2]


@pytest.mark.slow
def test_pip_makes_the_environment_where_there_is_no_uv(shop: Shop) -> None:
    assert shop.start() == (3, "shop venv True", MAKING)
    assert not (shop.project / "uv.lock").exists()


def test_two_that_start_at_once_make_one_environment_of_what_lies_beside_the_file(shop: Shop) -> None:
    for name in ("grp", "contextlib", "subprocess", "__future__"):  # which are not imported
        shop.file.with_name(f"{name}.py").write_text("raise SystemExit(99)")
    shop.write(links=os.path.relpath(shop.index, shop.file.parent))
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
    shop.write(lambda text: text if by else text.replace("FIRST_LIMIT = 900.0", "FIRST_LIMIT = 4.0"))
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
    told = "    print(signal.pthread_sigmask(signal.SIG_BLOCK, []))\n    return 1\n\n\ndef main"
    shop.write(lambda text: text.replace("    return 1\n\n\ndef main", told))
    shop.program("uv", "grep ^SigBlk /proc/self/status; exit 1")
    status, stdout, stderr = shop.start()
    assert (status, stdout, stderr.splitlines()[2].split()) == (1, "set()", ["SigBlk:", "0" * 16])
    (shop.bin / "uv").write_text("#!/nowhere/python\n")
    assert shop.start()[:2] == (1, "set()")


def test_an_environment_whose_python_is_gone_is_made_anew_and_what_a_release_leads_to_stays(
    shop: Shop, index: LocalIndex
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
    index.publish("shop", "2.0")
    told = f"{MAKING}\nshop: deleting {shop.state / 'first-left'}, which an earlier start left behind."
    assert shop.start() == (3, "shop venv True", told)  # as it was
    assert (shop.project / "pyproject.toml").read_text().endswith("# mine\n")
    assert venv.parent.name in shop.left()
    assert "first-left" not in shop.left()
    assert {"first-letters", "first-link"} < {*shop.left()}  # somebody else's


def test_what_others_may_have_made_is_not_started(shop: Shop) -> None:
    require(os.geteuid() == 0, "only root gives something away")
    shop.has_uv()
    shop.start()
    link = shop.project / ".venv"
    for path in (shop.state, shop.project, link, Path(os.path.realpath(link))):
        refusal = f"{path} belongs to another user, or others can write to it"
        os.chown(path, 65534, 65534, follow_symlinks=False)
        status, stdout, stderr = shop.start()
        assert (status, stdout, refusal in stderr) == (1, "", True)
        os.chown(path, 0, 0, follow_symlinks=False)
        if path != link:
            mode = path.stat().st_mode
            path.chmod(0o777)
            assert refusal in shop.start()[2]
            path.chmod(mode)
    assert shop.start()[0] == 3


def test_hooks_are_called_in_their_places(shop: Shop) -> None:
    hooks = "\n".join(
        f"def {name}(*given):\n    print({name!r}, *given[1:])\n    return {value}\n"
        for name, value in {"starting": None, "succeeded": None, "failed": 9, "main": 4}.items()
    )
    shop.write(lambda text: text.replace("# How it is done", f"{hooks}\n# How it is done"))
    shop.program("uv", "echo no such package; exit 1")
    assert shop.start("x") == (9, "starting\nfailed", "")
    shop.has_uv()
    assert shop.start("x") == (4, "starting\nsucceeded\nmain ['x']", "")
    assert shop.start("y") == (4, "main ['y']", "")


def test_what_uv_says_is_told_at_each_start_without_control_characters_and_secrets(shop: Shop) -> None:
    shop.env |= {"API_TOKEN": "s3cret", "DB_PASSWORD": "s3cret", "SSH_AUTH_SOCK": "s3cret"}
    shop.program("uv", r"env | grep s3cret; printf 'no \033]0;title\007such \033[2Jpack\bage\r\n'; exit 1")
    for _ in range(2):
        status, _, said = shop.start()
        assert (status, said.rpartition("\n")[0]) == (
            1,
            f"{MAKING}\nshop: its environment could not be created.\nno such package",
        )


@pytest.mark.parametrize("tells", [True, False])
def test_the_first_start_takes_nothing_young_where_the_index_tells_ages(
    shop: Shop, index: LocalIndex, *, tells: bool
) -> None:
    shop.has_uv()
    index.publish("shop", "2.0", modules={"shop/__init__.py": APP}, scripts=SCRIPTS)
    with serving(index.path) as server:
        shop.write(index=server.url)
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
            assert status == 1
            assert (
                f"MIN_AGE = 3 (days) and BUILD = False in {shop.file} limit the versions that it may install." in stderr
            )


@pytest.mark.parametrize("has_uv", [True, pytest.param(False, marks=pytest.mark.slow)])  # ensurepip, twice
def test_the_first_start_builds_nothing_unless_that_is_said(shop: Shop, index: LocalIndex, *, has_uv: bool) -> None:
    if has_uv:
        shop.has_uv()
    mark = shop.bin / "mark"
    (index.path / "shop-1.0-py3-none-any.whl").unlink()
    build_sdist(index.path, "shop", "1.0", mark=mark)
    status, _, stderr = shop.start()
    assert (status, mark.exists()) == (1, False)
    if has_uv:
        assert "building from source is disabled" in stderr
    shop.write(build=True)
    shop.start()
    assert mark.exists()


def test_what_is_named_by_its_url_may_have_to_be_built() -> None:
    for one, builds in (
        ("shop", False),
        ("shop @ https://a.b/shop-1-py3-none-any.whl", False),
        ("s @ git+https://a.b/s", True),
    ):
        assert f"\nBUILD = {builds}\n" in Starter(name="shop", requirements=[one]).text()


def test_releaser_takes_over_where_it_is_installed_and_updates(shop: Shop, index: LocalIndex) -> None:
    shop.has_uv()
    assert shop.start("1") == (3, "shop 1 venv True", MAKING)
    (shop.bin / "releaser").symlink_to(console_script())
    shop.write(lambda text: text.replace("WAIT = '5s'", "WAIT = '50s'"))
    second = shop.start("2")
    assert second[:2] == (3, "shop 2 venv True"), second[2]
    assert ".releaser/shop/releases" in os.readlink(shop.project / ".venv")
    index.publish("shop", "2.0", modules={"shop/__init__.py": APP.replace('"shop"', '"newer"')}, scripts=SCRIPTS)
    shop.write(lambda text: text.replace("REFRESH = 'daily'", "REFRESH = '1s'").replace("WAIT = '5s'", "WAIT = '50s'"))
    time.sleep(1)
    assert shop.start("3")[:2] == (3, "newer 3 venv True")


def test_a_releaser_that_does_not_work_keeps_nothing_from_starting(shop: Shop) -> None:
    shop.has_uv()
    shop.program("releaser", f"echo >> {shop.bin}/asked; exit 1")
    for _ in range(2):
        assert shop.start()[:2] == (3, "shop venv True")
    assert (shop.bin / "asked").read_text() == "\n"
    shop.adopt()
    assert shop.start()[:2] == (3, "shop venv True")
    shop.program("releaser", "exit 2")  # as an older one, which has no `exec`
    assert shop.start()[:2] == (3, "shop venv True")
    (shop.bin / "releaser").write_text("#!/nowhere/python\n")
    assert shop.start()[:2] == (3, "shop venv True")
    shop.program("releaser", "exit 5")  # it refuses
    assert shop.start()[:2] == (5, "")


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
    shop.write(lambda text: text + "# mine\n")
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
