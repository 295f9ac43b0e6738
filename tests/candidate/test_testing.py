"""Whose word counts on isolation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from releaser.candidate import testing


@pytest.mark.parametrize("is_new", [True, False])
def test_where_live_cannot_run_only_what_is_known_runs_without_isolation(
    monkeypatch: pytest.MonkeyPatch, *, is_new: bool
) -> None:
    ran = []

    def attempt(*_: object, **how: str) -> Any:
        ran.append(how)
        return SimpleNamespace(passed=False)

    ledger = SimpleNamespace(activations=("1",))
    monkeypatch.setattr(testing, "cannot_run", lambda _: True)
    monkeypatch.setattr(testing, "store_of", lambda _: SimpleNamespace(ledger=lambda: ledger))
    monkeypatch.setattr(testing, "_try", attempt)
    site = SimpleNamespace(runner=SimpleNamespace(remembered={}))
    work: Any = SimpleNamespace(site=site, live=object())
    candidate: Any = SimpleNamespace(resolution=SimpleNamespace(diff=["alpha 1.0 -> 1.1"] if is_new else []))
    failed: Any = SimpleNamespace(trial=None)
    result = testing._unless_isolated(work, candidate, failed)
    assert (result is failed, len(ran)) == ((True, 0) if is_new else (False, 1))
