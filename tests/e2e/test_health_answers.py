"""A health check that fails, with a real web site behind it: what it answered with either release is told."""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.e2e.scenes import body, silent, states, step, steps
from tests.support.serving import http_server, reply
from tests.support.sites import SampleSite, SiteFactory

IMPATIENT = {"health_retries": 0, "health_pause": "0s", "health_timeout": "60s"}
PAGE = "<h1>Oh no</h1>\nImportError: alpha {version} has no attribute 'cart'\n"


@dataclass
class Web:
    """A web site that answers by the version of alpha that is live when it is asked; `asked` are the versions."""

    url: str
    asked: list[str] = field(default_factory=list)


@contextlib.contextmanager
def served(site: SampleSite, answer: Callable[[str], tuple[int, str]]) -> Iterator[Web]:
    """Serve a site."""

    def deal(request: BaseHTTPRequestHandler) -> None:
        (found,) = site.link.glob("lib/python*/site-packages/alpha-*.dist-info")
        version = found.name.removeprefix("alpha-").removesuffix(".dist-info")
        web.asked.append(version)
        status, text = answer(version)
        reply(request, status, text.encode())

    with http_server(deal) as url:
        web = Web(url=f"{url}/health")
        yield web


def sick_with(*versions: str) -> Callable[[str], tuple[int, str]]:
    """Answer 500, with a page that names the version, when one of these is live."""
    return lambda version: (500, PAGE.format(version=version)) if version in versions else (200, f"well: {version}")


def asks(web: Web) -> dict[str, str]:
    """Return the settings of a health check that asks `web`."""
    chosen = IMPATIENT | {"health_check": web.url}
    return {f"RELEASER_{key.upper()}": str(chosen[key]) for key in chosen}


def test_what_the_site_answered_with_both_releases_is_told(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    earlier = site.live_id()
    site.publish("alpha", "1.1.0")
    with served(site, sick_with("1.1.0")) as web:
        report = site.json("update", check=6, env=asks(web))
        assert web.asked == ["1.0.0", "1.1.0", "1.0.0"]
    bad, good = report["answers"]
    assert bad == {
        "release": report["release"],
        "good": False,
        "text": f"{web.url} answered 500 Internal Server Error",
        "body": PAGE.format(version="1.1.0"),
    }
    assert good == {"release": earlier, "good": True, "text": f"{web.url} answered 200", "body": ""}
    assert bad["text"] in step(report, "health check")["detail"]
    again = step(report, "health check again")
    assert (again["status"], again["detail"].partition(";")[0]) == ("ok", good["text"])
    assert site.outbox_mails()[-1]["subject"].startswith("↩ site: rolled back, health check failed")
    for kind in ("plain", "html"):
        text = " ".join(re.sub(r"</?(?:a|span)\b[^>]*>", "", body(site, kind=kind)).split())
        assert "Output" not in text  # it is the page
        answers = text.partition("Answers of the site")[2]
        first, _, second = answers.partition(f"Release {earlier}, which is live again: passed")
        assert f"Release {report['release']}, the new release: failed" in first
        assert "answered 500 Internal Server Error" in first
        assert "ImportError: alpha 1.1.0" in first
        assert f"{web.url} answered 200" in second[:200]
        assert "alpha 1.1.0" in text.partition("Updates skip from now on")[2].partition("Answers of the site")[0]
        assert "releaser unhold alpha" in text


# Right after the flip the site's Python is started through the symlink; a release that fails there is taken back


# What a package does when it is started through the symlink stands for all that nobody has thought of.
EXITS = "os._exit(3)"


def make_tiny(make_site: SiteFactory, how: str) -> SampleSite:
    """Make an adopted site with a new version that spoils its Python while there is a file `spoiled`."""
    tiny = {"collectstatic": "off", "migrations": "off", "test_command": ["true"]}
    site = make_site(venv=True, packages={"alpha": "1.0.0"}, groups={"local": ["alpha"]}, settings=tiny)
    site.releaser("init", check=0)
    spoils = f"os.path.exists({str(spoiled(site))!r}) and sys.orig_argv[0].startswith({str(site.link)!r}) and {how}"
    modules = {"alpha/__init__.py": "", "alpha_start.pth": f"import os, sys; {spoils}\n"}
    site.publish("alpha", "1.1.0", modules=modules)
    return site


def spoiled(site: SampleSite) -> Path:
    return site.outer / "spoiled"


def test_a_release_whose_python_does_not_run_there_is_taken_back(make_site: SiteFactory) -> None:
    site = make_tiny(make_site, EXITS)
    spoiled(site).touch()
    first, lock = site.live_id(), site.lock_text()
    report = site.json("update", check=6)
    assert (report["result"], report["live_changed"]) == ("rolled-back", False)
    assert step(report, "python start")["status"] == "failed"
    assert "restart" not in steps(report)  # nothing of the site has been told of it
    assert "exit status 3" in str(report["problems"])
    assert "exit status 3" in body(site)
    assert site.live_id() == first
    assert site.lock_text() == lock
    assert site.live_version("alpha") == "1.0.0"
    assert states(site)[report["release"]] == "rolled-back"
    silent(site.releaser("update"))  # it is not tried each night
    spoiled(site).unlink()
    assert site.json("update", "--force")["result"] == "updated"
    assert site.live_version("alpha") == "1.1.0"
