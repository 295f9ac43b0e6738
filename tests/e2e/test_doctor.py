"""`releaser doctor`: one file with what a bug report needs, from a site that is well and from broken ones."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from releaser.commands import doctor
from releaser.errors import ToolError
from tests.e2e.scenes import edit_pyproject
from tests.support.sites import SampleSite, SiteFactory, variables

OWN = ["releaser", "host", "programs"]
OF_FILES = ["servers", "disk", "files", "logs"]
ASKED = ["config", "check --sandbox --json", "status --json", "list", "history --number 5 --json"]


def parts_of(text: str) -> dict[str, str]:
    """Return the parts of the file by their titles."""
    _, *parts = text.split("\n== ")
    return dict(part.split(" ==\n", 1) for part in parts)


@pytest.mark.story
def test_a_site_that_is_well(make_site: SiteFactory, tmp_path: Path) -> None:
    site, file = make_site.adopted("1.1.0"), tmp_path / "doctor.txt"
    file.touch(mode=0o644)
    before, state = site.snapshot(), {path.name for path in site.state_dir.iterdir()}
    said = site.releaser("doctor", "--output", file, check=0)
    assert said.stdout == f"{file}\n"
    assert "Nothing was sent" in said.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text(encoding="utf-8")
    parts = parts_of(text)
    assert [*parts] == [*OWN, *OF_FILES, *ASKED]
    assert "\nerror: " not in text
    assert json.loads(parts[ASKED[1]])["fit"] is True
    assert json.loads(parts[ASKED[2]])["live"] == site.live_id()
    assert [run["command"] for run in json.loads(parts[ASKED[4]])] == ["update", "init"]
    for title, words in {
        "releaser": "\nmsgspec ", "host": "\nuser: ", "programs": "\ngit: git version ", "disk": "\nstate: ",
        "files": f"{site.state_dir}/ledger.json\n", "logs": "step flip", "config": "RELEASER_ENVIRONMENT",
    }.items():  # fmt: skip
        assert words in f"\n{parts[title]}", title
    assert (site.snapshot(), {path.name for path in site.state_dir.iterdir()}) == (before, state)


def _remove(name: str) -> Callable[[SampleSite], None]:
    return lambda site: (site.path / name).unlink()


def _without_live(site: SampleSite) -> None:
    shutil.rmtree(site.state_dir / "releases" / site.live_id())


def _put(name: str, content: str) -> Callable[[SampleSite], object]:
    return lambda site: (site.state_dir / name).write_text(content, encoding="utf-8")


def _directory_for(name: str) -> Callable[[SampleSite], None]:
    def put(site: SampleSite) -> None:
        (site.state_dir / name).unlink()
        (site.state_dir / name).mkdir()

    return put


# What breaks the site, the parts that then end with an error, and words that must be in the file.
BROKEN: dict[str, tuple[Callable[[SampleSite], object], list[str], str]] = {
    "no pyproject.toml": (_remove("pyproject.toml"), [ASKED[1]], "pyproject.toml does not exist"),
    "no lock": (_remove("uv.lock"), [ASKED[1]], "uv.lock does not exist"),
    "no TOML": (lambda site: site.edit("pyproject.toml", "[["), [ASKED[1]], "is not valid TOML"),
    "no state directory": (lambda site: shutil.rmtree(site.state_dir), ["files", "logs"], "No such file or directory"),
    "no uv": (
        lambda site: site.write_dotenv(variables(uv="/nothing")),
        ["programs", ASKED[1]],
        "uv was not found at /nothing",
    ),
    "no git": (lambda site: shutil.rmtree(site.path / ".git"), [ASKED[1]], "no .git exists here or above now"),
    "no live release": (_without_live, [], "leads to ../.releaser/site/releases/"),
    "no link": (lambda site: site.link.unlink(), [], "leads to None"),
    "a journal of another world": (_put("journal.json", "{{"), [], "its journal cannot be read"),
    "a damaged ledger": (_put("ledger.json", "{{"), [], "ledger.json cannot be read"),
    "a directory for the history": (_directory_for("history.jsonl"), [], "history.jsonl"),
    "a wrong setting": (lambda site: site.write_dotenv(variables(keep="many")), [ASKED[1]], "RELEASER_KEEP"),
    "a wrong table": (
        lambda site: site.edit("pyproject.toml", edit_pyproject(site, "[project]", "[tool]\nreleaser = 5\n[project]")),
        [ASKED[1]],
        "must be a table",
    ),
}


@pytest.mark.spread(5)
@pytest.mark.slow
@pytest.mark.parametrize("how", BROKEN)
def test_a_site_that_is_broken(make_site: SiteFactory, tmp_path: Path, how: str) -> None:
    site, file = make_site.adopted("1.1.0"), tmp_path / "doctor.txt"
    harm, failed, words = BROKEN[how]
    harm(site)
    found = site.json("doctor", "--output", file)
    text = file.read_text(encoding="utf-8")
    assert "Traceback" not in text
    assert words in text
    assert found == {"path": str(file), "failed": failed}
    parts = parts_of(text)
    assert [*parts] == [*OWN, *OF_FILES, *ASKED]
    assert [title for title, part in parts.items() if "\nerror: " in f"\n{part}"] == failed


@pytest.mark.slow
def test_outside_of_any_project_and_where_the_file_cannot_be(make_site: SiteFactory, tmp_path: Path) -> None:
    site = make_site()
    env = {"TMPDIR": str(tmp_path), "RELEASER_PROJECT": None}
    found = site.json("doctor", "--project", tmp_path / "nowhere", env=env)
    path = Path(found["path"])
    assert (path.parent, path.stat().st_mode & 0o777, found["failed"]) == (tmp_path, 0o600, ASKED)
    assert [*parts_of(path.read_text(encoding="utf-8"))] == [*OWN, *ASKED]
    refused = site.releaser("doctor", "--output", tmp_path / "none" / "doctor.txt", check=3)
    assert "cannot be written: No such file or directory" in refused.stderr
    assert refused.stdout == ""
    assert os.listdir(tmp_path / "outer") == os.listdir(site.outer)


def test_an_error_of_a_part_is_a_line_of_it() -> None:
    def part(error: Exception) -> Iterator[str]:
        yield "first"
        raise error

    for error, line in ((ZeroDivisionError("no"), "error: ZeroDivisionError: no"), (ToolError("ill"), "error: ill")):
        assert doctor._try(partial(part, error)) == (["first", line], False)


def test_a_report_that_is_cut_off_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a person could send half a report."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        doctor._write(None, b"facts")
    assert os.listdir(tmp_path) == []
    monkeypatch.undo()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = Path(doctor._write(None, b"facts"))
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"facts", [path.name])
