"""Which migrations keep a release from going live, by what Django answers with it and with the live release."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from releaser.candidate import migrations
from releaser.report import Step
from releaser.site.django_settings import MigrationFacts
from tests.support.logs import a_log

NEW = "alpha.0002_price"


@pytest.mark.parametrize("waits", ["", "migrations are not applied"])
@pytest.mark.parametrize("works", [False, True])
@pytest.mark.parametrize("before", [None, frozenset[str]()])
def test_a_release_that_waits_goes_on_waiting_while_the_live_one_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, before: frozenset[str] | None, *, works: bool, waits: str
) -> None:
    live: Any = SimpleNamespace(works=lambda: works)
    release: Any = SimpleNamespace(
        manifest=MigrationFacts(migrations=(NEW,)), lifecycle=SimpleNamespace(waits=waits), venv=Path("venv")
    )

    def find_unapplied(_site: object, _venv: Path, _step: Step) -> tuple[str, ...]:
        return (NEW,)

    monkeypatch.setattr(migrations, "store_of", lambda _: SimpleNamespace(live=lambda: live))
    monkeypatch.setattr(migrations, "_find_unapplied_before", lambda _: before)
    monkeypatch.setattr(migrations, "_find_unapplied", find_unapplied)
    site: Any = SimpleNamespace()
    missing = migrations.find_missing(site, a_log(), release)
    assert bool(missing) is (works and (before is not None or bool(waits)))
