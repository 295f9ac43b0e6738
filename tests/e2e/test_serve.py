"""`releaser serve` in a real browser: a page without rights, whose buttons the next run of the site takes up."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

from tests.e2e.scenes import eventually
from tests.e2e.test_group_use import base_python, script_of
from tests.support.chromium import MISSING, Chromium, chromium
from tests.support.commands import console_script, run
from tests.support.guards import require
from tests.support.sites import SampleSite, SiteFactory, variables
from tests.support.templates import Templates

PAGE = 4711  # the user of the page, who has nothing else


@contextlib.contextmanager
def page(site: SampleSite, base: Path, *words: str | Path) -> Iterator[str]:
    """Run `releaser serve` as the user of the page, and yield its address."""
    become = ["setpriv", f"--reuid={PAGE}", f"--regid={PAGE}", "--clear-groups"]
    command = [*become, base_python(), script_of(site), "serve", *words]
    env = {"PYTHONPATH": str(script_of(site).parent.parent), "PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=base) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
    assert process.returncode == 0


def click(browser: Chromium, selector: str) -> None:
    """Click on something, and wait for the page that follows."""
    assert browser.evaluate(f"document.body.dataset.old = 1, document.querySelector({selector!r}).click(), 1") == 1
    wait(browser, "document.readyState == 'complete' && !document.body.dataset.old")


def wait(browser: Chromium, condition: str) -> None:
    ends_at = time.monotonic() + 30
    while not browser.evaluate(condition):
        assert time.monotonic() < ends_at, browser.evaluate("document.body.innerText")
        time.sleep(0.1)


def test_a_click_on_update_now_is_taken_up_by_the_next_run(templates: Templates, everybodys: Path) -> None:
    require(os.geteuid() == 0 and shutil.which("setpriv"), "only root can become the user of the page")
    require(shutil.which("chromium"), MISSING)
    base = Path(tempfile.mkdtemp(prefix="serve-"))  # pytest's own directories are for one user alone
    try:
        base.chmod(0o755)
        site = SiteFactory(base, templates).adopted(due="1.1.0")
        site.env["PATH"] = f"{everybodys / 'bin'}:{site.env['PATH']}"
        directory, sites, state = base / "requests", base / "sites.toml", base / "state.json"
        directory.mkdir()
        os.chown(directory, -1, PAGE)
        directory.chmod(0o3770)
        site.write_dotenv(variables(request_dir=directory))
        sites.write_text(f'[[site]]\npath = "{site.path}"\n', encoding="utf-8")
        (base / "page.toml").write_text(f'[servers]\nhere = "{state}"\n', encoding="utf-8")

        def publish() -> None:
            words: list[str | Path] = ["report", "--sites", sites, "--publish", state]
            run([console_script(), *words], cwd=base, env=site.environment(), check=0)
            state.chmod(0o644)

        publish()
        with page(site, base, "--sites", base / "page.toml", "--port", "0") as address, chromium() as browser:
            front = address.partition("?")[0]
            browser.visit(front, width=390, height=800)
            assert "contains the key" in browser.evaluate("document.body.innerText")
            browser.visit(address, width=390, height=800, arrives=front)
            assert browser.evaluate("document.documentElement.scrollWidth") == 390
            click(browser, "button[value=update]")
            assert "Requested: update now" in browser.evaluate("document.body.innerText")
            (file,) = directory.iterdir()
            assert file.stat().st_uid == PAGE
            assert site.live_version("alpha") == "1.0.0"
            site.releaser("run-requests", check=0)
            assert (site.live_version("alpha"), list(directory.iterdir())) == ("1.1.0", [])
            publish()

            def shows_the_result() -> bool:  # the page keeps a state for some seconds
                browser.visit(front, width=390, height=800)
                return "Last request: update now" in browser.evaluate("document.body.innerText")

            eventually(shows_the_result, "the page shows the result")
            assert "Requested:" not in browser.evaluate("document.body.innerText")
            # A form of another site does not get there, although the browser has the cookie.
            browser.evaluate("document.querySelectorAll('[name=token]').forEach(one => one.value = 'guessed')")
            click(browser, "button[value=update]")
            assert "from another page" in browser.evaluate("document.body.innerText")
            assert list(directory.iterdir()) == []
    finally:
        shutil.rmtree(base)


def test_behind_a_proxy_only_the_socket_leads_to_the_page(make_site: SiteFactory, everybodys: Path) -> None:
    require(os.geteuid() == 0 and shutil.which("setpriv"), "only root can become the user of the page")
    site = make_site()
    site.env["PATH"] = f"{everybodys / 'bin'}:{site.env['PATH']}"
    base = Path(tempfile.mkdtemp(prefix="serve-"))
    try:
        base.chmod(0o755)
        (base / "run").mkdir()
        os.chown(base / "run", PAGE, PAGE)
        (base / "page.toml").write_text('[servers]\nhere = "/nonexistent"\n', encoding="utf-8")
        words: list[str | Path] = [
            "--sites",
            base / "page.toml",
            "--socket",
            base / "run/page",
            "--behind-proxy",
            "X-Remote-User",
        ]
        with page(site, base, *words, "--host", "sites.example.org") as address:
            assert address == str(base / "run/page")
            assert os.stat(address).st_mode & 0o777 == 0o660
            for header, status in (("", "403"), ("X-Remote-User: alice\r\n", "200")):
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(address)
                    connection.sendall(f"GET / HTTP/1.0\r\nHost: sites.example.org\r\n{header}\r\n".encode())
                    assert connection.recv(100).split()[1].decode() == status
        assert list((base / "run").iterdir()) == []
    finally:
        shutil.rmtree(base)


def test_the_owner_of_a_site_needs_no_list_and_no_other_user(templates: Templates, everybodys: Path) -> None:
    require(os.geteuid() == 0 and shutil.which("setpriv"), "only root can give a site away")
    base = Path(tempfile.mkdtemp(prefix="serve-"))
    try:
        base.chmod(0o755)
        site = SiteFactory(base, templates)()
        site.env["PATH"] = f"{everybodys / 'bin'}:{site.env['PATH']}"
        (site.outer / "requests").mkdir(mode=0o700)
        site.write_dotenv(variables(request_dir=site.outer / "requests"))
        run(["chown", "-hR", f"{PAGE}:{PAGE}", site.outer], cwd=base, env=os.environ, check=0)
        with page(site, base, "--project", site.path, "--port", "0") as address:
            browser = build_opener(HTTPCookieProcessor())
            shown = browser.open(address).read().decode()
            token = re.search('name="token" value="([^"]+)"', shown)
            assert token is not None
            form = {"token": token[1], "project": str(site.path), "action": "hold", "name": "alpha"}
            answer = browser.open(f"{address.partition('?')[0]}requests", urlencode(form).encode()).read().decode()
            assert "<b>Requested:</b> hold alpha" in answer
        (request,) = (site.outer / "requests").iterdir()
        assert (request.stat().st_uid, request.suffix) == (PAGE, ".json")
    finally:
        shutil.rmtree(base)
