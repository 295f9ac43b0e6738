"""Driving `uv audit`: what it is asked, and what its exit status means."""

import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from releaser.candidate.audit import audit, run_audit, write_stand_in
from releaser.errors import ToolError
from releaser.locks.lock import LockFile
from releaser.site.site import open_site
from releaser.system.process import Runner
from tests.support.commands import clean_environment, uv_executable
from tests.support.osv import Flaw, VulnerabilityService

PINS = [("alpha", "1.0.0"), ("alpha", "1.2.0"), ("beta", "1!2.0.post1"), ("gamma", "2026.1+local.3")]


@pytest.fixture
def service() -> Iterator[VulnerabilityService]:
    """A service that knows of nothing."""
    with VulnerabilityService().serving() as serving:
        yield serving


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory for the project that stands in."""
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


def asked(tmp_path: Path, tree: Path, url: str, timeout: float = 20, **environ: str) -> int:
    runner = Runner(environ=clean_environment(tmp_path, tmp_path / "cache") | environ)
    return run_audit(runner, uv_executable(), tree, service=url, timeout=timeout).returncode


def test_exactly_these_versions_are_asked_about(tmp_path: Path, tree: Path, service: VulnerabilityService) -> None:
    write_stand_in(tree, PINS, {})
    assert asked(tmp_path, tree, service.url) == 0
    assert service.asked_about == set(PINS)
    assert sorted(path.name for path in tree.iterdir()) == ["pyproject.toml", "uv.lock"]


def test_what_is_found_is_no_error_whatever_the_shell_and_a_project_above_say(
    tmp_path: Path, tree: Path, service: VulnerabilityService
) -> None:
    above = '[project]\nname = "above"\nversion = "0"\n[tool.uv.workspace]\nmembers = ["*"]\n'
    (tmp_path / "pyproject.toml").write_text(above, encoding="utf-8")
    write_stand_in(tree, PINS, {})
    assert asked(tmp_path, tree, service.url, UV_PROJECT="/nowhere", UV_FROZEN="0", UV_HTTP_RETRIES="nonsense") == 0
    service.flaws.append(Flaw(id="CVE-1", package="beta"))
    assert asked(tmp_path, tree, service.url) == 1


@pytest.mark.parametrize(
    ("mood", "reason"), [("fails", "500"), ("talks nonsense", "decoding"), ("half", "500"), ("hangs", "after 1 s")]
)
def test_what_could_not_be_found_out_is_an_error_that_says_why(
    tmp_path: Path, tree: Path, service: VulnerabilityService, mood: Any, reason: str
) -> None:
    service.flaws.append(Flaw(id="CVE-1", package="beta"))
    service.mood = mood
    write_stand_in(tree, PINS, {})
    with pytest.raises(ToolError, match=reason) as caught:
        asked(tmp_path, tree, service.url, timeout=1 if mood == "hangs" else 20)
    assert caught.value.timed_out == (mood == "hangs")
    assert (caught.value.returncode == 2) != caught.value.timed_out


def test_of_the_settings_of_the_project_only_those_come_along_that_concern_the_question(tree: Path) -> None:
    uv = {
        "system-certs": True,
        "no-proxy": ["intranet", 'a"b\\'],
        "http-proxy": "http://proxy.example.org:3128",
        "allow-insecure-host": 3,
        "sources": {"alpha": {"path": "../alpha"}},
        "index": [{"url": "https://index.example.org"}],
        "audit": {"ignore": ["CVE-1"], "ignore-until-fixed": "ö", "service-url": "https://x"},
    }
    write_stand_in(tree, PINS, uv)
    content = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))
    assert content["tool"]["uv"] == {
        "system-certs": True,
        "no-proxy": ["intranet", 'a"b\\'],
        "http-proxy": "http://proxy.example.org:3128",
        "workspace": {"members": []},
        "audit": {"ignore": ["CVE-1"]},
    }


def test_credentials_of_the_service_lie_where_the_next_run_deletes_them(tmp_path: Path) -> None:
    root, seen, uv = tmp_path / "site", tmp_path / "seen", tmp_path / "uv"
    root.mkdir()
    (root / "pyproject.toml").write_text('[project]\nname = "site"\nversion = "1"\n', encoding="utf-8")
    uv.write_text(f'#!/bin/sh\nreadlink "$NETRC" > {seen}\ncat "$NETRC" >> {seen}\nkill -9 $$\n', encoding="utf-8")
    uv.chmod(0o755)
    environ = clean_environment(tmp_path, tmp_path / "cache")
    site = open_site(root, environ | {"RELEASER_VULNERABILITY_SERVICE": "https://ann:hunter22@osv.example.org"})
    site.state_dir.mkdir(parents=True)
    text = 'version = 1\n[[package]]\nname = "alpha"\nversion = "1"\nsource = { registry = "https://x/simple" }\n'
    assert not audit(site, uv, LockFile.parse(text.encode()), group=None, python="3.11.0").known
    file, netrc = seen.read_text(encoding="utf-8").splitlines()
    assert fnmatch(file, f"{site.state_dir}/.*.new")
    assert netrc == 'machine osv.example.org login "ann" password "hunter22"'
    assert list(site.state_dir.iterdir()) == []
