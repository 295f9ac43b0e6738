"""A headless Chromium that shows pages as people see them; driven over a pipe by the DevTools protocol."""

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

MISSING = "Chromium is needed (scripts/install-debian-packages chromium)"
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
)  # fmt: skip


class Chromium:
    """One page of a Chromium that runs."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests, self._answers = requests, answers
        self._count, self._buffer, self._session = 0, b"", ""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._frame = self._ask("Page.getFrameTree")["frameTree"]["frame"]["id"]

    def show(self, html: str, *, width: int, dark: bool = False, scale: float = 1) -> None:
        """Show a page in a window of so many CSS pixels, as on a phone; `scale` is how many dots make one."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._ask("Emulation.setEmulatedMedia", features=features)
        self._resize(width, 40, scale)
        self._ask("Page.navigate", url="about:blank")  # as the policy of the page before would count for this one, too
        self._ask("Page.setDocumentContent", frameId=self._frame, html=html)

    def visit(self, url: str, *, width: int, height: int, dark: bool = False, arrives: str = "") -> None:
        """Load an address in a window of this size, and wait until its scripts have run.

        `arrives` is the address to which it redirects.
        """
        self.show("", width=width, dark=dark)
        self._resize(width, height, 1)
        self._ask("Page.navigate", url=url)
        ends_at = time.monotonic() + 20
        there = f"complete{arrives or url}"
        while self.evaluate("document.readyState + location.href") != there and time.monotonic() < ends_at:
            time.sleep(0.1)
        time.sleep(0.5)  # for styles that scripts set

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression on the page."""
        return self._ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def picture(self, kind: Literal["png", "webp"] = "png", *, whole: bool = True) -> bytes:
        """Return a picture of the whole page, or only of its window."""
        options = {"quality": 50} if kind == "webp" else {}
        shot = self._ask("Page.captureScreenshot", format=kind, captureBeyondViewport=whole, **options)
        return base64.b64decode(shot["data"])

    def _resize(self, width: int, height: int, scale: float) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 500}
        self._ask("Emulation.setDeviceMetricsOverride", **size)

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        request = {"id": self._count, "method": method, "params": params}
        if self._session:
            request["sessionId"] = self._session
        os.write(self._requests, json.dumps(request).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._answers, 1 << 20)
            if not data:
                raise EOFError
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def chromium() -> Iterator[Chromium]:
    """Start Chromium, and end it; FileNotFoundError where there is none."""
    program = shutil.which("chromium")
    if program is None:
        raise FileNotFoundError(MISSING)
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # It reads requests from descriptor 3, and answers on 4.
        script = f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$@"'
        process = subprocess.Popen(
            ["bash", "-c", script, "chromium", program, *_OPTIONS, f"--user-data-dir={profile}"],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": profile},
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield Chromium(ours_out, ours_in)
        finally:
            os.close(ours_out)
            os.close(ours_in)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
