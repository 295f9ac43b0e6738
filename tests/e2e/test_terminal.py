"""What a person sees on a terminal, and what a shell completes."""

import re

import pytest

from tests.e2e.scenes import silent
from tests.support.commands import releaser_command
from tests.support.sites import SampleSite, SiteFactory
from tests.support.terminal import read_screen, run_on_terminal


@pytest.mark.slow
def test_law_27_progress_is_for_a_terminal_alone(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0", dotenv={"RELEASER_TEST_COMMAND": "sh -c 'python run_tests.py && echo one door'"})
    history = site.state / "history.jsonl"
    site.edit(str(history), re.sub(r'("step":"test","status":"done","seconds":)[\d.]+', r"\g<1>100", history.read_text()))
    words = [*map(str, releaser_command()), "update", "--project", str(site.path)]
    status, shown = run_on_terminal(words, cwd=site.path, env=site.environment())
    screen = read_screen(shown)
    assert (status, "one door" in shown, "of about 1 min 40 s" in shown) == (0, True, True), shown
    assert ("one door" in screen, max(map(len, screen.splitlines())) <= 80) == (False, True), screen
    assert re.search(r"(?m)^✓ test +\d", screen), screen
    silent(site.releaser("update"))
