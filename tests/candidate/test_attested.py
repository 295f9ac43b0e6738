"""Which files indexes are asked about."""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from releaser.candidate import attested
from releaser.candidate.attestation_settings import AttestationSettings
from releaser.candidate.attested import verify_attestations
from releaser.errors import ResolutionError, ToolError
from releaser.locks.installed import IndexFile
from releaser.locks.lock import LockFile
from releaser.locks.origins import Answer
from releaser.site.supply import Supply
from tests.support.logs import a_log

LOCK = """version = 1
[[package]]
name = "alpha-one"
version = "%s"
source = { registry = "https://example.org/simple" }
sdist = { url = "https://example.org/alpha_one-1.tar.gz", hash = "sha256:%s1" }
wheels = [{ url = "https://example.org/alpha_one-1-py3-none-any.whl", hash = "sha256:%s2" }]
"""


class _AskedError(Exception):
    """Ends what asks."""


@pytest.mark.parametrize(
    ("setting", "uv", "files"),
    [
        ("off", "", []),
        ("warn", "", [".whl", ".whl"]),
        ("warn", 'no-binary-package = ["Alpha_One"]', [".gz", ".gz"]),
        ("warn", "no-binary = true", [".gz", ".gz"]),
    ],
)
def test_asked_about_is_what_would_be_installed_of_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: Any, uv: str, files: list[str]
) -> None:
    (tmp_path / "uv.toml").write_text(uv, encoding="utf-8")
    before, after = (LockFile.parse((LOCK % (one, one, one)).encode()) for one in (1, 2))
    asked = list[str]()

    def ask(_: Any, found: Iterable[IndexFile]) -> dict[IndexFile, Answer]:
        asked.extend(f".{one.file.rpartition('.')[2]}" for one in found)
        raise _AskedError

    monkeypatch.setattr(attested, "_ask", ask)
    monkeypatch.setattr(attested, "lock_of", lambda _: before)
    monkeypatch.setattr(attested, "default_groups", lambda _: None)
    monkeypatch.setattr(attested, "_can_verify", lambda: True)
    settings, project = AttestationSettings(attestations=setting), SimpleNamespace(root=tmp_path)
    runner = SimpleNamespace(environ={})
    site = SimpleNamespace(settings=settings, project=project, runner=runner, supply=Supply())
    facts = SimpleNamespace(group=None, choice=SimpleNamespace(version="3.11.7"))
    work: Any = SimpleNamespace(site=site, facts=facts, live=None, log=a_log())
    if files:
        with pytest.raises(_AskedError):
            verify_attestations(work, after)
    else:
        assert verify_attestations(work, after) == {}
    assert asked == files
    monkeypatch.setattr(attested, "_can_verify", lambda: False)
    assert verify_attestations(work, after) == {}
    site.settings = AttestationSettings(attestations="require")
    with pytest.raises(ResolutionError, match="are not installed"):
        verify_attestations(work, after)
    assert verify_attestations(work, before) == {}


@pytest.mark.parametrize(
    ("error", "told"), [(ToolError("slow", timed_out=True), []), (ToolError("it failed", returncode=1), ["it failed"])]
)
def test_what_is_unknown_is_asked_once(monkeypatch: pytest.MonkeyPatch, error: ToolError, told: list[str]) -> None:
    asked = list[str]()

    def fail(*_: Any) -> str:
        asked.append("")
        raise error

    monkeypatch.setattr(attested, "_run_probe", fail)
    log = a_log()
    work: Any = SimpleNamespace(site=SimpleNamespace(runner=SimpleNamespace(remembered={})), log=log)
    file = IndexFile("https://example.org/simple", "alpha", "1", "alpha-1.tar.gz", "00")
    first, second = (attested._ask(work, [file]) for _ in range(2))
    assert (first[file].state, first, asked) == ("unknown", second, [""])
    assert [one.message.removeprefix("attestations are not verified: ") for one in log.findings] == told


def test_the_trust_root_is_not_looked_for_where_tests_of_a_candidate_write(tmp_path: Path) -> None:
    places = SimpleNamespace(root=tmp_path / "elsewhere" / "staging", checkout=tmp_path / "outer" / "site")
    site: Any = SimpleNamespace(settings=AttestationSettings(attestations_root="../../keys/root.json"), project=places)
    assert attested._root(site) == tmp_path / "keys" / "root.json"
