"""What somebody puts into uv's cache does not go live."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.e2e.scenes import from_server
from tests.support.commands import run, uv_executable
from tests.support.simple_index import SimpleIndex

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import SampleSite, SiteFactory


def fill_cache(site: SampleSite, cache: Path, *requirements: str, url: str = "") -> None:
    """Let uv have these in its cache, as it has after it has installed them somewhere."""
    source: list[str | Path] = ["--index-url", url] if url else ["--no-index", "--find-links", site.index.path]
    words: list[str | Path] = ["--cache-dir", cache, *source]
    words += ["--target", cache / "target", *requirements]
    run([uv_executable(), "pip", "install", *words], cwd=site.outer, env=site.env, check=0)


def test_what_the_cache_has_altered_is_installed_anew(make_site: SiteFactory, tmp_path: Path) -> None:
    site, cache = make_site.adopted(), tmp_path / "cache"
    site.publish("alpha", "1.1.0")
    fill_cache(site, cache, "alpha==1.1.0", "beta")
    (poisoned,) = (cache / "archive-v0").glob("*/alpha/__init__.py")
    good = poisoned.read_bytes()
    poisoned.write_bytes(good + b"POISONED = True\n")
    finished = site.releaser("update", check=0, env={"UV_CACHE_DIR": str(cache)})
    (live,) = site.link.resolve().glob("lib/python*/site-packages/alpha/__init__.py")
    assert live.read_bytes() == good
    assert "alpha/__init__.py of alpha than its RECORD names; alpha was reinstalled" in finished.stderr
    assert poisoned.read_bytes() != good  # it is for its owner to look at


def test_what_the_cache_has_altered_and_cannot_be_had_again_is_named(make_site: SiteFactory, tmp_path: Path) -> None:
    site, cache = make_site(venv=True), tmp_path / "cache"
    index = SimpleIndex(site.index.path)
    with index.serving():
        from_server(site, index.url, lock=True)
        site.releaser("init", check=0)
        site.publish("alpha", "1.1.0")
        fill_cache(site, cache, "alpha==1.1.0", "beta", "localtools", url=index.url)
    (poisoned,) = (cache / "archive-v0").glob("*/alpha/__init__.py")
    poisoned.write_bytes(poisoned.read_bytes() + b"POISONED = True\n")
    live = site.live_id()
    with index.serving("falsifies a wheel"):
        report = site.json("update", check=4, env={"UV_CACHE_DIR": str(cache)})
    assert "alpha/__init__.py of alpha than RECORD names, and without the cache it failed" in report["headline"]
    assert "`uv cache clean alpha`" in report["advice"]
    assert site.live_id() == live


@pytest.mark.parametrize(
    "planted",
    [
        "planted.pth",
        "planted.py",
        "alpha/planted.so",
        "alpha/__pycache__/__init__.cpython-311.opt-1.pyc",
        "_virtualenv.py",
    ],
)
def test_what_was_added_to_the_cache_does_not_go_live(make_site: SiteFactory, tmp_path: Path, planted: str) -> None:
    site, cache = make_site.adopted(), tmp_path / "cache"
    site.publish("alpha", "1.1.0")
    fill_cache(site, cache, "alpha==1.1.0", "beta")
    (place,) = (one.parent.parent for one in (cache / "archive-v0").glob("*/alpha/__init__.py"))
    (place / planted).parent.mkdir(exist_ok=True)
    (place / planted).write_text("import planted", encoding="utf-8")
    finished = site.releaser("update", check=0, env={"UV_CACHE_DIR": str(cache)})
    assert site.live_version("alpha") == "1.1.0"
    (found,) = site.link.resolve().glob("lib/python*/site-packages")
    assert not (found / planted).exists() or (found / planted).read_text(encoding="utf-8") != "import planted"
    assert f"site-packages/{planted}, which is in no RECORD; all packages were reinstalled" in finished.stderr
    site.publish("alpha", "1.2.0")
    assert "RECORD" not in site.releaser("update", check=0).stderr


def test_a_wheel_that_was_made_with_a_wrong_record_can_be_installed(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    wheel = site.publish("alpha", "1.1.0")
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    digest = base64.urlsafe_b64encode(hashlib.sha256(files["alpha/__init__.py"]).digest()).rstrip(b"=")
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data.replace(digest, b"A" * len(digest)))
    finished = site.releaser("update", check=0)
    assert site.live_version("alpha") == "1.1.0"
    assert "RECORD" not in finished.stderr
