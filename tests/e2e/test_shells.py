"""`releaser completion`: what it installs, and what real shells then complete."""

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from releaser.commands import shells
from tests.support.commands import run
from tests.support.guards import require
from tests.support.sites import SampleSite, SiteFactory

pytestmark = [pytest.mark.spawns, pytest.mark.slow]
PLACES = {
    "bash": ".local/share/bash-completion/completions/releaser",
    "zsh": ".local/share/zsh/site-functions/_releaser",
    "fish": ".config/fish/completions/releaser.fish",
}


@pytest.fixture
def site(make_site: SiteFactory, tmp_path: Path) -> SampleSite:
    """Return a site whose user has an empty home directory."""
    return at_home(make_site(), tmp_path / "user")


def at_home(site: SampleSite, home: Path) -> SampleSite:
    home.mkdir()
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        site.env.pop(name, None)
    site.env |= {"HOME": str(home), "ZDOTDIR": str(home), "TERM": "xterm"}
    return site


def files_in(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("shell", PLACES)
def test_what_is_installed_is_written_once_and_removed(site: SampleSite, shell: str) -> None:
    home = Path(site.env["HOME"])
    place = home / PLACES[shell]
    script = site.releaser("completion", shell, check=0).stdout
    assert "_RELEASER_COMPLETE" in script
    dry = site.releaser("completion", shell, "--install", "--dry-run", check=0)
    assert (dry.stdout, files_in(home)) == (f"dry run: would write {place}\n", {})
    done = site.json("completion", shell, "--install")
    assert (done["path"], done["changed"], done["script"]) == (str(place), True, script)
    assert [*files_in(home)] == [PLACES[shell]]
    assert place.read_text(encoding="utf-8").startswith(script)
    assert site.json("completion", shell, "--install")["changed"] is False
    place.write_text(shells._sealed("# by an earlier version\n"), encoding="utf-8")
    assert site.json("completion", shell, "--install")["changed"] is True
    assert place.read_text(encoding="utf-8").startswith(script)
    said = site.releaser("completion", shell, "--remove", check=0)
    assert (said.stdout, said.stderr, files_in(home)) == ("", f"removed {place}\n", {})
    assert site.json("completion", shell, "--remove")["changed"] is False


@pytest.mark.parametrize("kind", ["of others", "edited", "a symlink", "a directory"])
def test_what_releaser_has_not_written_stays(site: SampleSite, kind: str) -> None:
    home = Path(site.env["HOME"])
    place = home / PLACES["bash"]
    site.releaser("completion", "bash", "--install", check=0)
    script = place.read_text(encoding="utf-8")
    place.unlink()
    if kind == "a directory":
        place.mkdir()
    elif kind == "a symlink":
        (home / "dotfiles").write_text(script, encoding="utf-8")
        place.symlink_to(home / "dotfiles")
    else:
        place.write_text("complete -W mine releaser\n" if kind == "of others" else f"# mine\n{script}", "utf-8")
    before = files_in(home)
    for options in (["--install"], ["--remove"], ["--install", "--dry-run"], ["--remove", "--dry-run"]):
        assert str(place) in site.releaser("completion", "bash", *options, check=2).stderr
        assert files_in(home) == before
        assert os.path.lexists(place)


def test_fish_completes_with_what_was_installed(make_site: SiteFactory, tmp_path: Path) -> None:
    """As bash does, see tests/e2e/test_commands.py."""
    require(shutil.which("fish"), "fish is not installed")
    site = at_home(make_site.adopted(), tmp_path / "user")
    site.releaser("completion", "fish", "--install", check=0)
    for words, expected in (("ro", "rollback"), ("show ", site.live_id()), ("hold al", "alpha")):
        fish = ["fish", "--command", 'complete --do-complete "$argv[1]"', f"releaser {words}"]
        assert run(fish, cwd=site.path, env=site.env, check=0).stdout.split()[:1] == [expected]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_terminal_completes_with_the_tab_key(make_site: SiteFactory, tmp_path: Path, shell: str) -> None:
    require(shutil.which(shell), f"{shell} is not installed")
    # bash-completion finds no file below a directory with a space
    home = tmp_path / ("a user" if shell == "zsh" else "user")
    site = at_home(make_site.adopted(), home)
    said = site.releaser("completion", shell, "--install", check=0).stderr
    if shell == "zsh":  # follow the advice
        line = said.partition("`")[2].partition("`")[0]
        (home / ".zshrc").write_text(f"{line}\nautoload -Uz compinit; compinit -u\nPS1='ready> '\n", encoding="utf-8")
    else:
        loader = Path("/usr/share/bash-completion/bash_completion")  # which finds the file by itself
        file = loader if loader.exists() else home / PLACES[shell]
        (home / ".bashrc").write_text(f"source '{file}'\nPS1='ready> '\n", encoding="utf-8")
    keyboard, terminal = pty.openpty()
    with subprocess.Popen(
        [shell, "-i"], cwd=site.path, env=site.env, stdin=terminal, stdout=terminal, stderr=terminal,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            assert "ready> " in read_until(keyboard, "ready> ")
            os.write(keyboard, b"releaser rollb\t")
            assert "rollback" in read_until(keyboard, "rollback")
            os.write(keyboard, b"\x15releaser show " + site.live_id()[:12].encode() + b"\t")
            assert site.live_id() in read_until(keyboard, site.live_id())
        finally:
            process.kill()
            os.close(terminal)
            os.close(keyboard)


def read_until(controller: int, wanted: str, seconds: float = 20) -> str:
    """Return what a terminal shows, up to the text that is wanted."""
    shown, end = "", time.monotonic() + seconds
    while wanted not in shown and time.monotonic() < end:
        if select.select([controller], [], [], 0.2)[0]:
            shown += os.read(controller, 10_000).decode(errors="replace")
    return shown
