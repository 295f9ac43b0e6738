"""`make bench` ends well and names every aim, whatever becomes of its parts; `make bench-ci` fails if one is worse."""

import importlib
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"


def failing(error: BaseException) -> Callable[[Path], NoReturn]:
    def part(_: Path) -> NoReturn:
        raise error

    return part


@pytest.mark.slow
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


class SmallBench:
    """`make bench-ci` with figures that a test gives."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.module = importlib.import_module("bench_ci")
        self.file = place / "bench-ci.json"
        self.commit({"time": 0.5, "count": 2})
        self.times: Sequence[float] = [0.5]
        self.counts: Sequence[float] = [2]
        self.more: list[object] = []
        monkeypatch.setattr(self.module, "COMMITTED", self.file)
        monkeypatch.setattr(self.module, "measurements", lambda _: [*self.measurements(), *self.more])

    def measurements(self) -> list[object]:
        return [self.one("time", self.times, unit="times x"), self.one("count", self.counts, exactly=True)]

    def one(self, name: str, values: Sequence[float], *, unit: str = "things", exactly: bool = False) -> object:
        held, turns = self.module.Held(name=name, unit=unit, **({"limit": 1} if exactly else {})), iter(values)
        return self.module.Measurement(held=[held], find=lambda: [next(turns)], is_exact=exactly)

    def commit(self, figures: dict[str, float]) -> None:
        self.file.write_text(json.dumps(figures), encoding="utf-8")

    @property
    def committed(self) -> Any:
        return json.loads(self.file.read_text(encoding="utf-8"))


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallBench:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return SmallBench(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("times", "counts", "status"),
    [
        ([0.5], [2], 0),
        ([0.6], [1], 0),
        ([0.9, 0.6], [2], 0),  # other work was in the way
        ([0.9, 0.7], [2], 1),
        ([0.5], [3, 2], 1),  # a count is the same each time
    ],
)
def test_a_figure_that_gets_worse_fails(
    small: SmallBench, capsys: pytest.CaptureFixture[str], times: list[float], counts: list[float], status: int
) -> None:
    small.times, small.counts = times, counts
    assert small.module.main([]) == status
    said = capsys.readouterr().out.splitlines()[-1]
    if status:
        wrong = "time: 0.70 times x, committed is 0.50, " if times[1:] else "count: 3.00 things, committed is 2.00, "
        assert said.startswith(wrong)
        assert "make bench-ci ARGS=--write" in said


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({"time": 0.5}, "count: 2.00 things, but none is committed: "),
        ({"time": 0.5, "count": 2, "disk": 1.3}, "disk: 1.30 is committed, but it is not measured."),
    ],
)
def test_a_figure_that_is_missing_fails(
    small: SmallBench, capsys: pytest.CaptureFixture[str], figures: dict[str, float], says: str
) -> None:
    small.commit(figures)
    assert small.module.main([]) == 1
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith(says)
    assert "make bench-ci ARGS=--write" in said


@pytest.mark.parametrize("optional", [True, False])
def test_only_a_figure_that_not_every_machine_has_may_be_left_out(
    small: SmallBench, capsys: pytest.CaptureFixture[str], optional: bool
) -> None:
    error = importlib.import_module("bench_figures").BenchError("no file system")

    def fail() -> NoReturn:
        raise error

    held = small.module.Held(name="disk", unit="times one")
    small.more.append(small.module.Measurement(held=[held], find=fail, is_optional=optional))
    small.commit({"time": 0.5, "count": 2, "disk": 1.3})
    if not optional:
        with pytest.raises(type(error)):
            small.module.main([])
        return
    assert small.module.main([]) == 0
    assert "disk: no file system" in capsys.readouterr().out
    small.times = [0.4]
    assert small.module.main(["--write"]) == 0
    assert small.committed == {"time": 0.4, "count": 2, "disk": 1.3}
