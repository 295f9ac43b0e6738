"""What is said of builds that write into the staging tree."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from releaser.candidate.install import _refuse_built_files
from releaser.errors import ToolError
from releaser.site.supply import Supply

LOCK = """\
version = 1
[[package]]
name = "site"
version = "1"
source = { editable = "." }
[[package]]
name = "member"
version = "1"
source = { editable = "packages/member" }
"""


@pytest.mark.parametrize(("made", "advised"), [("src/fast.so", False), ("packages/member/fast.so", True)])
def test_only_of_other_packages_than_the_project_a_wheel_is_advised(tmp_path: Path, made: str, advised: bool) -> None:
    (tmp_path / "uv.lock").write_text(LOCK)
    git = SimpleNamespace(layout=SimpleNamespace(top=tmp_path), unknown_files=lambda: [made])
    project = SimpleNamespace(root=tmp_path, lock=tmp_path / "uv.lock", of_checkout=lambda _: tmp_path)
    site: Any = SimpleNamespace(git=git, project=project, supply=Supply())
    with pytest.raises(ToolError) as caught:
        _refuse_built_files(site, set())
    assert "once in the checkout, by hand." in caught.value.advice
    assert ("editable = false" in caught.value.advice) is advised
