"""Which locks are refused for a version that their own requirements exclude."""

import pytest

from releaser.errors import PreflightError
from releaser.packages.complaints import require_kept_bounds

LOCK = """\
version = 1
{manifest}
[[package]]
name = "a"
version = "1.5"
source = {{ registry = "../index" }}
[[package]]
name = "shop"
version = "0"
source = {{ virtual = "." }}
{metadata}
"""


def make_lock(bounds: str, table: str = "[package.metadata]\nrequires-dist", manifest: str = "") -> str:
    return LOCK.format(manifest=manifest, metadata=f"{table} = [{bounds}]" if bounds else "")


def bound(specifier: str, more: str = "") -> str:
    return f'{{ name = "a", specifier = "{specifier}"{more} }}'


@pytest.mark.parametrize(
    ("text", "may_rise", "words"),
    [
        (make_lock(bound(">=1,<2")), False, ""),
        (make_lock(bound("<1.5")), False, "wants <1.5"),
        (make_lock(bound("<1.5")), True, "wants <1.5"),
        (make_lock(bound(">=2")), False, "wants >=2"),
        (make_lock(bound(">=2")), True, ""),  # an upgrade cures it
        (make_lock(bound("<1.5", ", marker = \"python_version >= '3.8'\"")), False, ""),  # of some environments
        (make_lock(bound("<1.5"), "[package.metadata.requires-dev]\nprod"), False, "wants <1.5"),
        (make_lock("", manifest=f"[manifest]\nconstraints = [{bound('<1.5')}]"), False, "wants <1.5"),
        (make_lock(bound("<1.5"), manifest='[manifest]\noverrides = [{ name = "a", specifier = ">=1" }]'), False, ""),
        (make_lock(bound("banana")), False, "cannot be read"),
        (make_lock('{ specifier = "<1" }'), False, "cannot be read"),
        (make_lock("", manifest="[manifest]\nconstraints = [3]"), False, "cannot be read"),
    ],
)
def test_law_28_40_a_lock_that_excludes_its_own_version_is_refused(text: str, may_rise: bool, words: str) -> None:
    if not words:
        require_kept_bounds(text, may_rise=may_rise)
        return
    with pytest.raises(PreflightError, match=words):
        require_kept_bounds(text, may_rise=may_rise)
