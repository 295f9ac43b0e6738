"""Bundles, where no site is needed."""

import hashlib
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from releaser.bundles.wheels import lacks, parse_target, select_wheels
from releaser.errors import PreflightError
from releaser.locks.lock import LockFile
from releaser.pipelines.bundle_create import _extras_of, _requirements
from releaser.pipelines.bundle_wheels import OwnBuild, _pack_requirements
from releaser.releases.release import Release
from releaser.site.conventions import needed_groups
from releaser.site.site import open_site
from tests.support.simple_index import serving
from tests.support.wheels import build_wheel

LOCK = b"""version = 1
requires-python = ">=3.11"

[[package]]
name = "shop"
version = "1"
source = { virtual = "." }
dependencies = [{ name = "alpha" }]

[package.dev-dependencies]
checks = [{ name = "beta" }]
prod = [{ name = "gamma" }]

[package.metadata.requires-dev]
checks = [{ name = "beta" }]
prod = [{ name = "gamma" }]
""" + b"".join(
    b'[[package]]\nname = "%s"\nversion = "1.0.0"\nsource = { registry = "https://example.org/simple" }\n' % name
    for name in (b"alpha", b"beta", b"gamma")
)


def test_wheels_that_only_the_tests_need_are_missed_before_anything_is_unpacked(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "pyproject.toml").write_text(
        """[project]\nname = "shop"\nversion = "1"\n[dependency-groups]\nchecks = ["beta"]\nprod = ["gamma"]\n"""
        """[tool.releaser]\ntest_groups = ["checks"]\ngit = false\n"""
    )
    site, lock = open_site(root, {}), LockFile.parse(LOCK)
    wheels, python = ["alpha-1.0.0-py3-none-any.whl"], "3.11.0"
    assert lacks(lock, needed_groups(site, lock, "prod"), python, wheels) == ["beta 1.0.0", "gamma 1.0.0"]
    assert lacks(lock, needed_groups(site, lock, None, tests=False), python, wheels) == []


def test_the_requirements_tell_for_which_python_a_version_is(tmp_path: Path) -> None:
    """A lock may have two versions of a package, and builds may need a third; pip would refuse them all."""
    text = """\
        version = 1
        [[package]]
        name = "soup-sieve"
        version = "2.10"
        resolution-markers = ["python_full_version < '3.11.5'", "sys_platform == 'win32'"]
        [[package]]
        name = "soup-sieve"
        version = "4.1.2"
        resolution-markers = ["python_full_version >= '3.11.5'"]
        [[package]]
        name = "alpha"
        version = "1.0.0"
        """
    lock = LockFile.parse(textwrap.dedent(text).encode())
    names = ("soup_sieve-2.10", "soup_sieve-4.1.2", "soup_sieve-3.0", "alpha-1.0.0", "hatchling-1.0")
    place = tmp_path / "any.whl"
    place.write_bytes(b"")
    files = {f"wheels/{name}-py3-none-any.whl": place for name in names}
    hashed = f"--hash=sha256:{hashlib.sha256(b'').hexdigest()}"
    assert _requirements(files, lock).splitlines() == [
        f"alpha==1.0.0 {hashed}",
        f"soup-sieve==2.10 ; (python_full_version < '3.11.5') or (sys_platform == 'win32') {hashed}",
        f"soup-sieve==4.1.2 ; (python_full_version >= '3.11.5') {hashed}",
    ]


# Looks at what is installed already, as a backend that asks for a compiler only where there is none.
_BACKEND = """\
import atexit, builder, os
class Backend:
    class inner:
        def get_requires_for_build_editable(settings):
            atexit.register(print, "running egg_info")
            return ["asked"] if os.path.isdir("within") and settings is None else []
"""


def test_what_builds_the_project_is_as_old_as_min_age_asks_for(tmp_path: Path) -> None:
    root, wheels, found = tmp_path / "shop", tmp_path / "index", tmp_path / "found"
    for place in (root, wheels, found, tmp_path / "venv" / "bin"):
        place.mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to(sys.executable)
    with serving(wheels) as index:
        for name, version, days in (
            ("builder", "1.0", 90),
            ("builder", "2.0", 1),
            ("deep", "1.0", 90),
            ("deep", "3.0", 1),
            ("asked", "1.0", 90),
            ("asked", "2.0", 1),
        ):
            build_wheel(wheels, name, version, requires=["deep"] if name == "builder" else [])
            index.uploaded[name, version] = datetime.now(UTC) - timedelta(days=days)
        (root / "pyproject.toml").write_text(
            f"""[project]\nname = "shop"\nversion = "1"\n[tool.uv]\nindex-url = "{index.url}"\n"""
            """[tool.releaser]\nmin_age = "7d"\ngit = false\n"""
        )
        wheel = "https://example.org/alpha-1.0.0-py3-none-any.whl"
        wheels_of = f'wheels = [{{ url = "{wheel}", upload-time = "2020-01-01T00:00:00Z" }}]\n'
        (root / "uv.lock").write_bytes(LOCK.replace(b'simple" }\n', b'simple" }\n' + wheels_of.encode(), 1))
        site = open_site(root, {"HOME": str(tmp_path), "UV_CACHE_DIR": str(tmp_path / "cache")})
        release = cast("Release", SimpleNamespace(venv=tmp_path / "venv"))
        (root / "own" / "within").mkdir(parents=True)
        (root / "own" / "within" / "backend.py").write_text(_BACKEND)
        own = OwnBuild(place="own", requires=("builder",), backend="backend:Backend.inner", paths=("within",))
        _pack_requirements(site, release, own, lambda: root, found)
    assert {one.name.partition("-py3")[0] for one in found.iterdir()} == {"asked-1.0", "builder-1.0", "deep-1.0"}


