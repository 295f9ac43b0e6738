"""`export` prints the lock of a release for other tools, and these install from it."""

import sys
from pathlib import Path

import pytest

from tests.e2e.scenes import from_server, outer_snapshot
from tests.support.commands import run, uv_executable
from tests.support.simple_index import serving
from tests.support.sites import SiteFactory


@pytest.mark.story
def test_what_is_exported_is_what_the_release_has_and_others_install_it(make_site: SiteFactory, tmp_path: Path) -> None:
    site = make_site(venv=True)
    with serving(site.index.path) as index:
        from_server(site, index.url, lock=True)
        site.releaser("init", check=0)
        first = site.live_id()
        site.update_to("alpha", "1.1.0")
        before = outer_snapshot(site)
        text = site.releaser("export", "--requirements", check=0).stdout
        names = [line.split()[0] for line in text.splitlines() if "==" in line]
        assert names == ["alpha==1.1.0", "beta==1.0.0", "localtools==1.0.0"]
        assert text.count("--hash=sha256:") == 3
        lines = site.releaser("export", "--constraints", first, check=0).stdout.splitlines()
        assert lines == ["alpha==1.0.0", "beta==1.0.0", "localtools==1.0.0"]
        requirements, pylock = tmp_path / "requirements.txt", tmp_path / "pylock.toml"
        said = site.releaser("export", "--pylock", "-o", pylock, check=0)
        assert (said.stdout, said.stderr) == ("", f"wrote {pylock}\n")
        assert outer_snapshot(site) == before
        requirements.write_text(text, encoding="utf-8")
        words = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        where: list[str | Path] = ["--index-url", index.url, "--target", tmp_path / "there", "-r", requirements]
        run([sys.executable, *words, *where], cwd=tmp_path, env=site.env, check=0)
        assert [*tmp_path.glob("there/alpha-1.1.0.dist-info")]
        run([uv_executable(), "venv", "-q", tmp_path / "venv"], cwd=tmp_path, env=site.env, check=0)
        install: list[str | Path] = ["pip", "install", "--dry-run", "--python", tmp_path / "venv", "-r", pylock]
        assert " + alpha==1.1.0" in run([uv_executable(), *install], cwd=tmp_path, env=site.env, check=0).stderr
    assert "needs a format" in site.releaser("export", check=2).stderr
    assert "cannot be combined" in site.releaser("export", "--pylock", "--constraints", check=2).stderr
    assert "cannot be written" in site.releaser("export", "--pylock", "-o", tmp_path / "no" / "x", check=3).stderr
    site.releaser("export", "--pylock", "20200101T000000Z", check=9)
    assert site.json("export", "--constraints", first)["format"] == "constraints"
