"""Files that the project's own tests, build or collectstatic leave in the work tree.

They would make the next run refuse a tree that is not clean, night after night, for something that nobody did. So they
are reported once, by the run that saw them appear, and let be from then on.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError, read_json, write_json
from releaser.errors import ToolError
from releaser.project.checkout import is_below, own_paths
from releaser.report.outcome import Problem

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.run import Run

LITTER = "litter.json"
_SHOWN = 5


def known_litter(state_dir: Path) -> frozenset[str]:
    """Return the paths, relative to the top of the work tree, that appeared in earlier runs."""
    with contextlib.suppress(UnreadableStateError, OSError, TypeError):
        return frozenset(str(path) for path in (read_json(state_dir / LITTER) or {}).get("paths", ()))
    return frozenset()


def note_litter(run: Run) -> None:
    """Report untracked files that were not there when this run began; a run that did not look then finds nothing."""
    before, project = run.untracked_before, run.site.project
    if before is None:
        return
    try:
        ours = own_paths(run.site, run.site.git.layout.top)
        found = [path for path in run.site.git.state().untracked if path not in before and not is_below(path, ours)]
    except ToolError:
        return
    known = known_litter(project.state_dir)
    fresh = [path for path in found if path not in known]
    if not fresh:
        return
    with contextlib.suppress(OSError):
        write_json(project.state_dir / LITTER, {"paths": sorted(known | set(fresh))})
    shown = ", ".join(fresh[:_SHOWN]) + (f" and {len(fresh) - _SHOWN} more" if len(fresh) > _SHOWN else "")
    message = f"the tests, the build or collectstatic left files in the work tree: {shown}"
    run.draft.problems.append(Problem(message=message, advice="Add them to .gitignore; releaser lets them be."))
