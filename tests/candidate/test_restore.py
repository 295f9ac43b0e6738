"""Restoring keeps each change, and does not end a run if it fails."""

import errno
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from releaser.candidate import restore
from releaser.candidate.restore import _list, _replace, _restore
from releaser.errors import Finding
from releaser.pipelines import rollback
from releaser.releases.contents import KEPT, hash_of, seal_files
from releaser.releases.integrity import Damage, Defect, Drift, compare, find_damage, read_sealed
from releaser.releases.release import Release
from releaser.releases.store import ReleaseStore
from tests.releases.makers import a_manifest, live, on_paper
from tests.support.guards import require
from tests.support.logs import a_log

SITE = "lib/python3.11/site-packages"
MODULE, RECORD = f"{SITE}/alpha.py", f"{SITE}/alpha-1.0.dist-info/RECORD"


def test_without_room_for_temporary_files_the_rollback_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    venv = tmp_path / a_manifest().id / "venv"
    (venv / RECORD).parent.mkdir(parents=True)
    (venv / MODULE).write_text("A = 1\n", encoding="utf-8")
    (tmp_path / "shared.py").hardlink_to(venv / MODULE)
    (venv / RECORD).write_text(f"alpha.py,{hash_of(str(venv / MODULE))},6\n", encoding="utf-8")
    changed = Defect(kind="changed", path=MODULE, message="it differs")
    damage = Damage(kind="files", reason="", drift=Drift(files=(changed,)))
    release = on_paper(tmp_path, a_manifest())
    noted: list[Finding] = []
    nothing: Any = SimpleNamespace(note=noted.append)
    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    assert not _restore(nothing, nothing, release, damage)
    assert "alpha.py of" in str(noted)
    assert "No space left" in str(noted)


def test_a_rollback_compares_a_whole_release_with_its_seal_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, compared = ReleaseStore(state_dir=tmp_path / "state", link=tmp_path / ".venv"), list[str]()
    for number in (1, 2):
        live(store, number)
    older = store.all()[1].id

    def compare(release: Release) -> None:
        compared.append(release.id)

    for module in (restore, rollback):
        monkeypatch.setattr(module, "find_rollback_damage", compare)
    site: Any = SimpleNamespace(state_dir=store.state_dir, project=SimpleNamespace(venv=store.link), asks=True)
    for name in (older, None):
        assert rollback.choose(store, name, restore.restore_for_rollback(site, a_log(), name)).id == older
    assert compared == [older, older]


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda file: file.chmod(0o400), "its read and execute permissions were 444 and are 400 now"),
        (lambda file: os.chown(file, -1, 54321), "its owner and group were those of the venv, and are 0:54321 now"),
        (lambda file: os.chown(file, 54321, -1), "its owner and group were those of the venv, and are 54321:0 now"),
    ],
    ids=["chmod", "chgrp", "chown"],
)
def test_a_mode_or_owner_that_was_changed_through_another_release_is_restored(
    tmp_path: Path, act: Callable[[Path], object], says: str
) -> None:
    require("permissions" in says or os.geteuid() == 0, "root is needed")
    directory = tmp_path / a_manifest().id
    module = directory / "venv" / MODULE
    (directory / "venv" / RECORD).parent.mkdir(parents=True)
    module.write_text("A = 1\n", encoding="utf-8")
    (directory / "venv" / RECORD).write_text(f"alpha.py,{hash_of(str(module))},6\n", encoding="utf-8")
    module.chmod(0o444)
    release = on_paper(tmp_path, a_manifest(fingerprint=seal_files(str(directory))))
    (tmp_path / "shared.py").hardlink_to(module)
    act(tmp_path / "shared.py")
    changed = module.stat()
    assert find_damage(release) is not None
    drift = compare(release, sealed := read_sealed(release))
    assert [(file.kind, file.message) for file in drift.files] == [("permissions", says)]
    wanted = _list(release, Damage(kind="files", reason="", drift=drift))
    assert wanted == {MODULE: hash_of(str(module))}
    _replace(release, MODULE, module, sealed.seen[MODULE])
    assert not compare(release, sealed)
    assert stat.S_IMODE(module.stat().st_mode) == 0o644
    kept = (tmp_path / "shared.py").stat()
    assert (kept.st_mode, kept.st_uid, kept.st_gid) == (changed.st_mode, changed.st_uid, changed.st_gid)


def test_each_change_of_a_file_is_kept(tmp_path: Path) -> None:
    directory = tmp_path / a_manifest().id
    module = directory / "venv" / MODULE
    (directory / "venv" / RECORD).parent.mkdir(parents=True)
    (directory / "venv" / RECORD).write_text("alpha.py,,\n", encoding="utf-8")
    module.write_text("A = 1\n", encoding="utf-8")
    (tmp_path / "whole.py").write_text("A = 1\n", encoding="utf-8")
    release = on_paper(tmp_path, a_manifest(fingerprint=seal_files(str(directory))))
    before = module.stat().st_mtime_ns
    for number in (2, 3):
        module.write_text(f"A = {number}\n", encoding="utf-8")
        _replace(release, MODULE, tmp_path / "whole.py", f"- {before} 444")
        assert (module.read_text(encoding="utf-8"), module.stat().st_mtime_ns) == ("A = 1\n", before)
    kept = sorted(file.read_text(encoding="utf-8") for file in (directory / KEPT).rglob("alpha.py*"))
    assert kept == ["A = 2\n", "A = 3\n"]
