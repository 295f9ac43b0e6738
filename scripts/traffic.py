"""Visitors of a site: twenty requests a second from a process of their own, what they got, and a picture of it."""

import contextlib
import http.client
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

RATE = 20  # requests a second, however long the answers take
_LEFT, _WIDTH, _HEIGHT, _GAP = 60, 900, 110, 46  # pixels of a picture


class Answer(NamedTuple):
    """What a request got: when it began and ended, in seconds since the epoch, and the page, empty if it failed."""

    began: float
    ended: float
    page: str

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


def ask(port: int, path: str = "/") -> Answer:
    """Ask for the page once, over a new connection."""
    began, page = time.time(), ""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", path)
        response = connection.getresponse()
        page = response.read().decode() if response.status == http.HTTPStatus.OK else ""
    return Answer(began, time.time(), page)


def wait_for(port: int, seconds: float = 30) -> str:
    """Return the page, once there is one."""
    deadline = time.monotonic() + seconds
    while not (page := ask(port).page) and time.monotonic() < deadline:
        time.sleep(0.1)
    return page


def _keep_asking(port: int, record: Path, stop: threading.Event) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setsid()
    with contextlib.suppress(PermissionError):
        os.nice(-10)  # visitors have processors of their own
    lock, due = threading.Lock(), time.monotonic()
    with record.open("w") as file:

        def visit() -> None:
            answer = ask(port, "/?table=1")  # a page with some work in it
            answer = answer._replace(page=answer.page[:80])
            with lock, contextlib.suppress(ValueError):
                file.write(json.dumps(answer) + "\n")
                file.flush()

        while not stop.wait(max(0.0, due - time.monotonic())):
            threading.Thread(target=visit, daemon=True).start()
            due += 1 / RATE


class Visitors:
    """Ask for the page of a port again and again, as a context manager."""

    def __init__(self, port: int, record: Path) -> None:
        self._record, self._stop = record, multiprocessing.Event()
        words = (port, record, self._stop)
        self._process = multiprocessing.Process(target=_keep_asking, args=words, daemon=True)

    def __enter__(self) -> "Visitors":
        self._process.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._process.join(10)

    def answers(self, began: float, ended: float) -> list[Answer]:
        """Return the answers to requests between two moments, in their order, once all are there."""
        while True:
            lines = self._record.read_text().splitlines(keepends=True) if self._record.exists() else []
            answers = sorted(Answer(*json.loads(line)) for line in lines if line.endswith("\n"))
            due = [answer for answer in answers if began <= answer.began <= ended]
            is_whole = len(due) >= int((ended - began) * RATE * 0.9) or time.time() > ended + 35
            if is_whole and answers and answers[-1].began > ended + 1:
                return due
            time.sleep(0.1)


def percentile(answers: Sequence[Answer], share: float = 0.99) -> float:
    """Return the time in seconds in which such a share of the requests was answered."""
    times = sorted(answer.seconds for answer in answers)
    return times[min(len(times) - 1, int(share * len(times)))] if times else 0.0


class Panel(NamedTuple):
    """A part of a picture: answers from `began` on, with the moments that have names."""

    title: str
    began: float
    answers: Sequence[Answer]
    moments: dict[str, float]


def draw(panels: Sequence[Panel], title: str) -> str:
    """Return an SVG picture of the latency of requests over time, by the moment at which each began."""
    longest = max(answer.began - panel.began for panel in panels for answer in panel.answers)
    slowest = max(0.05, *(answer.seconds for panel in panels for answer in panel.answers if answer.page))
    height = 40 + len(panels) * (_HEIGHT + _GAP)
    style = (
        "text { font: 12px sans-serif; fill: #333 } .axis { stroke: #999 } .moment { stroke: #2563eb; opacity: .6 } "
        "circle { fill: #15803d; opacity: .7 } .failed { fill: #b91c1c; opacity: 1 } .name { fill: #2563eb }"
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 20} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{style}</style>",
        f'<rect width="100%" height="100%" fill="#fff"/><text x="{_LEFT}" y="18">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        bottom = 40 + number * (_HEIGHT + _GAP) + _HEIGHT
        lines += [
            f'<text x="{_LEFT}" y="{bottom - _HEIGHT - 4}">{escape(panel.title)}</text>',
            f'<path class="axis" fill="none" d="M{_LEFT} {bottom - _HEIGHT + 8}V{bottom}H{_LEFT + _WIDTH}"/>',
            f'<text x="4" y="{bottom - _HEIGHT + 18}">{slowest * 1000:.0f} ms</text>',
            f'<text x="4" y="{bottom}">0 ms</text>',
            f'<text x="{_LEFT + _WIDTH - 40}" y="{bottom + 16}">{longest:.0f} s</text>',
        ]
        places = {name: _LEFT + (at - panel.began) / longest * _WIDTH for name, at in panel.moments.items()}
        for row, (name, x) in enumerate(places.items()):
            lines.append(f'<path class="moment" d="M{x:.1f} {bottom - _HEIGHT + 8}V{bottom}"/>')
            line = bottom - _HEIGHT + 18 + 13 * (row % 3)
            lines.append(f'<text class="name" x="{x + 3:.1f}" y="{line}">{escape(name)}</text>')
        for answer in panel.answers:
            x = _LEFT + (answer.began - panel.began) / longest * _WIDTH
            y = bottom - min(1.0, answer.seconds / slowest) * (_HEIGHT - 8)
            shape = "" if answer.page else ' class="failed"'
            lines.append(f'<circle{shape} cx="{x:.1f}" cy="{y:.1f}" r="{1.6 if answer.page else 3}"/>')
    return "\n".join([*lines, "</svg>", ""])
