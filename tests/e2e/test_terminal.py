"""What a person sees on a terminal, and what a shell completes."""

import os
import re
from pathlib import Path

import pytest

from releaser.cli.common import completion_line
from tests.e2e.scenes import says, silent
from tests.support.commands import releaser_command, run
from tests.support.sites import SiteFactory
from tests.support.terminal import read_screen, run_on_terminal


@pytest.mark.slow
def test_law_27_progress_is_for_a_terminal_alone(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0", dotenv={"RELEASER_TEST_COMMAND": "sh -c 'python run_tests.py && echo one door'"})
    history = site.state / "history.jsonl"
    site.edit(
        str(history), re.sub(r'("step":"test","status":"done","seconds":)[\d.]+', r"\g<1>100", history.read_text())
    )
    words = [*map(str, releaser_command()), "update", "--project", str(site.path)]
    status, shown = run_on_terminal(words, cwd=site.path, env=site.environment())
    screen = read_screen(shown)
    assert (status, "one door" in shown, "of about 1 min 40 s" in shown) == (0, True, True), shown
    assert ("one door" in screen, max(map(len, screen.splitlines())) <= 80) == (False, True), screen
    assert re.search(r"(?m)^✓ test +\d", screen), screen
    silent(site.releaser("update"))


def test_a_shell_completes_commands_releases_and_what_is_on_hold(make_site: SiteFactory) -> None:
    site = make_site.live()
    site.releaser("hold", "beta", check=0)
    words = {
        "stat": ["status"],
        "rollback 2": [site.live()],
        "unhold b": ["beta"],
        "unhold x": [],
        "show p": ["previous"],
    }
    for typed, expected in words.items():
        env = {"_RELEASER_COMPLETE": "bash_complete", "COMP_WORDS": f"releaser {typed}"}
        env |= {"COMP_CWORD": str(len(typed.split())), "RELEASER_PROJECT": str(site.path)}
        shown = run(releaser_command(), cwd=site.path, env=site.environment(env)).stdout
        assert [line.partition(",")[2] for line in shown.split()] == expected, typed
    nowhere = {**env, "RELEASER_PROJECT": str(site.base)}
    assert run(releaser_command(), cwd=site.base, env=site.environment(nowhere)).stdout.strip() == "", (
        "an error in the middle of a line"
    )


#: What a person mistypes, with the exit code, and what is close to it.
MISTYPED = {"statsu": (2, "status"), "update --dry-rnu": (2, "--dry-run"), "config kep": (2, "keep"),
            "hold betta": (3, "beta"), "unhold alpah": (3, "alpha"), "outdated aplha": (3, "alpha"),
            "show liev": (9, "live")}  # fmt: skip


def test_what_is_mistyped_is_guessed(make_site: SiteFactory) -> None:
    site = make_site.live()
    site.releaser("hold", "alpha", check=0)
    for typed, (code, close) in MISTYPED.items():
        finished = site.releaser(*typed.split(), project=None, cwd=site.path, check=code)
        assert re.search(rf"(?i)did you mean [`']{close}[`']", finished.stderr), finished
    release = site.live()
    says(site.releaser("show", f"{release[:-3]}9{release[-2:]}", check=9), f"Did you mean `{release}`?")


@pytest.mark.parametrize("group", [[], ["schedule"], ["bundle"]])
def test_a_help_has_whole_sentences(group: list[str], tmp_path: Path) -> None:
    shown = run([*releaser_command(), *group, "--help"], cwd=tmp_path, env={**os.environ, "COLUMNS": "80"}, check=0)
    assert not re.search(r"(?m)^ .*[.]{3}$|.{81}", shown.stdout), shown.stdout


def test_the_line_of_completion_works_in_a_shell(make_site: SiteFactory) -> None:
    site = make_site()
    path = f"{Path(releaser_command()[0]).parent}:{site.env['PATH']}"
    line = completion_line("bash")
    finished = run(["bash", "-c", f"{line}; complete -p releaser"], cwd=site.path, env=site.environment({"PATH": path}))
    assert (finished.stdout, finished.stderr) == ("complete -o nosort -F _releaser_completion releaser\n", "")
    for shell in ("zsh", "fish"):
        assert f"_RELEASER_COMPLETE={shell}_source releaser" in completion_line(shell)
        env = site.environment({"_RELEASER_COMPLETE": f"{shell}_source"})
        assert "complet" in run(releaser_command(), cwd=site.path, env=env, check=0).stdout
