"""The documentation: its examples work on a site, its commands exist, and each page's examples are run by a test."""

import ast
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from releaser.cli import commands
from releaser.report.mail import _WORDS
from releaser.system.run import INSTALL, REBUILD, ROLLBACK
from tests.support.commands import HOUSE, releaser_command, uv_executable
from tests.support.servers import web_site
from tests.support.sites import SiteFactory

PAGES = [HOUSE / "README.md", HOUSE / "CONTRIBUTING.md", *sorted((HOUSE / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
#: Pages whose lines run here, on a site that has only a venv or a live release. Other pages have tests of their own.
HERE = {
    "README.md": "a venv",
    "CONTRIBUTING.md": "a release",
    "index.md": "a venv",
    "tutorial.md": "a release",
    "moving.md": "a venv",
    "pip.md": "a venv",
    "working-beside.md": "a release",
    "gunicorn.md": "a release",
    "passenger.md": "a release",
    "two-hosts.md": "a release",
    "many-hosts.md": "a release",
}
#: Programs that a test must not run, and what stands in for them.
PROGRAMS = {
    "sudo": "",
    "pipx": "",
    "systemctl": "",
    "ansible-playbook": 'for word; do case $word in bundle=*) test -f "${word#*=}";; esac; done',
    "crontab": 'test "$1" = -l || cat >/dev/null',
    "make": f'exec /usr/bin/make -n -C {HOUSE} "$@"',
    "uv": f'test "$1" != tool || {{ test -f "{HOUSE}/$4"; exit; }}; exec {uv_executable()} "$@"',
}


def read_blocks(page: Path) -> list[tuple[str, str]]:
    """Return the kind and the text of each block of a page."""
    found = _BLOCK.findall(page.read_text("utf-8"))
    return [(kind, re.sub(f"^{indent}", "", text, flags=re.MULTILINE)) for indent, kind, text in found]


@pytest.mark.slow
@pytest.mark.parametrize("name", HERE)
def test_the_examples_of_a_page_work(make_site: SiteFactory, name: str) -> None:
    site = make_site.live() if HERE[name] == "a release" else make_site()
    if HERE[name] == "a venv":
        site.make_venv()
    site.publish("alpha", "1.1.0")
    site.edit("requirements.txt", "alpha==1.0.0\nbeta==1.0.0\n")
    site.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{site.env['HOME']}/bundle-key")
    for program, text in PROGRAMS.items():
        site.edit(f"../programs/{program}", f"#!/bin/sh -e\n{text}\n").chmod(0o755)
    site.env["PATH"] = f"{site.outer / 'programs'}:{Path(releaser_command()[0]).parent}:{site.env['PATH']}"
    blocks = read_blocks(next(page for page in PAGES if page.name == name))
    assert blocks
    with web_site(lambda: 200) as web:
        words = {
            "/srv/shop_stuff/shop": str(site.path),
            "20261120T061200Z": site.live() if HERE[name] == "a release" else "",
            "https://shop.example.org/": web.url,
            "django": "alpha",
            "celery": "beta",
            "15 4 * * *": "",
            "$HOME/.local/bin/releaser": "releaser",
            "systemd --install": "systemd",  # root would write into /etc
            "releaser setup  ": "releaser setup --yes",
            "releaser init --from": "git checkout -q pyproject.toml; rm uv.lock; releaser init --from",
        }
        for kind, text in blocks:
            if kind in ("sh", "crontab"):
                for word, here in words.items():
                    text = text.replace(word, here)
                site.run("sh", "-euxc", text)
            elif kind == "toml" and "[tool.releaser]" in text:
                site.edit("bounds.txt", "django<6\n")
                before = (site.path / "pyproject.toml").read_text("utf-8")
                site.edit("pyproject.toml", f"{text}\n{before}")
                site.releaser("config", check=0)
                site.edit("pyproject.toml", before)
            elif kind == "dotenv":
                site.edit("../.env", (site.outer / ".env").read_text("utf-8") + text)
                site.releaser("config", check=0)


def test_the_examples_of_each_page_are_run_by_a_test() -> None:
    tests = "".join(path.read_text("utf-8") for path in (HOUSE / "tests").rglob("test_*.py"))
    for page in PAGES:
        kinds = {kind for kind, _ in read_blocks(page)}
        if kinds & {"sh", "console", "crontab", "dotenv", "toml", "yaml"}:
            assert f"{page.name}" in tests, f"no test runs the examples of {page.name}"
        for kind, text in read_blocks(page):
            if kind == "python":
                ast.parse(text)
            elif kind == "toml":
                tomllib.loads(text)


def test_each_command_of_the_documentation_exists() -> None:
    count = 0
    for page in PAGES:
        lines = re.findall(r"`(releaser [^`\n]+)`", page.read_text("utf-8"))
        for _, text in read_blocks(page):
            lines += re.findall(r"(?:^\$ |^)(releaser .+)", text, re.MULTILINE)
        for line in lines:
            words = shlex.split(line.replace("'", ""), comments=True)[1:]
            command: click.Command = commands.releaser
            while isinstance(command, click.Group) and words and words[0] != "…":
                assert words[0] in command.commands, f"{page.name}: `{line}`"
                command = command.commands[words.pop(0)]
            words = words[: words.index("--")] if "--" in words else words
            options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
            used = {word.partition("=")[0] for word in words if word.startswith("-")}
            assert used <= options | {"--help"}, f"{page.name}: `{line}`"
            count += 1
    assert count > 100


def test_the_page_about_mails_has_each_word_with_which_a_subject_begins() -> None:
    page = (HOUSE / "docs/what-now.md").read_text("utf-8")
    words = {word for word, _ in _WORDS.values()} - {"Done"} | {each.done for each in (ROLLBACK, REBUILD, INSTALL)}
    assert [word for word in words if word not in page] == []
