"""An adopted release is compared with what adoption found: what was odd before is no alarm, what changes later is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.locks.lock import LockFile
from tests.e2e.scenes import states

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import SampleSite, SiteFactory


def packages(site: SampleSite) -> Path:
    return next(site.link.resolve().glob("lib/*/site-packages"))


def rewrite(path: Path, text: str) -> None:
    """Write a file again: its other names, in uv's cache for one, keep what they had."""
    path.unlink()
    path.write_text(text, encoding="utf-8")


def test_verify_is_silent_about_what_was_there_before(make_site: SiteFactory) -> None:
    site = make_site(packages={"alpha": "1.0.0", "beta": "1.0.0"}, venv=True)
    place = packages(site)
    rewrite(place / "alpha" / "__init__.py", "# patched by hand\n")
    (place / "beta" / "__init__.py").unlink()
    (place / "local_patch.py").write_text("", encoding="utf-8")
    site.publish("gamma", "1.0.0")
    site.uv("pip", "install", "--quiet", "--python", site.link, "gamma")
    site.publish("alpha", "1.0.1")
    alpha = next(place.glob("alpha-*.dist-info"))
    metadata = alpha / "METADATA"
    rewrite(metadata, metadata.read_text(encoding="utf-8") + "\n")
    site.releaser("init", check=0)
    adopted = site.live_id()
    assert LockFile.read(site.path / "uv.lock").versions["alpha"] == "1.0.0"
    site.releaser("verify", "--all", check=0)
    assert site.json("verify")["problems"] == []

    rewrite(place / "alpha" / "__init__.py", "# patched by somebody else\n")
    found = {one["path"].rpartition("/site-packages/")[2] for one in site.json("verify", adopted, check=10)["problems"]}
    assert found == {"alpha/__init__.py"}


def test_packages_that_come_later_are_an_alarm(make_site: SiteFactory) -> None:
    site = make_site(packages={"alpha": "1.0.0", "beta": "1.0.0"}, venv=True)
    site.uv("pip", "install", "--quiet", "--python", site.link, "beta")
    site.releaser("init", check=0)
    site.releaser("verify", check=0)
    site.uv("pip", "uninstall", "--quiet", "--python", site.link, "beta")
    (problem,) = [one for one in site.json("verify", check=10)["problems"] if one["kind"] == "package"]
    assert problem["message"] == "it is not installed, and was 1.0.0 when it was adopted"
    assert list(states(site).values()) == ["live"]
