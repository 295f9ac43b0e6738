"""What is said of packages with which a trial has failed."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from releaser.candidate import trials
from releaser.candidate.install import _refuse_built_files
from releaser.candidate.trials import Trial, TrialResult
from releaser.errors import BuildError, SandboxError, ToolError
from releaser.site.supply import Supply
from releaser.system.process import Runner, Sandbox

TESTS = Trial(step="test", command=("python", "manage.py", "test"), name="the tests")
CHECK = Trial(step="django check", command=("python", "manage.py"), name="`manage.py check`")


@pytest.mark.parametrize(
    ("trial", "reason", "facts", "words"),
    [
        (TESTS, "exit status 1", {"output": "ValueError: no\n"}, "the tests failed with it: ValueError: no"),
        (CHECK, "exit status 1", {}, "`manage.py check` failed with it"),
        (TESTS, "it took 2 s", {"output": "KeyError: a\n", "timed_out": True}, "it took 2 s with it"),
        (TESTS, "no tests ran", {"proves_nothing": True}, "no tests ran with it"),
    ],
)
def test_a_fault_is_told_in_a_few_words(trial: Trial, reason: str, facts: dict[str, Any], words: str) -> None:
    assert TrialResult(**{"trial": trial, "reason": reason, "output": "", **facts}).fault == words


@pytest.mark.parametrize("mode", [None, 0o644])
def test_what_cannot_be_started_in_the_sandbox_is_no_failed_test(tmp_path: Path, mode: int | None) -> None:
    if mode is not None:
        (tmp_path / "tests.sh").write_text("#!/bin/sh\n", encoding="utf-8")
        (tmp_path / "tests.sh").chmod(mode)
    project, settings = SimpleNamespace(root=tmp_path), SimpleNamespace(test_timeout=60.0)
    site: Any = SimpleNamespace(runner=Runner(environ={"PATH": "/usr/bin:/bin"}), project=project, settings=settings)
    with pytest.raises(ToolError, match=r"tests\.sh cannot be started") as caught:
        trials.run_inside(site, tmp_path, ["./tests.sh"], sandbox=Sandbox(prefix=("env",)))
    assert caught.value.returncode is None


def test_a_signal_is_told_as_one_also_in_the_sandbox() -> None:
    site: Any = SimpleNamespace(settings=SimpleNamespace(test_timeout=60.0))
    failed = ToolError("python failed (exit status 139)", returncode=139)
    assert trials._not_passed(site, CHECK, failed).reason == "python failed (ended by SIGSEGV)"


@pytest.mark.parametrize(("failures", "passes"), [(0, True), (1, True), (2, False)])
def test_a_sandbox_is_made_once_more_and_one_that_cannot_be_made_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failures: int, passes: bool
) -> None:
    """As when a file system is unmounted after the sandbox has listed it."""
    left = [failures]

    def inside(*_: object) -> AbstractContextManager[Sandbox]:
        left[0] -= 1
        if left[0] >= 0:
            message = "a mount vanished"
            raise SandboxError(message, "Run it again.")
        return nullcontext(Sandbox())

    for name in ("unlink_live_data", "mark_tried"):
        monkeypatch.setattr(trials, name, lambda *_: None)
    monkeypatch.setattr(trials, "install_test_packages", lambda *_, **__: nullcontext(None))
    monkeypatch.setattr(trials, "confinement", lambda: SimpleNamespace(inside=inside))
    monkeypatch.setattr(trials, "run_inside", lambda *_, **__: SimpleNamespace(output="Ran 1 test in 0.1s\n\nOK\n"))
    site: Any = SimpleNamespace(tree=SimpleNamespace(is_staged=False))
    expected = nullcontext() if passes else pytest.raises(BuildError, match="could not be run: a mount vanished")
    with expected:
        assert trials.run_trial(site, TESTS, tmp_path, tmp_path / "uv.lock").passed


# Builds that write into the staging tree

LOCK = """\
version = 1
[[package]]
name = "site"
version = "1"
source = { editable = "." }
[[package]]
name = "member"
version = "1"
source = { editable = "packages/member" }
"""


@pytest.mark.parametrize(("made", "advised"), [("src/fast.so", False), ("packages/member/fast.so", True)])
def test_only_of_other_packages_than_the_project_a_wheel_is_advised(tmp_path: Path, made: str, advised: bool) -> None:
    (tmp_path / "uv.lock").write_text(LOCK)
    git = SimpleNamespace(layout=SimpleNamespace(top=tmp_path), unknown_files=lambda: [made])
    project = SimpleNamespace(root=tmp_path, lock=tmp_path / "uv.lock", of_checkout=lambda _: tmp_path)
    site: Any = SimpleNamespace(git=git, project=project, supply=Supply())
    with pytest.raises(ToolError) as caught:
        _refuse_built_files(site, set())
    assert "once in the checkout yourself." in caught.value.advice
    assert ("editable = false" in caught.value.advice) is advised
