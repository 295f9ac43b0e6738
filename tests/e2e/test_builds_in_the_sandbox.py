"""Builds in the sandbox: what they write elsewhere is thrown away, and none is ever built without it."""

import tempfile
from pathlib import Path

from tests.e2e.scenes import edit_pyproject
from tests.support.sites import SiteFactory
from tests.support.wheels import build_sdist, build_wheel, write_sdist

# Needs a package of the same directory to be built, and tells what it needs without a build.
_BACKEND = """\
import zipfile, pathlib, helper
def build_wheel(directory, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(pathlib.Path(directory, "gamma-1.0-py3-none-any.whl"), "w") as archive:
        archive.writestr("gamma.py", "__version__ = '1.0'\\n")
        archive.writestr("gamma-1.0.dist-info/METADATA", "Metadata-Version: 2.2\\nName: gamma\\nVersion: 1.0\\n")
        archive.writestr("gamma-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        archive.writestr("gamma-1.0.dist-info/RECORD", "")
    return "gamma-1.0-py3-none-any.whl"
"""
_GAMMA = {
    "pyproject.toml": '[build-system]\nrequires = ["helper"]\nbuild-backend = "own"\nbackend-path = ["."]\n',
    "own.py": _BACKEND,
    "PKG-INFO": "Metadata-Version: 2.2\nName: gamma\nVersion: 1.0\n",
}


def test_packages_are_built_from_a_directory_below_tmp(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.0.0")
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # of which builds have one of their own
        build_wheel(Path(place), "helper", "1.0", modules={"helper.py": ""})
        write_sdist(Path(place), "gamma", "1.0", _GAMMA)
        build_sdist(Path(place), "delta", "1.0", mark=site.outer / "mark")
        site.edit("pyproject.toml", edit_pyproject(site, '"alpha"', '"alpha", "gamma", "delta"'))
        site.edit("pyproject.toml", edit_pyproject(site, "find-links = [", f'find-links = ["{place}", '))
        site.push_commit("Take gamma and delta", lock=True)
        site.releaser("update", check=0)
        assert (site.live_version("gamma"), site.live_version("delta")) == ("1.0", "1.0")
        build_sdist(Path(place), "delta", "2.0", mark=site.outer / "mark")  # built to learn what it needs
        site.releaser("update", check=0)
    assert site.live_version("delta") == "2.0"
