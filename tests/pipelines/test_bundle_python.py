"""Which Python builds a bundle: one answer, by the files of its commit, before anything is unpacked."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from releaser.bundles.archive import write_archive
from releaser.bundles.manifest import FORMAT, BundledFile, BundleManifest
from releaser.errors import PreflightError
from releaser.pipelines.bundle_install import InstallRequest, check_out, plan_install
from releaser.site.site import open_site
from tests.live.pair import interpreter
from tests.pipelines.test_tampered_bundles import COMMIT, LOCK
from tests.support.commands import clean_environment

PYPROJECT = b'[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\n'


def bundle_for(base: Path, wheel: str, requested: str) -> InstallRequest:
    """Return the installation of a bundle with one wheel, for one Python, whose commit requests a Python."""
    code = f"# v2 git bundle\n{COMMIT} HEAD\n\nPACK".encode()
    name = f"wheels/alpha-1.2.0-{wheel}-linux_{os.uname().machine}.whl"
    contents = {".python-version": requested.encode(), "code.bundle": code, "pyproject.toml": PYPROJECT}
    contents |= {"uv.lock": LOCK, name: b"a wheel"}
    hashes = {path: hashlib.sha256(data).hexdigest() for path, data in contents.items()}
    for path, data in contents.items():
        (base / hashes[path]).write_bytes(data)
    manifest = BundleManifest(
        format=FORMAT, project="shop", release="20261120T061200Z", sequence=1, created="2026-11-20T06:12:00+00:00",
        expires=None, commit=COMMIT, branch="main", lock_sha256=hashes["uv.lock"], group=None, python="3.12.1",
        abi="cp312", platform="linux_x86_64", libc="", targets=(),
        files=tuple(BundledFile(path=path, sha256=hashes[path], size=len(contents[path])) for path in sorted(hashes)),
    )  # fmt: skip
    file = base / f"{requested}-{wheel}.bundle"
    write_archive(file, manifest, None, {path: base / hashes[path] for path in hashes})
    return InstallRequest(file=file, unsigned=True)


def test_the_version_file_of_the_commit_decides_on_each_host_before_anything_is_unpacked(tmp_path: Path) -> None:
    env = {**clean_environment(tmp_path / "home", tmp_path / "cache"), "RELEASER_GIT": "false"}
    env["PATH"] = os.pathsep.join([str(interpreter(one).parent) for one in ("3.12", "3.11")] + [env["PATH"]])
    for one in ("bundles", "hosts", "hosts/shop"):
        (tmp_path / one).mkdir()
    fits, fits_not = (bundle_for(tmp_path / "bundles", wheel, "3.11") for wheel in ("cp311-cp311", "cp312-cp312"))
    root = tmp_path / "hosts" / "shop"
    (root / "pyproject.toml").write_bytes(PYPROJECT)
    (root / ".python-version").write_text("3.12", encoding="utf-8")  # of the commit that the bundle replaces
    site = open_site(root, env)
    assert "with Python 3.11." in plan_install(site, fits).would[0]
    for into in (
        tmp_path / "hosts" / "new",
        tmp_path / "nowhere" / "new",
    ):  # an empty host, next to another site or not
        assert check_out(env, into, fits, dry_run=True) == into
        with pytest.raises(PreflightError, match=r"no wheel of alpha 1.2.0 for Python 3.11.\d+ on this host"):
            check_out(env, into, fits_not)
    with pytest.raises(PreflightError, match=r"no wheel of alpha 1.2.0 for Python 3.11.\d+ on this host"):
        plan_install(site, fits_not)
    absent = bundle_for(tmp_path / "bundles", "cp311-cp311", "3.99")
    with pytest.raises(PreflightError, match=r"3\.99"):
        check_out(env, tmp_path / "hosts" / "new", absent)
    assert [path.name for path in (tmp_path / "hosts").iterdir()] == ["shop"]
    assert not (tmp_path / "nowhere").exists()
