"""What somebody is asked to accept."""

import contextlib
from pathlib import Path

from releaser.errors import BuildError, ReleaserError
from releaser.locks.origins import Deviation
from releaser.releases.acceptance import DeviationError, note_refusals
from releaser.releases.blocks import read_blocks


def test_what_a_run_goes_on_without_can_be_accepted_too(tmp_path: Path) -> None:
    """A search for culprits goes on without what is refused, and says that it may be accepted."""

    def asked(*failures: ReleaserError, end: ReleaserError | None = None) -> list[str]:
        with contextlib.suppress(ReleaserError), note_refusals(tmp_path, failures):
            if end is not None:
                raise end
        return [one.name for one in read_blocks(tmp_path).asked]

    alpha, beta = (
        DeviationError((Deviation(name=name, version="1", what="hash", old="a", new="b"),))
        for name in ("alpha", "beta")
    )
    other = BuildError("no room", advice="Make room.")
    assert asked(alpha, other) == ["alpha"]
    assert asked(alpha, end=other) == ["alpha"]
    assert asked(alpha, end=beta) == ["alpha", "beta"]
    assert asked(end=other) == ["alpha", "beta"]
    assert asked(other) == []
