"""What a requirements file says that `uv add` does not write down, and the pyproject.toml that it makes."""

import tomllib
from pathlib import Path

import pytest

from releaser.errors import ResolutionError
from releaser.locks.lock import LockFile
from releaser.resolution.first_lock import loosen
from releaser.resolution.requirements_file import Line, read_lines, refusals, refuse_other_files

LOCK = """
version = 1
[[package]]
name = "alpha"
version = "1.0"
source = { registry = "https://index.example.org/simple" }
wheels = [{ url = "https://index.example.org/alpha.whl", hash = "sha256:aa" }]
"""


def lines_of(directory: Path, text: str, **others: str) -> list[Line]:
    (directory / "requirements.txt").write_text(text, encoding="utf-8")
    for name, content in others.items():
        (directory / f"{name}.txt").write_text(content, encoding="utf-8")
    return list(read_lines(directory / "requirements.txt"))


def test_lines_are_joined_freed_of_comments_and_numbered_as_an_editor_does(tmp_path: Path) -> None:
    text = "# why\nalpha==1.0 \\\n  --hash=sha256:aa \\\n  --hash sha256:bb  # via gamma\n\nbeta @ https://x/#egg\n"
    found = lines_of(tmp_path, text)
    assert [one.where.rpartition(", ")[2] for one in found] == ["line 2", "line 6"]
    assert found[0].hashes == {"sha256:aa", "sha256:bb"}
    assert str(found[0].requirement) == "alpha==1.0"
    assert found[1].text == "beta @ https://x/#egg"


@pytest.mark.parametrize("word", ["-r base.txt", "--requirement base.txt", '-r "base.txt"', "--requirement=base.txt"])
def test_what_a_file_includes_counts(tmp_path: Path, word: str) -> None:
    found = lines_of(
        tmp_path,
        f"{word}\nalpha\n",
        base="beta\n-c bounds.txt\n-r base.txt\n",
        bounds="gamma<2\n-r ./base.txt\ndelta==1.0\n",
    )
    assert [one.text for one in found] == ["beta", "gamma<2", "delta==1.0", "alpha"]
    assert found[0].where == f"{tmp_path}/base.txt, line 1"
    assert [one.text for one in found if one.is_constraint] == ["gamma<2", "delta==1.0"]


def test_options_are_refused_unless_uv_takes_them_or_the_project_names_its_indexes(tmp_path: Path) -> None:
    options = ["--no-index", "-f ../wheels", "--find-links=https://x/files", "-i https://a", "--pre", "-e ./sub"]
    found = lines_of(tmp_path, "\n".join([*options, "--require-hashes", "alpha", "-c https://x/c.txt"]))

    def refused(*, names_indexes: bool) -> list[str]:
        return [one.message.rpartition("accept ")[2].strip("`") for one in refusals(found, names_indexes=names_indexes)]

    assert refused(names_indexes=False) == options[:5]
    assert refused(names_indexes=True) == ["--pre"]


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
        ("alpha==1.0.0 --hash=sha256:bb", True),
        ("alpha==1.0 --hash=sha256:bb --hash=sha256:aa", False),
        ("alpha==2.0 --hash=sha256:bb", False),  # for another platform
        ("alpha==1.0", False),
    ],
)
def test_files_of_other_hashes_are_refused(text: str, is_refused: bool) -> None:
    lock, line = LockFile.parse(LOCK.encode()), Line(where="r.txt, line 1", text=text)
    if not is_refused:
        refuse_other_files(lock, [line])
        return
    with pytest.raises(
        ResolutionError, match=r"r\.txt, line 1: the index has no file of alpha with one of those hashes"
    ):
        refuse_other_files(lock, [line])
