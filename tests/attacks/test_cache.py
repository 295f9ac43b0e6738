"""uv's cache is trusted, and `releaser verify` names files that were changed there."""

from pathlib import Path

from tests.support.commands import run, uv_executable
from tests.support.sites import SiteFactory


def test_verify_names_files_that_came_changed_from_the_cache(make_site: SiteFactory, tmp_path: Path) -> None:
    site, cache = make_site.adopted(), tmp_path / "cache"
    site.publish("alpha", "1.1.0")
    words: list[str | Path] = ["--no-index", "--find-links", site.index.path, "--target", cache / "target"]
    run([uv_executable(), "pip", "install", "--cache-dir", cache, *words, "alpha==1.1.0"], cwd=site.outer, env=site.env)
    (poisoned,) = (cache / "archive-v0").glob("*/alpha/__init__.py")
    poisoned.write_bytes(poisoned.read_bytes() + b"POISONED = True\n")
    site.releaser("update", check=0, env={"UV_CACHE_DIR": str(cache)})
    assert "alpha/__init__.py" in site.releaser("verify", check=10).stdout
