"""Lines that fit."""

import io

import pytest

from releaser.report import Outcome
from releaser.reporting import terminal
from releaser.reporting.style import add_links, wrap_line


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("", [""]),
        ("all of it fits", ["all of it fits"]),
        ("one two three four five", ["one two three", "  four five"]),
        ("  one two three four", ["  one two", "    three four"]),
        ("see `releaser list` now", ["see `releaser", "  list` now"]),
        ("it is `a b` and `c d`.", ["it is `a b`", "  and `c d`."]),
        ("at https://example.org/ it is", ["at", "  https://example.org/", "  it is"]),
        ("a lone ` of many many", ["a lone ` of", "  many many"]),
    ],
)
def test_a_line_breaks_at_blanks_and_no_command_is_cut_that_fits(line: str, lines: list[str]) -> None:
    assert wrap_line(line, 14) == lines


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("(https://a.example/?b=1&c=2),",
            '(<a href="https://a.example/?b=1&amp;c=2">https://a.example/?b=1&amp;c=2</a>),'),
        ("https://me:secret@a.example/; javascript:alert(1)", "https://me:secret@a.example/; javascript:alert(1)"),
        ("`releaser hold <x>` <b>", "<code>releaser hold &lt;x&gt;</code> &lt;b&gt;"),
        ("20260101T030405Z-2 is live", '<span class="id">20260101T030405Z-2</span> is live'),
        ("aaaaaaaaaaaa..bbbbbbbbbbbb", '<span class="id">aaaaaaaaaaaa</span>..<span class="id">bbbbbbbbbbbb</span>'),
    ],
)  # fmt: skip
def test_addresses_are_links_commands_are_code_and_ids_are_small(text: str, html: str) -> None:
    assert str(add_links(text)) == html


def test_the_detail_of_a_step_goes_on_below_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    stream = io.StringIO()
    live = terminal.Live(stream)
    live.ended(Outcome(step="health check", status="ok", detail="it answered 200; no process was seen", seconds=2.1))
    live.ended(Outcome(step="fetch", status="ok", detail="", seconds=0.1))
    assert stream.getvalue().splitlines() == [
        "✓ health check          2.1 s  it answered 200; no process",
        "                               was seen",
        "✓ fetch                 0.1 s",
    ]
