"""A failed test is repeated once, alone: the plugin in tests/support/flaky.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
XDIST = ["-p", "xdist.plugin", "-n", "2"]
PASSES_AT_THE_SECOND_TRY = """
import pathlib, pytest
@pytest.mark.parametrize("name", {names})
def test_flaky(name):
    mark = pathlib.Path(__file__).with_name(name)
    again = mark.exists()
    mark.touch()
    assert again
"""


def run_pytest(
    directory: Path, *options: str, text: str, flaky_tests: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run pytest with the plugin on one file of tests, in a process with an environment of its own."""
    (directory / "test_sample.py").write_text(text)
    (directory / "pytest.ini").write_text("[pytest]\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "FLAKY_"))}
    env |= {"PYTHONPATH": str(HOUSE), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # they take half of the time
    env |= {"FLAKY_TESTS": str(flaky_tests)} if flaky_tests else {}
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.flaky", "-p", "no:cacheprovider", *options]
    return subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.slow
def test_a_test_that_passes_alone_is_flaky_and_does_not_fail_the_run(tmp_path: Path) -> None:
    noted = tmp_path / "flaky"
    ended = run_pytest(tmp_path, *XDIST, text=PASSES_AT_THE_SECOND_TRY.format(names=["a b", "c"]), flaky_tests=noted)
    assert ended.returncode == 0, ended.stdout
    assert all(words in ended.stdout for words in ("flaky: test_sample.py::test_flaky[a b]", "2 failed in "))
    assert ended.stdout.count("2 workers [") == 1, "a repeat is alone"
    assert sorted(noted.read_text().split("test_sample.py::")) == ["", "test_flaky[a b]\n", "test_flaky[c]\n"]


@pytest.mark.slow
def test_a_test_that_fails_twice_fails_the_run(tmp_path: Path) -> None:
    text = PASSES_AT_THE_SECOND_TRY.format(names=["a"]) + "\ndef test_wrong():\n    assert 1 == 2\n"
    ended = run_pytest(tmp_path, text=text)
    assert (ended.returncode, "failed twice: test_sample.py::test_wrong" in ended.stdout) == (1, True)
    assert "flaky: test_sample.py::test_flaky[a]" in ended.stdout


def test_a_repeat_that_skips_is_not_a_pass(tmp_path: Path) -> None:
    text = PASSES_AT_THE_SECOND_TRY.format(names=["a"]).replace("assert again", "pytest.skip() if again else 1 / 0")
    ended = run_pytest(tmp_path, text=text)
    assert (ended.returncode, "failed twice: test_sample.py::test_flaky[a]" in ended.stdout) == (1, True)


def test_more_than_three_failed_tests_are_too_many(tmp_path: Path) -> None:
    ended = run_pytest(tmp_path, text=PASSES_AT_THE_SECOND_TRY.format(names=list("abcd")))
    assert (ended.returncode, "4 tests failed: too many to be flaky" in ended.stdout) == (1, True)


@pytest.mark.slow
def test_flaky_tests_of_several_runs_count_together(tmp_path: Path) -> None:
    earlier = tmp_path / "flaky"
    earlier.write_text("one\ntwo\n")
    three = run_pytest(tmp_path, text=PASSES_AT_THE_SECOND_TRY.format(names=["a"]), flaky_tests=earlier)
    four = run_pytest(tmp_path, text=PASSES_AT_THE_SECOND_TRY.format(names=["b"]), flaky_tests=earlier)
    assert (three.returncode, four.returncode) == (0, 1), three.stdout
    assert "4 flaky so far" in four.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "options"),
    [
        pytest.param("import os\ndef test_crash():\n    os._exit(1)\n", XDIST, id="a worker crashed"),
        pytest.param(PASSES_AT_THE_SECOND_TRY.format(names=["a", "b"]), ["-x"], id="the run stopped early"),
        pytest.param("import pathlib\n1 / 0\n", [], id="tests could not be collected"),
    ],
)
def test_a_run_that_a_repeat_cannot_judge_fails(tmp_path: Path, text: str, options: list[str]) -> None:
    ended = run_pytest(tmp_path, *options, text=text)
    assert (ended.returncode != 0, "once more" in ended.stdout) == (True, False)
