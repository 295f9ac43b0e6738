"""`make bench` ends well and names every aim, whatever becomes of its parts."""

import importlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"


def failing(error: BaseException) -> Callable[[Path], NoReturn]:
    def part(_: Path) -> NoReturn:
        raise error

    return part


@pytest.mark.spawns
def test_parts_that_fail_in_whatever_way_lose_nothing_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    names = ("bench", "bench_aims", "bench_figures", "bench_page", "bench_peers", "stage")
    bench, aims, figures, page, peers, stage = map(importlib.import_module, names)
    written = tmp_path / "performance.md"
    written.write_text("<!-- figures -->\n<!-- end of figures -->\n", encoding="utf-8")
    for name, value in (("PAGE", written), ("PLOT", tmp_path / "plot.png"), ("FOUND", tmp_path / "found")):
        monkeypatch.setattr(page, name, value)

    def part_of(_: Path) -> object:
        missing: dict[str, str] = {}
        figures.attempt(lambda: peers.call("/no/such/mkfs", cwd=tmp_path, env={}), lambda one: missing.update(disk=one))
        what = next(aim.what for aim in aims.AIMS if aim.part == "disk")
        return figures.Part(title="Disk", missing={what: missing["disk"]})

    def fail_as_tests_do(_: Path) -> NoReturn:
        pytest.fail("no site")

    stubs: dict[str, Callable[[Path], object]] = dict.fromkeys(bench.PARTS, failing(RuntimeError("this is a bug")))
    stubs |= {
        "rollback": failing(figures.BenchError("no peer")),
        "django": failing(stage.DemoError("no index")),
        "gaps": failing(SystemExit("ended")),
        "requests": failing(FileNotFoundError("no program")),
        "many": failing(subprocess.CalledProcessError(1, "releaser")),
        "updates": fail_as_tests_do,
        "commands": lambda _: figures.Part(title="Commands", found={"`--version`": 1.5}),
        "disk": part_of,
    }
    monkeypatch.setattr(bench, "PARTS", stubs)
    bench.main([])
    said = capsys.readouterr().out
    text = written.read_text(encoding="utf-8")
    for aim in aims.AIMS:
        assert aim.what in said
        assert f"| {aim.what} |" in text
    for reason in (
        "no peer", "no index", "SystemExit: ended", "no program", "no site", "this is a bug", "it was left out",
        "CalledProcessError", "/no/such/mkfs cannot be started",
    ):  # fmt: skip
        assert reason in text, reason
    assert "| `--version` | at most 2 times `python -c pass` | 1.50 times `python -c pass` | met |" in text
    assert f"1 of {len(aims.AIMS)} aims are met" in said
    assert f"at commit {page.commit()}" in text
    bench.main(["--minutes", "0"])
    assert "0 minutes had gone by" in written.read_text(encoding="utf-8")
