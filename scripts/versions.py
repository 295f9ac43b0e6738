"""The table of `make versions`: a part of the quick tests with each Python, git and uv that releaser is for.

Each row is tried in a chroot with a Debian of its own, as root with debootstrap; names of rows as arguments choose
among them. A row's Python is the host's own, or one of pyenv that is copied to it. It takes 40 minutes and 5 GB.
"""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from chroots import HOUSE, UPDATE, Host, copy_python, debian_host

#: The quick tests of what asks Python, git and uv most.
PARTS = ("update", "rollback", "remote", "shadow", "python", "django", "holds")
TESTS = " ".join(["tests/unit", *(f"tests/e2e/test_{part}.py" for part in PARTS)])
PACKAGES = "git make python3 python3-venv strace procps cron openssh-client"
PLACE = "/srv/releaser"


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one run is made of."""

    name: str
    suite: str
    #: A series that pyenv has; empty for the host's own.
    python: str = ""
    #: Empty for the one of requirements/.
    uv: str = ""
    #: The suite that git comes from; empty for the host's own.
    git: str = ""


ROWS = (
    Row(name="debian-12", suite="bookworm"),
    Row(name="debian-13", suite="trixie"),
    Row(name="debian-sid", suite="sid"),
    Row(name="python-3.12", suite="bookworm", python="3.12"),
    Row(name="oldest-uv", suite="bookworm", uv="0.13.0"),
    Row(name="old-git", suite="bookworm", git="bullseye"),
)


def install(host: Host, row: Row) -> None:
    """Put the last commit, its environment and the row's programs on the host."""
    subprocess.run(["git", "clone", "--quiet", "--no-local", HOUSE, host.root / PLACE.lstrip("/")], check=True)
    if row.git:
        host.run(f"sed 's/{row.suite}/{row.git}/' /etc/apt/sources.list >/etc/apt/sources.list.d/git.list")
        host.run(UPDATE)
        host.run(f"apt-get -qq -y --allow-downgrades install git/{row.git} git-man/{row.git}")
    python = "python3"
    if row.python:
        copy_python(host, next(Path.home().glob(f".pyenv/versions/{row.python}.*")))
        python = f"/opt/python/bin/python{row.python}"
    host.run(f"cd {PLACE}\nmake .venv/.ready PYTHON={python}")
    if row.uv:
        host.run(f"cd {PLACE}\n.venv/bin/uv pip install --quiet --python .venv/bin/python uv=={row.uv}")


def read_versions(host: Host) -> list[str]:
    """Return what Python, git and uv of the host say that they are."""
    programs = (".venv/bin/python --version", "git --version", ".venv/bin/uv --version")
    said = [host.read(f"cd {PLACE}\n{program}") for program in programs]
    return [re.findall(r"\d+(?:\.\d+)+", text)[0] for text in said]


def run_tests(host: Host) -> str:
    """Return the last line of pytest; show which tests failed or were skipped."""
    command = f"make test JOBS=2 ARGS='-q {TESTS}' >/tmp/tests.log 2>&1"
    host.run(f"cd {PLACE}\nUV_PYTHON_DOWNLOADS=never {command}", check=False, has_namespaces=True)
    lines = (host.root / "tmp/tests.log").read_text("utf-8").splitlines()
    print(*[line for line in lines if re.match("FAILED|ERROR|SKIPPED", line)], sep="\n", flush=True)
    return next((line.strip("= ") for line in reversed(lines) if " in " in line and "passed" in line), "no tests ran")


def see_refusal(host: Host) -> str:
    """Return what releaser says about git, where that is too old for it."""
    command = "mkdir -p /srv/shop/shop\ncd /srv/shop/shop\ngit init -q\nuv init -q --bare\nuv lock -q\nreleaser check"
    said = host.read(f"PATH={PLACE}/.venv/bin:$PATH\n{command}")
    refusal = re.search(r"^- (git is .*)\n +hint: (.*)$", said, re.MULTILINE)
    return f"refused: {refusal[1]} {refusal[2]}" if refusal else f"not refused: {said}"


def try_row(row: Row) -> str:
    """Return the line of the table for a row."""
    with debian_host(row.suite, PACKAGES) as host:
        install(host, row)
        versions = read_versions(host)
        print(f"\n{row.name}: {' '.join(versions)}", flush=True)
        result = see_refusal(host) if row.git else run_tests(host)
    line = f"| {row.name} | {' | '.join(versions)} | {result} |"
    print(line, flush=True)
    return line


def main() -> None:
    """Try each row, then print a table."""
    rows = [try_row(row) for row in ROWS if row.name in sys.argv[1:] or not sys.argv[1:]]
    print("\n| row | Python | git | uv | tests |\n|---|---|---|---|---|", *rows, sep="\n")


if __name__ == "__main__":
    main()