_NATIVE = """\
version = 1
requires-python = ">=3.11"
[[package]]
name = "shop"
version = "1"
source = { editable = "PLACE" }
dependencies = [
    { name = "fast" },
    { name = "old", marker = "python_full_version < '3.13'" },
    { name = "arm", marker = "platform_machine == 'aarch64'" },
]
[[package]]
name = "fast"
version = "1.0"
source = { registry = "https://example.org/simple" }
wheels = [
    { url = "https://example.org/fast-1.0-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl" },
    { url = "https://example.org/fast-1.0-cp312-cp312-manylinux_2_34_x86_64.whl" },
    { url = "https://example.org/fast-1.0-cp312-cp312-musllinux_1_2_x86_64.whl" },
    { url = "https://example.org/fast-1.0-cp313-cp313-manylinux_2_28_x86_64.whl" },
    { url = "https://example.org/fast-1.0-cp313-cp313t-manylinux_2_28_x86_64.whl" },
    { url = "https://example.org/fast-1.0-cp311-abi3-manylinux_2_17_aarch64.whl" },
]
[[package]]
name = "old"
version = "1.0"
source = { registry = "https://example.org/simple" }
wheels = [{ url = "https://example.org/old-1.0-py3-none-any.whl" }]
[[package]]
name = "arm"
version = "1.0"
source = { registry = "https://example.org/simple" }
wheels = [{ url = "https://example.org/arm-1.0-py3-none-any.whl" }]
"""


@pytest.mark.parametrize(
    ("target", "wheels"),
    [
        ("3.12-manylinux_2_28_x86_64", ["fast-1.0-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64", "old-1.0"]),
        ("3.12-manylinux_2_34_x86_64", ["fast-1.0-cp312-cp312-manylinux_2_34_x86_64", "old-1.0"]),
        ("3.12-musllinux_1_2_x86_64", ["fast-1.0-cp312-cp312-musllinux_1_2_x86_64", "old-1.0"]),
        ("3.13-manylinux_2_28_x86_64", ["fast-1.0-cp313-cp313-manylinux_2_28_x86_64"]),
        ("3.13-manylinux_2_28_aarch64", ["arm-1.0", "fast-1.0-cp311-abi3-manylinux_2_17_aarch64"]),
    ],
)
def test_a_target_gets_the_wheels_of_its_abi_platform_and_markers(target: str, wheels: list[str]) -> None:
    lock = LockFile.parse(_NATIVE.replace("PLACE", ".").encode())
    found = select_wheels(lock, (), parse_target(target), python="3.12.1")
    names = sorted(one.name.removesuffix(".whl").removesuffix("-py3-none-any") for one in found.wheels)
    assert (names, found.built) == (wheels, ())


def test_a_target_of_which_there_is_no_wheel_is_refused() -> None:
    lock = LockFile.parse(_NATIVE.replace("PLACE", ".").encode())
    for target in ("3.12-manylinux_2_12_x86_64", "3.12-musllinux_1_1_x86_64", "3.14-manylinux_2_34_x86_64"):
        with pytest.raises(PreflightError, match=f"fast 1.0 has no wheel for {target}"):
            select_wheels(lock, (), parse_target(target), python="3.12.1")


@pytest.mark.parametrize("place", ["../shared", "/srv/shared", "lib/../../shared"])
def test_code_outside_of_the_checkout_is_refused_by_name(place: str) -> None:
    lock = LockFile.parse(_NATIVE.replace("PLACE", place).encode())
    with pytest.raises(PreflightError, match=f"shop is installed from outside the checkout .{place}."):
        select_wheels(lock, (), None, python="3.12.1")


def test_the_settings_of_several_capabilities_each_bring_their_extra(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "shop"\n', encoding="utf-8")
    settings = {"RELEASER_ATTESTATIONS": "require", "RELEASER_NOTIFY": "json://127.0.0.1:9"}
    assert _extras_of(open_site(tmp_path, settings), ["serve"]) == {"attestations", "notify", "serve"}
