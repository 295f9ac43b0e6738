"""Audits: the packages that the service was asked about, and the release that the answer is for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import AuditError, BuildError
from releaser.packages import audit
from releaser.packages.audit import Advisory, Audit, audit_venv, read_audit
from releaser.pipelines import conclude as gate
from releaser.site.settings import Settings, VersionSettings
from releaser.site.site import Site
from releaser.system.run import UPDATE, Run
from tests.unit.samples import NOW, make_site


def install(venv: Path, name: str, version: str, source: Mapping[str, Any] | None = None) -> None:
    """Put the metadata of a package into a venv, with where it came from."""
    info = venv / "lib" / "python3.11" / "site-packages" / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    if source is not None:
        (info / "direct_url.json").write_text(json.dumps(source), encoding="utf-8")


@pytest.mark.parametrize(
    ("source", "asked", "unasked"),
    [
        (None, {"a": "1.0", "b": "1.0"}, ()),
        ({"url": "file:///srv/site/lib", "dir_info": {}}, {"a": "1.0"}, ()),
        ({"url": "file:///srv/site/lib", "dir_info": {"editable": True}}, {"a": "1.0"}, ()),
        ({"url": "file:///srv/site/b.whl", "archive_info": {}}, {"a": "1.0"}, ("b",)),
        ({"url": "https://host/b", "vcs_info": {"vcs": "git", "commit_id": "0" * 40}}, {"a": "1.0"}, ("b",)),
    ],
)
def test_law_25_of_what_no_index_has_brought_nothing_is_known_unless_it_is_the_project_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Any, asked: Mapping[str, str], unasked: tuple[str, ...]
) -> None:
    questions = list[Mapping[str, str]]()

    def ask(site: Site, packages: Mapping[str, str], *, mark: str) -> tuple[list[audit.Advisory], str]:
        questions.append(packages)
        return [], ""

    monkeypatch.setattr(audit, "_ask", ask)
    install(tmp_path, "a", "1.0")
    install(tmp_path, "b", "1.0", source)
    found = audit_venv(make_site(Settings()), tmp_path, mark="x")
    assert (questions, found.unasked, "No known" in found.headline) == ([asked], unasked, not unasked)


@pytest.mark.parametrize(
    ("packages", "words"), [({"a": "1.0"}, "No known"), ({"a": "1.1"}, "unknown"), ({}, "unknown")]
)
def test_law_25_what_was_said_of_another_release_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packages: dict[str, str], words: str
) -> None:
    site = make_site(Settings())
    install(tmp_path, "a", "1.0")
    monkeypatch.setattr(audit, "read_state", lambda path, kind: Audit(NOW, packages))
    found = read_audit(site, tmp_path)
    assert found is not None
    assert words in found.headline


OLD, NEW = Advisory("a", "1.0", "GHSA-1"), Advisory("b", "1.1", "GHSA-2")


@pytest.mark.parametrize(
    ("candidate", "live", "error"),
    [
        (Audit(NOW, {}, (OLD,)), Audit(NOW, {}, (OLD,)), None),
        (Audit(NOW, {}, (OLD, NEW)), Audit(NOW, {}, (OLD,)), AuditError),
        (Audit(NOW, {}, (OLD,)), Audit(NOW, {}, (), "no answer."), BuildError),
        (Audit(NOW, {}, (), "no answer."), None, BuildError),
        (Audit(NOW, {}), None, None),
    ],
)
def test_law_25_a_vulnerability_is_new_only_if_that_is_known(
    monkeypatch: pytest.MonkeyPatch, candidate: Audit, live: Audit | None, error: type[Exception] | None
) -> None:
    site, answers = make_site(Settings(versions=VersionSettings(audit="refuse"))), iter([candidate, live])
    monkeypatch.setattr(gate, "audit_venv", lambda site, venv, mark: next(answers))
    releases: Any = [type("Release", (), {"id": name, "venv": Path(name)}) for name in ("new", "old")]
    if error is None:
        gate.require_audit(site, Run("r", UPDATE), *releases)
    else:
        with pytest.raises(error):
            gate.require_audit(site, Run("r", UPDATE), *releases)
