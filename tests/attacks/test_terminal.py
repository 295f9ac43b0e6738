"""Text from packages, tests, commits, remotes and processes cannot affect a terminal, a log or a mail."""

import re
import subprocess
import sys

import pytest

from releaser.commands.output import Output
from tests.e2e.scenes import body, make_hook, on_terminal
from tests.support.sites import SampleSite, SiteFactory, variables

# The title of the window, a link, colours, a cleared screen; the same in C1; text that reads backwards.
EVIL = "\x1b]0;owned\x07\x1b]8;;http://owned.example\x1b\\\x1b[2J\x1b[31m\x9d0;owned\x9c\x9b2J\u202efdp.exe\u2066\u200f"
HARMFUL = r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
ON_A_TERMINAL = re.compile(HARMFUL + r"|\x1b[\]PX^_]|\x1b\[2J")
ELSEWHERE = re.compile(HARMFUL + r"|\x1b")  # where nobody asked for colours
TESTS = f"import sys\nprint({EVIL!r})\nprint({f'FAIL: test_it ({EVIL})'!r})\nprint('the end')\nsys.exit(%d)\n"


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site with two releases, of which the second one is live."""
    return make_site.adopted("1.1.0")


def harmless(site: SampleSite, *commands: list[str]) -> str:
    """Give commands, at a terminal and elsewhere; see that nothing gets through, and return what was said."""
    said = ""
    for first, *words in commands:
        _, shown = on_terminal(site, first, *words)
        assert ON_A_TERMINAL.findall(shown) == [], (first, shown)
        said += shown
    for words in (["update", "--json", "-v"], ["status"], ["history"]):
        finished = site.releaser(*words)
        assert ELSEWHERE.findall(finished.stdout + finished.stderr) == [], (words, finished)
    kept = [site.state_dir / "history.jsonl", *site.state_dir.rglob("*.log"), *site.state_dir.glob("*.json")]
    kept += site.state_dir.glob("releases/*/*.*")
    texts = [path.read_text(encoding="utf-8") for path in kept]
    for text in (*texts, *(body(site, number) for number in range(len(site.outbox_mails())))):
        assert ELSEWHERE.findall(text) == [], text
    return said


@pytest.mark.parametrize("status", [0, 1])
def test_tests_and_commits_cannot(site: SampleSite, status: int) -> None:
    site.push_from_elsewhere({"run_tests.py": TESTS % status}, message=f"Mend{EVIL} it")
    site.publish("alpha", "1.2.0")
    said = harmless(site, ["update"], ["list"], ["status"], ["show", site.live_id()])
    assert "Mend" in said
    assert status == 0 or "the end" in said


def test_a_remote_cannot(site: SampleSite) -> None:
    make_hook(site.remote, "pre-receive", f"printf '%s\\n' '{EVIL}refused' >&2; exit 1")
    site.publish("alpha", "1.2.0")
    assert "refused" in harmless(site, ["update"], ["check"], ["status"])


def test_settings_and_commands_of_the_site_cannot(site: SampleSite) -> None:
    site.write_dotenv({"RELEASER_RESTART": f"sh -c 'printf %s \"{EVIL}no restart\"; exit 1'", "RELEASER_KEEP": EVIL})
    site.publish("alpha", "1.2.0")
    assert "RELEASER_KEEP" in harmless(site, ["update"], ["check"], ["status"])


@pytest.mark.parametrize("leaves", [True, False])
def test_processes_that_a_restart_command_leaves_cannot(site: SampleSite, *, leaves: bool) -> None:
    left = f"import time; time.sleep(10)  # {EVIL}"
    script = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {left!r}])"
    (site.outer / "serve.py").write_text(script, encoding="utf-8")
    site.write_dotenv(variables(restart=f"{sys.executable} {site.outer}/serve.py", restart_leaves_service=leaves))
    site.publish("alpha", "1.2.0")
    harmless(site, ["update"])
    assert "import time; time.sleep(10)" in body(site)


def test_output_of_a_command_cannot(capsys: pytest.CaptureFixture[str]) -> None:
    """Each text that it shows is made harmless where it comes from as well."""
    Output().print_lines([EVIL, "the end"])
    Output().note(EVIL)
    shown = capsys.readouterr()
    assert ELSEWHERE.findall(shown.out + shown.err) == []
    assert shown.out.endswith("the end\n")


def test_a_process_on_an_earlier_release_cannot(site: SampleSite) -> None:
    before = site.live_id()
    programs = site.state_dir / "releases" / before / "venv" / "bin"
    words = ["./python", "-c", "import time; time.sleep(600)", EVIL]  # short, as what is long is cut off
    with subprocess.Popen(words, env=site.environment(), cwd=programs) as process:
        try:
            site.update_to("alpha", "1.2.0")
            said = harmless(site, ["status"], ["list"], ["show", before], ["update", "--force"])
            assert "./python -c import time; time.sleep(600) ?]0;owned" in " ".join(said.split())
        finally:
            process.kill()
