"""What `make bench` found out, as docs/project/performance-figures.md and as a plot."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from bench_figures import BenchError, Part, duration, version_of
from made import fill

from releaser import __version__
from tests.support.commands import git_executable, uv_executable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench_aims import Aim
    from bench_figures import Table

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "project" / "performance-figures.md"
PLOT = ROOT / "docs" / "images" / "performance.png"
FOUND = ROOT / ".bench"


def keep(name: str, part: Part) -> None:
    """Keep what a part found out, so that the page can be written when others are measured again."""
    FOUND.mkdir(exist_ok=True)
    (FOUND / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(part), indent=1))


def read(names: Sequence[str]) -> dict[str, Part]:
    """Return what each of these parts found out when it was last measured."""
    files = {name: FOUND / f"{name}.json" for name in names}
    found = dict[str, Part]()
    for name, file in files.items():
        with contextlib.suppress(OSError, msgspec.MsgspecError):  # as another version of the bench may have written it
            found[name] = msgspec.json.decode(file.read_bytes(), type=Part)
    return found


def commit() -> str:
    """Return the commit that is measured; a `+` says that something is not committed."""
    words = (git_executable(), "-C", ROOT, "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+")
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def write_page(parts: Mapping[str, Part], aims: Sequence[Aim]) -> None:
    """Write the figures into the page; a part that was measured at another commit than the last says so."""
    versions = {
        "releaser": __version__,
        "Python": platform.python_version(),
        "uv": version_of(uv_executable(), "--version"),
        "git": version_of(git_executable(), "--version"),
    }
    for part in parts.values():
        versions |= part.versions
    last = max(parts.values(), key=lambda part: part.measured, default=None)
    measured = f"at commit {last.commit}, on {last.measured[:10]}" if last else "never"
    lines = [
        f"Measured {measured}, on {machine()}, with {', '.join(f'{name} {one}' for name, one in versions.items())}.",
        f"{sum(aim.is_met for aim in aims)} of {len(aims)} aims are met.",
        "",
        *aim_rows(aims),
    ]
    for part in parts.values():
        lines += ["", f"### {part.title}"]
        if last is not None and part.commit != last.commit:
            lines += ["", f"Measured at another commit, {part.commit or 'unknown'}, on {part.measured[:10]}."]
        for table in part.tables:
            lines += ["", *table_rows(table)]
        lines += ["", *(f"- {note}" for note in part.notes)] if part.notes else []
    fill(PAGE, {"figures": "\n".join(lines)})


def aim_rows(aims: Sequence[Aim]) -> list[str]:
    """Return the table of the aims."""
    rows = [
        f"| {aim.what} | {aim.bound} | {aim.said.replace('|', '/')} | {f'**{one}**' if one == 'missed' else one} |"
        for aim in aims
        for one in [aim.verdict]
    ]
    return ["| what | aim | found | |", "|---|---|---|---|", *rows]


def table_rows(table: Table) -> list[str]:
    """Return a table of programs that took turns."""
    rows = []
    for figure in table.figures:
        low, high = map(duration, figure.spread)
        times = (f"{figure.times(table.figures[0], which):.2f}" for which in ("wall", "cpu"))
        rows.append(
            f"| {figure.name} | {duration(figure.median())} | {low} to {high} | {duration(figure.median('cpu'))} |"
            f" {' | '.join(times)} | {len(figure.costs)} |"
        )
    header = f"| {table.title} | median | quartiles | CPU | times the first | of its CPU | runs |"
    return [header, "|---|---|---|---|---|---|---|", *rows]


def machine() -> str:
    """Describe the machine: processors, memory, kernel, and the file system of what is measured."""
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    total = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"))
    memory = f"{int(total[1]) / 1e6:.0f} GB of memory" if total else "memory of unknown size"
    model = found[1].strip() if found else platform.machine()
    return (
        f"{os.cpu_count()} processors ({model}), {memory}, Linux {platform.release().split('-')[0]},"
        f" {file_system(Path(os.environ.get('TMPDIR', '/tmp')))}"  # noqa: S108 - what is measured lies there
    )


def file_system(place: Path) -> str:
    """Return the type of the file system that a directory is on."""
    words = ["stat", "--file-system", "--format=%T", str(place)]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def now() -> str:
    """Return the time in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M")


def plot(parts: Mapping[str, Part], aims: Sequence[Aim]) -> None:
    """Draw how the aims stand, and what a rollback takes beside its peers; matplotlib has an environment of its own."""
    python = ROOT / ".venv-bench" / "bin" / "python"
    if not python.exists():
        message = "no plot is drawn: `make bench` installs matplotlib into .venv-bench"
        raise BenchError(message)
    drawn = [
        {"what": aim.what, "share": aim.share, "said": f"{aim.said[:60]} ({aim.bound})"}
        for aim in aims
        if aim.found is not None
    ]
    tables = [
        {
            "title": table.title,
            "bars": [[one.name, one.median(), *one.spread] for one in table.figures],
        }
        for name in ("rollback", "updates")
        for table in (parts[name].tables[:1] if name in parts else ())
    ]
    data = msgspec.json.encode({"aims": drawn, "tables": tables})
    subprocess.run([python, Path(__file__).with_name("bench_plot.py"), PLOT], input=data, check=True, env={"HOME": "/"})


class Clock:
    """Says how long the parts of the bench take."""

    def __init__(self) -> None:
        self._first = self._began = time.monotonic()

    @property
    def total(self) -> float:
        """The seconds since the beginning."""
        return time.monotonic() - self._first

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        before, self._began = self._began, time.monotonic()
        return self._began - before


def fail(text: str) -> None:
    """Say what is left out."""
    print(text, file=sys.stderr, flush=True)
