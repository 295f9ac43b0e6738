"""`releaser.api`: programs that keep themselves up to date, and programs that look after a site."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.commands import Finished, clean_environment, run
from tests.support.sites import SampleSite
from tests.support.wheels import build_wheel

#: The program of the older tool's documentation, with its import changed.
PROGRAM = """\
from releaser.api import require, update
require(["hello"], sources=["{shelf}"])
update()
import hello
print(hello.__version__)
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of programs of a user, whose shelf has hello 1.0."""
    (tmp_path / "shelf").mkdir()
    build_wheel(tmp_path / "shelf", "hello", "1.0")
    return clean_environment(tmp_path / "home", tmp_path / "cache")


def start(tmp_path: Path, env: Mapping[str, str], text: str = PROGRAM) -> Finished:
    """Start the program from another directory."""
    program = tmp_path / "my program.py"
    program.write_text(text.format(shelf=tmp_path / "shelf"), encoding="utf-8")
    return run([sys.executable, program], cwd=tmp_path / "shelf", env=env)


@pytest.mark.slow
def test_law_3_42_a_program_gets_the_newest_version_that_works(tmp_path: Path, env: dict[str, str]) -> None:
    with (tmp_path / "home/.gitconfig").open("a") as config:
        config.write("[commit]\n\tgpgSign = true\n[gpg]\n\tprogram = false\n")
    first = start(tmp_path, env)
    assert (first.stdout, first.stderr, first.returncode) == ("1.0\n", "", 0)
    build_wheel(tmp_path / "shelf", "hello", "1.1")
    working = next((tmp_path / "home/.local/share/releaser").iterdir()) / "project/.git/a.lock"
    working.touch()  # of an update by another start
    assert start(tmp_path, env).stdout == "1.1\n"
    assert working.exists()
    build_wheel(tmp_path / "shelf", "hello", "1.2", modules={"hello/__init__.py": "import what_nobody_has"})
    broken = start(tmp_path, env)
    assert (broken.stdout, broken.returncode) == ("1.1\n", 0)
    assert "goes on with the live release" in broken.stderr
    assert "what_nobody_has" in broken.stderr
    back = PROGRAM.replace("update()", "from releaser.api import rollback, status; rollback(); update()")
    assert start(tmp_path, env, back).stdout == "1.0\n"
    # Another package, as the program has changed; an earlier start was killed.
    (next((tmp_path / "home/.local/share/releaser").iterdir()) / "project/.git/index.lock").touch()
    build_wheel(tmp_path / "shelf", "more", "3.0")
    both = start(
        tmp_path, env, PROGRAM.replace('["hello"]', '["hello", "more>=2"]') + "import more\nprint(more.__version__)"
    )
    assert both.stdout == "1.0\n3.0\n", both


@pytest.mark.slow
def test_law_7_8_programs_that_start_at_once_make_one_project(tmp_path: Path, env: dict[str, str]) -> None:
    program = tmp_path / "many.py"
    program.write_text(PROGRAM.format(shelf=tmp_path / "shelf") + "input()\n", encoding="utf-8")
    words = [sys.executable, program]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    programs = [subprocess.Popen(words, cwd="/", env=env, **pipes) for _ in range(3)]  # type: ignore[call-overload]
    try:
        assert [each.stdout.readline() for each in programs] == ["1.0\n"] * 3
        projects = [*(tmp_path / "home/.local/share/releaser").iterdir()]
        listed = run(
            [Path(sys.executable).with_name("releaser"), "list", "--json", "--project", projects[0] / "project"],
            cwd=tmp_path,
            env=env,
            check=0,
        )
        rows = json.loads(listed.stdout)
        assert (len(projects), len(rows)) == (1, 1)
        assert {each.pid for each in programs} <= {*rows[0]["in_use_by"]}
    finally:
        for each in programs:
            each.communicate("\n")
    assert [each.returncode for each in programs] == [0, 0, 0]


@pytest.mark.slow
def test_law_28_a_program_looks_after_a_site_from_any_directory_and_thread(
    site: SampleSite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = textwrap.dedent("""
        import json, os, sys
        from concurrent.futures import ThreadPoolExecutor
        from releaser.api import ReleaserError, releases, require, rollback, status, update
        path = sys.argv[1]
        with ThreadPoolExecutor(4) as pool:
            answers = [each.result() for each in [pool.submit(update, project=path) for _ in range(2)]]
            states = [each.result() for each in [pool.submit(status, path) for _ in range(4)]]
        print(sorted(answer.result for answer in answers), {state.live for state in states} == {releases(path)[0].id})
        print(next(change for answer in answers for change in answer.changes))
        print(rollback(project=path).headline, [release.state for release in releases(path)])
        os.chdir(path)
        print(len({state.live for state in (status(), status("."), status(path))}))
        os.environ.update(HOME=path, PATH="/nowhere", XDG_DATA_HOME=path)
        for call in (lambda: rollback("20000101T000000Z", project=path), lambda: update("nothing", project=path),
                     lambda: status("/"), lambda: releases("/"), lambda: require(["hello"]),
                     lambda: require(["hello"], sources=["https://me:hunter2secret@example.org/simple"])):
            try:
                call()
            except ReleaserError as error:
                print(error.exit_code, error.message, "|", error.advice)
    """)
    site.publish("alpha", "1.1.0")
    (tmp_path / "of_site.py").write_text(code, encoding="utf-8")
    done = run([sys.executable, tmp_path / "of_site.py", site.path], cwd=Path("/"), env=site.env, check=0)
    lines = done.stdout.splitlines()
    assert lines[0] == "['no-changes', 'updated'] True"
    assert lines[1] == "Change(name='alpha', old='1.0.0', new='1.1.0', bump='minor')"
    assert lines[2].endswith("['rolled-back', 'live']")
    assert lines[3] == "1"
    assert [line.split()[0] for line in lines[4:]] == ["9", "3", "3", "3", "4", "3"]
    assert all(line.partition("|")[2].strip() for line in lines[4:8])
    assert lines[8].startswith("4 `git` cannot be started: No such file or directory.")
    assert lines[9].startswith("3 An address in `sources` has a user or a password. | ")
