"""Driving uv: its arguments as data, where it is found, what is made of its answers."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from releaser.errors import SandboxError, ToolError
from releaser.system.process import Runner, Sandbox
from releaser.tools.uv import LockBuilds, Locked, NoSolution, Uv, failed_builds, find_uv, unbuildable_packages
from releaser.tools.uv_arguments import local_export_arguments, lock_arguments, requirements_arguments, sync_arguments
from tests.live.pair import interpreter
from tests.site.fakes import FakeRunner
from tests.support.commands import clean_environment, uv_executable

UV = Path("/opt/uv/bin/uv")
TREE = Path("/srv/.site.releaser-staging")


# Arguments


@pytest.mark.parametrize(
    ("specifiers", "packages", "expected"),
    [
        ({}, [], ["--upgrade"]),
        ({}, ["alpha", "beta"], ["--upgrade"]),
        (
            {"beta": ">=1.0,!=2.0", "delta": None},
            ["gamma", "beta", "alpha", "delta"],
            ["--upgrade-package", "alpha", "--upgrade-package", "beta>=1.0,!=2.0", "--upgrade-package", "gamma"],
        ),
    ],
)
def test_a_lock_is_upgraded_whole_or_within_specifiers(
    specifiers: dict[str, str | None], packages: list[str], expected: list[str]
) -> None:
    assert lock_arguments(specifiers=specifiers, packages=packages, exclude_newer={}) == ["lock", *expected]


def test_default_groups_are_left_out_but_for_the_one_that_is_asked_for() -> None:
    without = ("dev", "test")
    for words in (
        sync_arguments(group="prod", link_mode="copy", without=without),
        local_export_arguments(group="prod", without=without),
        requirements_arguments(group="prod", without=without),
    ):
        assert words[-6:] == ["--no-group", "dev", "--no-group", "test", "--group", "prod"]
    assert sync_arguments(group="dev", link_mode="copy", without=without)[-4:] == [
        "--no-group", "test", "--group", "dev",
    ]  # fmt: skip


# Where uv is


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("setting", "environ", "expected"),
    [  # the setting comes first, then the path, then the uv beside releaser
        (None, {"PATH": "path"}, "path/uv"),
        ("set/uv", {"PATH": "path"}, "project/set/uv"),
        ("./set/uv", {"PATH": "path"}, "project/set/uv"),
        ("/set/uv", {"PATH": "path"}, None),
        ("~/uv", {"PATH": "path"}, "home/uv"),
        ("uv-0.11", {"PATH": "path"}, "path/uv-0.11"),
        ("uv-9", {"PATH": "path"}, None),
        ("gone/uv", {"PATH": "path"}, None),
        ("set/", {"PATH": "path"}, None),
        (None, {"PATH": ""}, "beside/uv"),
        (None, {"PATH": "nowhere"}, "beside/uv"),
        (None, {}, "beside/uv"),
        ("uv-9", {}, None),
        # One of an activated venv or the project comes last.
        (None, {"PATH": "env/bin", "VIRTUAL_ENV": "env"}, "beside/uv"),
        (None, {"PATH": "project/.venv/bin"}, "beside/uv"),
        (None, {"PATH": "env/bin:path", "VIRTUAL_ENV": "env"}, "path/uv"),
        (None, {"PATH": "project/.venv/bin:path"}, "path/uv"),
    ],
)
def test_uv_is_looked_for_in_this_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str | None, environ: dict[str, str], expected: str | None
) -> None:
    names = ("path/uv", "path/uv-0.11", "project/set/uv", "home/uv", "beside/uv", "env/bin/uv", "project/.venv/bin/uv")
    for name in names:
        program(tmp_path / name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("os.defpath", "/nowhere")
    monkeypatch.setattr("uv.find_uv_bin", lambda: str(tmp_path / "beside" / "uv"))
    absolute = {
        name: ":".join(f"{tmp_path}/{one}" for one in text.split(":")) for name, text in environ.items() if text
    }
    found = find_uv(setting, environ=absolute or environ, project=tmp_path / "project")
    assert found == (tmp_path / expected if expected else None)


def test_there_may_be_none_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing() -> str:
        raise FileNotFoundError

    monkeypatch.setattr("uv.find_uv_bin", missing)
    assert find_uv(None, environ={"PATH": "/nowhere"}, project=tmp_path) is None
    monkeypatch.setitem(sys.modules, "uv", None)
    assert find_uv(None, environ={"PATH": "/nowhere"}, project=tmp_path) is None


def test_a_path_that_is_relative_is_taken_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uv.find_uv_bin", lambda: "/beside/uv")
    program(tmp_path / "bin" / "uv")
    monkeypatch.chdir(tmp_path)
    assert find_uv("uv", environ={"PATH": "bin"}, project=Path("/srv/site")) == tmp_path / "bin" / "uv"
    assert find_uv(None, environ={"PATH": "bin"}, project=Path("/srv/site")) == Path("/beside/uv")


# What is asked, and the answers


def asking(answers: dict[str, str | ToolError], environ: dict[str, str] | None = None) -> tuple[Uv, FakeRunner]:
    runner = FakeRunner(environ=environ or {"PATH": "/bin"}, answers=answers)
    return Uv(runner=runner, executable=UV, timeout=60), runner


@pytest.mark.parametrize(("failures", "locks"), [(0, True), (1, True), (2, False)])
def test_a_sandbox_for_builds_is_made_once_more_if_it_does_not_start(failures: int, locks: bool) -> None:
    """As when a file system is unmounted after the sandbox has listed it."""
    left = [failures]

    @contextlib.contextmanager
    def sandbox(_: Path, python: Path) -> Iterator[Sandbox]:
        left[0] -= 1
        if left[0] >= 0:
            message = f"a mount vanished before {python} started"
            raise SandboxError(message, "Run it again.")
        yield Sandbox()

    driver, runner = asking({"uv lock": ""})
    driver = replace(driver, lock_builds=LockBuilds(nothing=None, sandbox=sandbox))
    with contextlib.nullcontext() if locks else pytest.raises(SandboxError, match="vanished"):
        driver._lock(["lock", "--python", "/usr/bin/python3"], TREE, timeout=60)
    assert len(runner.asked) == locks


@pytest.mark.parametrize("status", [1, 2])
def test_a_lock_that_needs_a_build_is_made_in_the_sandbox_however_uv_wraps_its_message(status: int) -> None:
    places = list[Path]()

    @contextlib.contextmanager
    def sandbox(tree: Path, python: Path) -> Iterator[Sandbox]:
        places.append(tree)
        yield Sandbox()

    output = "  ╰─▶ failed to symlink file from\n      /a to /b: Permission denied (os\n      error 13)\n"
    driver, _ = asking({"uv lock": ToolError("uv failed", returncode=status, output=output)})
    driver = replace(driver, lock_builds=LockBuilds(nothing=Sandbox(), sandbox=sandbox))
    with contextlib.suppress(ToolError):
        driver._lock(["lock", "--python", "/usr/bin/python3"], TREE, timeout=60)
    assert places == [TREE]


def test_the_version_is_understood_and_what_is_not_uvs_answer_is_refused() -> None:
    for answer, expected in {"uv 0.10.0 (abc 2026-01-01)\n": "0.10.0", "uv 0.12.0rc1\n": "0.12.0rc1"}.items():
        assert asking({"uv --version": answer})[0].version() == expected
    for answer in ("", "pip 26.0\n", "uv\n", "uv next\n", "\0\0", "x" * 5000):
        with pytest.raises(ToolError) as caught:
            asking({"uv --version": answer})[0].version()
        assert caught.value.message.startswith("/opt/uv/bin/uv --version printed ")
        assert len(caught.value.message) < 300
        assert caught.value.advice


def test_locking_happens_in_the_scratch_tree_with_the_python_that_was_found() -> None:
    driver, runner = asking({"uv lock": ""})
    driver.lock(TREE, ["lock", "--upgrade"], python=Path("/usr/bin/python3"))
    assert runner.asked == [["uv", "lock", "--upgrade", "--python", "/usr/bin/python3"]]
    assert "UV_PROJECT_ENVIRONMENT" not in runner.environments[0]


def test_no_solution_is_an_answer_and_nothing_else_is_taken_for_it() -> None:
    def lock(error: ToolError) -> object:
        driver, _ = asking({"uv lock": error})
        return driver.lock(TREE, ["lock"], python=Path("/usr/bin/python3"))

    assert lock(ToolError("no", output="alpha 2.0 is not there", returncode=1)) == NoSolution(
        output="alpha 2.0 is not there"
    )
    for error in (ToolError("no index", returncode=2), ToolError("too late", returncode=1, timed_out=True)):
        with pytest.raises(ToolError):
            lock(error)
    above = "warning: Failed to parse `/srv/pyproject.toml` during settings discovery:"
    assert isinstance(asking({"uv lock": above})[0].lock(TREE, ["lock"], python=Path("/usr/bin/python3")), Locked)
    said = "warning: Failed to parse `pyproject.toml` during settings discovery:\n  unknown field `x`"
    for answer in (said, ToolError("no", output=said, returncode=1)):
        with pytest.raises(ToolError, match="cannot read its settings") as caught:
            asking({"uv lock": answer})[0].lock(TREE, ["lock"], python=Path("/usr/bin/python3"))
        assert "[tool.uv]" in caught.value.advice


def test_syncing_goes_to_the_release_whatever_the_environment_says(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "python")
    environ = {"UV_PROJECT_ENVIRONMENT": "/live", "UV_INDEX_URL": "x", "UV_CACHE_DIR": "/cache", "VIRTUAL_ENV": "/live"}
    driver, runner = asking({"uv sync": ""}, environ)
    driver.sync(TREE, tmp_path, ["sync"], python=Path("/usr/bin/python3"))
    (env,) = runner.environments
    assert env["UV_PROJECT_ENVIRONMENT"] == str(tmp_path)
    assert env["UV_CACHE_DIR"] == "/cache"
    assert env["GIT_OPTIONAL_LOCKS"] == "0"
    assert env.keys().isdisjoint({"UV_INDEX_URL", "VIRTUAL_ENV"})


def test_a_sync_that_leaves_no_environment_is_a_failure(tmp_path: Path) -> None:
    driver, _ = asking({"uv sync": "done\n"})
    with pytest.raises(ToolError, match="sync left no environment at"):
        driver.sync(TREE, tmp_path, ["sync"], python=Path("/usr/bin/python3"))


def test_the_live_venv_is_offered_as_the_python_to_stay_on(tmp_path: Path) -> None:
    driver, runner = asking({"uv python find": sys.executable + "\n"})
    assert driver.find_python(tmp_path, tmp_path / "venv", request=None) == Path(sys.executable)
    program(tmp_path / "venv" / "bin" / "python")
    assert driver.find_python(tmp_path, tmp_path / "venv", request="3.12") == Path(sys.executable)
    without, within = runner.asked
    assert without == ["uv", "python", "find", "--no-python-downloads", "--system"]
    assert within == ["uv", "python", "find", "--no-python-downloads", "3.12"]
    assert [env.get("VIRTUAL_ENV") for env in runner.environments] == [None, str(tmp_path / "venv")]


def test_a_python_that_is_not_there_or_has_no_version_is_nonsense(tmp_path: Path) -> None:
    for answer in ("", "python3\n", "/no/such/python\n", "3.12\n", "\n\n"):
        with pytest.raises(ToolError, match="python find"):
            asking({"uv python find": answer})[0].find_python(tmp_path, tmp_path / "venv", request=None)
    for answer in ("", "python 3.11\n", "x\n"):
        with pytest.raises(ToolError, match="is not uv's answer"):
            asking({"uv python find": answer})[0].python_version(Path(sys.executable))
    assert asking({"uv python find": "3.11.7\n"})[0].python_version(Path(sys.executable)) == "3.11.7"


def test_real_uv_knows_its_own_answers(tmp_path: Path) -> None:
    """With the uv of the tests: what is parsed above is what it prints."""
    env = clean_environment(tmp_path / "home", tmp_path / "cache")
    driver = Uv(runner=Runner(environ=env), executable=uv_executable(), timeout=60)
    assert driver.version()[:1].isdigit()
    python = driver.find_python(tmp_path, tmp_path / "venv", request=None)
    assert driver.python_version(python) == ".".join(map(str, sys.version_info[:3]))
    assert driver.run(["cache", "dir"]).strip() == str(tmp_path / "cache")


def test_the_version_file_counts_also_where_uv_ignores_its_settings(tmp_path: Path) -> None:
    """A bundle is installed with `UV_NO_CONFIG`; the Python is the one that was named before it was unpacked."""
    env = clean_environment(tmp_path / "home", tmp_path / "cache")
    env["PATH"] = os.pathsep.join([str(interpreter(one).parent) for one in ("3.12", "3.11")] + [env["PATH"]])
    (tmp_path / ".python-version").write_text("3.11\n", encoding="utf-8")
    for variables in ({}, {"UV_NO_CONFIG": "1"}):
        driver = Uv(runner=Runner(environ=env), executable=uv_executable(), timeout=60, variables=variables)
        found = driver.find_python(tmp_path, None, request=None)
        assert driver.python_version(found).startswith("3.11.")


def test_an_export_is_read_whole_however_long_the_lock_is(tmp_path: Path) -> None:
    fake = program(tmp_path / "uv")
    fake.write_text("#!/bin/sh\nyes alpha==1.0 | head -n 300000\n", encoding="utf-8")
    driver = Uv(runner=Runner(environ={"PATH": "/usr/bin:/bin"}), executable=fake, timeout=60)
    assert driver.run(["export"]) == "alpha==1.0\n" * 300_000


BACKEND = "  x Failed to build `alpha==2.0`\n  |-> The build backend returned an error\n"


@pytest.mark.parametrize(
    ("output", "failed", "unbuildable"),
    [
        ("error: the index does not answer", (), ()),
        ("  x Failed to download and build `alpha==2.0`\n  |-> timed out\n", (("alpha", "2.0"),), ()),
        (BACKEND, (("alpha", "2.0"),), (("alpha", "2.0"),)),
        (BACKEND.replace("build `", "download and build `"), (("alpha", "2.0"),), (("alpha", "2.0"),)),
        (BACKEND + "OSError: No space left on device\n", (("alpha", "2.0"),), ()),
        (BACKEND + "OSError: [Errno 122] Disk quota exceeded\n", (("alpha", "2.0"),), ()),
        # As uv 0.12.0 wraps lines.
        (
            BACKEND.replace("build `", "build\n  │ `").replace("backend ", "backend\n  │   "),
            (("alpha", "2.0"),),
            (("alpha", "2.0"),),
        ),
    ],
)
def test_what_cannot_be_built_for_a_reason_of_its_own_is_told_from_what_failed(
    output: str, failed: tuple[tuple[str, str], ...], unbuildable: tuple[tuple[str, str], ...]
) -> None:
    assert failed_builds(output) == failed
    assert unbuildable_packages(output) == unbuildable
