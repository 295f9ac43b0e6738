"""Findings say what is wrong and what to do; errors hold them."""

import ast
import re
from pathlib import Path

import pytest

from releaser.commands.output import Output
from releaser.errors import (
    BuildError,
    ExitCode,
    Finding,
    PreflightError,
    UsageError,
    error_line,
    explain_unreadable,
)

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("message", "advice", "said"),
    [
        ("no push", "Push.", "no push. Push."),
        ("no push.", "Push.", "no push. Push."),
        ("really?", "Push.", "really? Push."),
        ("git said:", "Push.", "git said: Push."),
        ("no push ", "", "no push"),
        ("", "Push.", "Push."),
    ],
)
def test_a_problem_and_its_advice_are_sentences(message: str, advice: str, said: str) -> None:
    assert str(Finding("a", message, advice=advice)) == said


def test_a_finding_is_explained_by_what_the_program_said() -> None:
    found = Finding("a", "no push", advice="Push.", output="To origin\nfatal: denied\n")
    assert found.explain() == Finding("a", "no push: fatal: denied".replace("fatal: ", ""), advice="Push.")
    assert found.explain().explain() == found.explain()
    assert Finding("a", "denied by the hook", output="denied").explain().message == "denied by the hook"


@pytest.mark.parametrize(
    ("error", "message", "advice"),
    [
        (PermissionError(13, "Permission denied", "/a"), "/a cannot be read by this user", "Run `"),
        (IsADirectoryError(21, "Is a directory", "/a"), "/a cannot be read: Is a directory (/a)", "Restore the file"),
        (UnicodeDecodeError("utf-8", b"s3cret", 0, 1, "no"), "/a cannot be read: it is not UTF-8", "Restore the file"),
    ],
)
def test_a_file_that_cannot_be_read_is_explained_without_its_contents(
    error: OSError | UnicodeError, message: str, advice: str
) -> None:
    found = explain_unreadable("/a", error)
    assert (found[0].startswith(message), found[1].startswith(advice)) == (True, True)
    assert "s3cret" not in str(found)


def test_a_long_explanation_keeps_both_ends() -> None:
    message = Finding("a", "it failed", output="a" * 5000 + "b" * 5000).explain().message
    assert message.startswith("it failed: aaa")
    assert message.endswith("bbb")
    assert len(message) < 700


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("", ""),
        ("Traceback\nValueError: no\n", "ValueError: no"),
        ("error: A\n  Caused by: B\n  Caused by: C\nhint: D", "A: B: C"),
        ("  × A\n  ├─▶ B\n  ╰─▶ C\n  hint: D", "A: B: C"),  # uv 0.12.0
    ],
)
def test_the_line_that_tells_why(output: str, line: str) -> None:
    assert error_line(output) == line


def test_an_error_of_one_finding_is_about_that_and_one_of_several_counts_them() -> None:
    one = PreflightError(Finding("no-b", "a", advice="b", output="c"))
    assert (one.message, one.advice, one.output, one.exit_code) == ("a", "b", "c", ExitCode.PREFLIGHT)
    assert one.finding.code == "no-b"
    assert PreflightError(Finding("no-a", "a"), one.finding).message == "2 problems found"


def test_of_a_wrong_word_it_is_not_said_that_live_is_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    for error, said in ((UsageError("no such name"), False), (BuildError("it failed"), True)):
        Output(changes=True).print_error(error)
        assert ("live: unchanged" in capsys.readouterr().err) == said


def test_every_finding_has_a_code_that_the_reference_lists() -> None:
    page = (ROOT / "docs" / "reference" / "findings.md").read_text(encoding="utf-8")
    table, _, plain = page.partition("These codes need no explanation:")
    explained, others = re.findall(r"(?m)^\| `([^`]+)` \|", table), re.findall(r"`([^`]+)`", plain)
    assert (explained, others) == (sorted({*explained}), sorted({*others}))
    assert not {*explained} & {*others}
    listed = [*explained, *others]
    assert [code for code in listed if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", code)] == []
    for path in (ROOT / "releaser").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            match node:
                case ast.Call(func=ast.Name(id="Finding" | "refuse"), args=[ast.Constant(value=code), _, *_]):
                    assert code in listed, f"{path}:{node.lineno}"
