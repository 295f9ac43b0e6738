"""The list of capabilities: what it names exists, is of the right kind, and is named once."""

import importlib
import pkgutil
import tomllib
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest

from releaser import capabilities
from releaser.candidate.output import TestFacts
from releaser.capabilities import CAPABILITIES, Capability, gather, state_files
from releaser.commands.elsewhere.base import Elsewhere
from releaser.commands.run_options import RunOption
from releaser.core.action import Action
from releaser.core.adoption import Adopter
from releaser.core.announcing import Announcer
from releaser.core.confinement import Confinement
from releaser.core.gate import Gate
from releaser.core.reporter import Reporter
from releaser.core.request import RequestKind
from releaser.core.restart import Restart
from releaser.core.source import Source, StartingLock
from releaser.core.status import StatusSection
from releaser.locks.origins import OriginFacts
from releaser.locks.rules import Rule
from releaser.releases import release
from releaser.releases.contents import DiskUsage
from releaser.releases.release import Manifest, manifest_type
from releaser.releases.venv import VenvFacts
from releaser.report import RunReport
from releaser.site.declaring import Part
from releaser.site.django_settings import MigrationFacts
from releaser.site.settings import PARTS, SPECS, AllSettings, Settings, kind_of
from releaser.site.site import StagingFacts
from releaser.site.supply import SupplyFacts
from releaser.system.files import read_state, write_state
from releaser.system.sections import Facts, Section
from releaser.system.state_files import StateFile
from tests.releases.makers import a_manifest, as_stored

ROOT = Path(__file__).parents[1]
HOUSE = tomllib.loads((ROOT / "scripts" / "house.toml").read_text(encoding="utf-8"))
KINDS = {
    "rules": Rule,
    "settings": Part,
    "sources": Source,
    "gates": Gate,
    "actions": Action,
    "restarts": Restart,
    "reporters": Reporter,
    "reported": Section,
    "statuses": StatusSection,
    "sealed": Facts,
    "confinements": Confinement,
    "announcers": Announcer,
    "adopters": Adopter,
    "starting_locks": StartingLock,
}
OPTIONS = {"elsewhere": Elsewhere, "run_options": RunOption, "requests": RequestKind}


def test_each_capability_and_each_state_file_is_listed_once() -> None:
    for names in ([one.name for one in CAPABILITIES], [one.name for one in state_files()]):
        assert [name for name, times in Counter(names).items() if times > 1] == []
    assert [one for one in state_files() if not isinstance(one, StateFile)] == []
    places = {place for one in CAPABILITIES for _, place in one.state}
    found = (pkgutil.resolve_name("releaser." + ":".join(place.rsplit(".", 1))) for place in places)
    declared = [one.name for file in found for one in (file if isinstance(file, tuple) else (file,))]
    assert sorted(declared) == sorted(one.name for one in state_files())


@pytest.mark.parametrize(("what", "core"), [("sealed", Manifest), ("reported", RunReport)])
def test_no_two_capabilities_add_the_same_key(what: str, core: type) -> None:
    keys = [one.name for kind in (core, *gather(what)) for one in fields(kind)]
    assert [name for name, times in Counter(keys).items() if times > 1] == []


def test_facts_that_no_capability_lists_any_more_are_skipped_in_a_manifest(tmp_path: Path) -> None:
    write_state(tmp_path / "manifest.json", {**as_stored(a_manifest(migrations=("a.1",))), "gone": [1]})
    manifest = read_state(tmp_path / "manifest.json", manifest_type())
    assert MigrationFacts.of(manifest).migrations == ("a.1",)
    assert MigrationFacts.of(None) == MigrationFacts()
    earlier = read_state(tmp_path / "manifest.json", Manifest)  # as without any capability
    assert MigrationFacts.of(earlier) == MigrationFacts()


@pytest.mark.parametrize("left_out", HOUSE["without"])
def test_a_release_is_sealed_without_a_capability_that_can_be_removed(
    monkeypatch: pytest.MonkeyPatch, left_out: str
) -> None:
    rest = tuple(one for one in CAPABILITIES if one.name != left_out)
    monkeypatch.setattr(capabilities, "CAPABILITIES", rest)
    monkeypatch.setattr(capabilities, "GATHERED", {})
    monkeypatch.setattr(release, "manifest_type", release.manifest_type.__wrapped__)
    built = {name: getattr(a_manifest(), name) for name in Manifest.__dataclass_fields__}
    facts = (DiskUsage(inodes=7), VenvFacts(), StagingFacts(), SupplyFacts(), TestFacts(), OriginFacts())
    assert DiskUsage.of(Manifest(**built).with_facts(*facts)).inodes == 7


@pytest.mark.parametrize(
    "what", [one.name for one in fields(Capability) if one.name not in ("name", "state", "commands", "answers")]
)
def test_what_a_capability_adds_is_of_the_kind_that_it_is_listed_as(what: str) -> None:
    found = gather(what)
    assert found
    if what in OPTIONS:
        assert {type(one) for one in found} == {OPTIONS[what]}
    else:
        assert [one for one in found if not (issubclass(one, KINDS[what]) if what in KINDS else callable(one))] == []


def test_a_setting_of_a_type_that_says_not_how_it_is_read_is_refused() -> None:
    with pytest.raises(TypeError, match="float"):
        kind_of(float)


def test_each_setting_is_declared_once() -> None:
    kinds: tuple[type[Settings | Part], ...] = (Settings, *PARTS)
    declared = [one.name for kind in kinds for one in fields(kind)]
    assert sorted(declared) == sorted(SPECS) == sorted(one.name for one in fields(AllSettings))


def test_what_make_without_deletes_and_runs_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    without = importlib.import_module("without")
    paths = {path for facts in without.CAPABILITIES.values() for path in (*facts["files"], *facts["tests"])}
    assert [path for path in sorted({*paths, *without.TESTS}) if not (ROOT / path).exists()] == []
    assert {*without.CAPABILITIES} <= {one.name for one in CAPABILITIES}


def test_make_measure_looks_at_all_of_the_core() -> None:
    modules = {f"core/{one.stem}" for one in (ROOT / "releaser" / "core").glob("[a-z]*.py")}
    assert modules <= {*HOUSE["core"]}
