"""`releaser completion`: what it installs, and what real shells then complete."""

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

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
def site(make_site: SiteFactory) -> SampleSite:
    """Return a site that nothing is done with."""
    return make_site()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home directory that has nothing."""
    place = tmp_path / "user"
    place.mkdir()
    return place


def at_home(home: Path) -> dict[str, str | None]:
    return {"HOME": str(home), "XDG_DATA_HOME": None, "XDG_CONFIG_HOME": None, "ZDOTDIR": str(home), "TERM": "xterm"}


def files_in(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if not path.is_dir())


@pytest.mark.parametrize("shell", PLACES)
def test_what_is_installed_is_written_once_and_removed(site: SampleSite, home: Path, shell: str) -> None:
    env = at_home(home)
    script = site.releaser("completion", shell, check=0, env=env).stdout
    assert "_RELEASER_COMPLETE" in script
    dry = site.releaser("completion", shell, "--install", "--dry-run", check=0, env=env)
    assert (dry.stdout, files_in(home)) == (f"dry run: would write {home / PLACES[shell]}\n", [])
    done = site.json("completion", shell, "--install", env=env)
    assert (done["path"], done["changed"], done["script"]) == (str(home / PLACES[shell]), True, script)
    assert files_in(home) == [PLACES[shell]]
    assert (home / PLACES[shell]).read_text(encoding="utf-8").startswith(script)
    assert site.json("completion", shell, "--install", env=env)["changed"] is False
    said = site.releaser("completion", shell, "--remove", check=0, env=env)
    assert (said.stdout, said.stderr) == ("", f"removed {home / PLACES[shell]}\n")
    assert files_in(home) == []
    assert site.json("completion", shell, "--remove", env=env)["changed"] is False


@pytest.mark.parametrize("kind", ["of others", "edited", "a symlink", "a directory"])
@pytest.mark.parametrize("option", ["--install", "--remove"])
def test_what_releaser_has_not_written_stays(site: SampleSite, home: Path, kind: str, option: str) -> None:
    env, place = at_home(home), home / PLACES["bash"]
    site.releaser("completion", "bash", "--install", check=0, env=env)
    script = place.read_text(encoding="utf-8")
    place.unlink()
    if kind == "a directory":
        place.mkdir()
    elif kind == "a symlink":
        (home / "dotfiles").write_text(script, encoding="utf-8")
        place.symlink_to(home / "dotfiles")
    else:
        place.write_text(
            "complete -W mine releaser\n" if kind == "of others" else f"# mine\n{script}", encoding="utf-8"
        )
    before = [(name, (home / name).read_bytes()) for name in files_in(home)]
    for more in ((), ("--dry-run",)):
        failed = site.releaser("completion", "bash", option, *more, check=2, env=env)
        assert str(place) in failed.stderr
    assert [(name, (home / name).read_bytes()) for name in files_in(home)] == before
    assert os.path.lexists(place)


def test_a_script_of_an_earlier_version_is_replaced(site: SampleSite, home: Path) -> None:
    from releaser.commands import shells

    env, place = at_home(home), home / PLACES["fish"]
    place.parent.mkdir(parents=True)
    place.write_text(shells._sealed("# earlier\n"), encoding="utf-8")
    assert site.json("completion", "fish", "--install", env=env)["changed"] is True
    assert "earlier" not in place.read_text(encoding="utf-8")


def test_bash_and_fish_complete_with_what_was_installed(make_site: SiteFactory, home: Path) -> None:
    site = make_site.adopted()
    env, wanted = (
        at_home(home),
        {
            "ro": "rollback",
            "show ": site.live_id(),
            "show li": "live",
            "hold al": "alpha",
            "config test_w": "test_writable",
        },
    )
    for shell in ("bash", "fish"):
        if not shutil.which(shell):
            continue
        site.releaser("completion", shell, "--install", check=0, env=env)
        for words, expected in wanted.items():
            line = f"releaser {words}"
            if shell == "fish":  # which finds its file by itself
                given = ["fish", "--command", 'complete --do-complete "$argv[1]"', line]
            else:
                script = (
                    'source ~/.local/share/bash-completion/completions/releaser; read -ra COMP_WORDS <<< "$1"\n'
                    '[[ $1 != *" " ]] || COMP_WORDS+=("")\n'
                    "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _releaser_completion releaser\n"
                    'printf "%s\\n" "${COMPREPLY[@]}"'
                )
                given = ["bash", "-c", script, "bash", line]
            assert run(given, cwd=site.path, env=site.environment(env), check=0).stdout.split()[:1] == [expected], shell


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_terminal_completes_with_the_tab_key(make_site: SiteFactory, home: Path, shell: str) -> None:
    require(shutil.which(shell), f"{shell} is not installed")
    loader = Path("/usr/share/bash-completion/bash_completion")  # which finds the file by itself
    home = home / "with a space" if shell == "zsh" else home  # bash-completion finds no file below such a directory
    site, env = make_site.adopted(), at_home(home)
    said = site.releaser("completion", shell, "--install", check=0, env=env).stderr
    if shell == "zsh":  # follow the advice
        line = said.partition("`")[2].partition("`")[0]
        (home / ".zshrc").write_text(f"{line}\nautoload -Uz compinit; compinit -u\nPS1='ready> '\n", encoding="utf-8")
        words = ["zsh", "-i"]
    else:
        (home / ".bashrc").write_text(
            f"source '{loader if loader.exists() else home / PLACES[shell]}'\nPS1='ready> '\n", encoding="utf-8"
        )
        words = ["bash", "-i"]
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        words,
        cwd=site.path,
        env=site.environment(env),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    ) as process:
        try:
            assert "ready> " in read_until(controller, "ready> ")
            os.write(controller, b"releaser rollb\t")
            assert "rollback" in read_until(controller, "rollback")
            os.write(controller, b"\x15releaser show " + site.live_id()[:12].encode() + b"\t")
            assert site.live_id() in read_until(controller, site.live_id())
        finally:
            process.kill()
            os.close(terminal)
            os.close(controller)


def read_until(controller: int, wanted: str, seconds: float = 20) -> str:
    """Return what a terminal shows, up to the text that is wanted."""
    shown, end = "", time.monotonic() + seconds
    while wanted not in shown and time.monotonic() < end:
        if select.select([controller], [], [], 0.2)[0]:
            shown += os.read(controller, 10_000).decode(errors="replace")
    return shown
