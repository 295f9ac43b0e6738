"""The tutorial: its files are written, its commands run as they stand on a terminal, and print what it says."""

import re
from pathlib import Path

import pytest

from tests.support.commands import HOUSE, clean_environment, releaser_command
from tests.support.terminal import read_screen, run_on_terminal
from tests.support.wheels import build_wheel

_FENCE = re.compile(r'^```(\w+)(?: title="([^"\n]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
# Ids, commits, seconds, sizes and Pythons.
_VARYING = re.compile(r"\d{8}T\d{6}Z(-\d+)?|\b[0-9a-f]{12}\b|\d+\.\d s\b|\d+ [KM]iB|\b3\.\d+\.\d+\b")
INTCOMMA = {"humanize/__init__.py": 'def intcomma(value):\n    return f"{value:,}"\n'}


def squeeze(text: str) -> str:
    """Return a text without what differs in each run, and with single spaces."""
    return re.sub(r"[ \n]+", " ", _VARYING.sub("N", text)).strip()


def matches(expected: str, shown: str) -> bool:
    """Return True if a command printed what the page says; `…` stands for any text."""
    parts = map(re.escape, squeeze(expected).split("…"))
    return re.fullmatch(".*".join(part.replace(r"\ ", " *") for part in parts), squeeze(shown)) is not None


@pytest.mark.slow
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    for version in ("4.9.0", "4.12.3"):
        (tmp_path / "index").mkdir(exist_ok=True)
        build_wheel(tmp_path / "index", "humanize", version, modules=INTCOMMA)
    config = tmp_path / "uv.toml"
    config.write_text(f'no-index = true\nfind-links = ["{tmp_path / "index"}"]\n', encoding="utf-8")
    place = tmp_path / "home"
    env = clean_environment(place, tmp_path / "cache") | {"UV_CONFIG_FILE": str(config), "GIT_PAGER": "cat"}
    env["RELEASER_AUDIT"] = "off"  # no test asks a service on the network
    env["PATH"] = f"{Path(releaser_command()[0]).parent}:{env['PATH']}"
    page = (HOUSE / "docs/tutorial.md").read_text(encoding="utf-8")
    ran = 0
    for kind, title, text in _FENCE.findall(page):
        if title:
            (place / title).write_text(text, encoding="utf-8")
        for command, expected in (
            re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE) if kind == "console" else ()
        ):
            if command.startswith("cd "):
                place /= command.removeprefix("cd ")
                continue
            status, shown = run_on_terminal(["bash", "-c", command], cwd=place, env=env)
            screen = read_screen(shown)
            assert status == 0, f"`{command}` ended with {status}:\n{screen}"
            expected = re.sub(r"^✓ audit .*\n", "", expected, flags=re.MULTILINE)
            assert matches(expected, screen), f"`{command}` should have printed:\n{expected}\nbut printed:\n{screen}"
            ran += 1
    assert ran > 30
