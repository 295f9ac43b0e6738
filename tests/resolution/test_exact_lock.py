"""The pyproject.toml of a first lock, and what is refused of a lock."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from releaser.errors import ResolutionError
from releaser.locks.lock import LockFile
from releaser.resolution.exact_lock import complete, differences, loosen, refuse_other_files
from releaser.resolution.requirements_file import Line
from releaser.resolution.unlocked import UnlockedEnvironment

LOCK = """
version = 1
[[package]]
name = "alpha"
version = "1.0"
source = { registry = "https://index.example.org/simple" }
wheels = [{ url = "https://index.example.org/alpha.whl", hash = "sha256:aa" }]
"""


NEW = {"name": "shop", "version": "0", "requires-python": ">=3.11", "dependencies": []}


def test_a_pyproject_keeps_what_it_says() -> None:
    text = '# ours\n[project]\nname = "x"  # of old\nrequires-python = ">=3.9"\n\n[tool.uv]\nno-index = true\n'
    written = complete(text, NEW, uv={"find-links": ["../w"]}, releaser={})
    assert 'name = "x"  # of old' in written
    assert tomllib.loads(written)["tool"] == {"uv": {"no-index": True, "find-links": ["../w"]}}
    assert tomllib.loads(written)["project"] == {**NEW, "name": "x", "requires-python": ">=3.9"}


def test_a_new_one_gets_indexes_as_people_write_them() -> None:
    index = [{"url": "https://a", "default": True}, {"url": "https://b"}]
    written = complete("# nothing yet\n", NEW, uv={"index": index}, releaser={"group": "none"})
    assert written.startswith("# nothing yet\n")
    assert tomllib.loads(written)["tool"] == {"uv": {"index": index}, "releaser": {"group": "none"}}


@pytest.mark.parametrize("text", ["[tool]\nuv.no-index = true\n", "no toml"])
def test_one_that_cannot_be_added_to_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        complete(text, NEW, uv={"index": [{"url": "https://a"}]})


def test_exact_versions_become_lower_bounds() -> None:
    text = """[project]
dependencies = [
    "alpha[fast]==1.0 ; python_version < '3.12'",  # first
    "beta==1.*", "gamma>=1,<2", "delta===1.0+local", "Epsilon",
]
"""
    written = loosen(text)
    assert "# first" in written
    assert tomllib.loads(written)["project"]["dependencies"] == [
        'alpha[fast]>=1.0 ; python_version < "3.12"', "beta==1.*", "gamma>=1,<2", "delta>=1.0", "Epsilon",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        ("alpha==1.0 --hash=sha256:bb", True),
        ("alpha==1.0 --hash=sha256:bb --hash=sha256:aa", False),
        ("alpha==2.0 --hash=sha256:bb", False),  # for another platform
        ("alpha==1.0", False),
    ],
)
def test_files_of_other_hashes_are_refused(text: str, is_refused: bool) -> None:
    line = Line(where="r.txt, line 1", text=text, file=Path("r.txt"), is_constraint=False)
    found = UnlockedEnvironment(versions={"alpha": "1.0"}, lines=(line,))
    if not is_refused:
        refuse_other_files(LockFile.parse(LOCK.encode()), found)
        return
    with pytest.raises(
        ResolutionError, match=r"r\.txt, line 1: the index has no file of alpha with one of those hashes"
    ):
        refuse_other_files(LockFile.parse(LOCK.encode()), found)


def test_versions_are_compared_and_not_how_they_are_written() -> None:
    after = {"alpha": "1.0.0", "beta": "2", "delta": "1"}
    found = UnlockedEnvironment(versions={"alpha": "1.0", "beta": "1", "gamma": "1"}, is_installed=True)
    assert differences(found, after, except_for=()) == ["beta 1 → 2", "delta none → 1", "gamma 1 → none"]
    from_file = UnlockedEnvironment(versions={"alpha": "1.0"})
    assert differences(from_file, after, except_for=()) == []
