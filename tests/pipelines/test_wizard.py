"""What `setup` says to each answer, and the edits that it makes of the answers; no question is asked here."""

import shutil
from pathlib import Path

import pytest

from releaser.errors import PreflightError, UsageError
from releaser.pipelines.setup import find_edits
from releaser.pipelines.wizard import Answer, check_answer, check_schedule, introduce
from releaser.site.site import Site, open_site
from tests.support.commands import program_path

PYPROJECT = """\
[project]
[dependency-groups]
local = []
staging = []
[tool.releaser]
test_command = "python t.py"
"""
YES = "Did you mean "


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a project without a venv."""
    root = tmp_path.resolve() / "site"
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    return root


def a_site(root: Path, **environ: str) -> Site:
    return open_site(root, {"PATH": program_path(), "HOME": str(root.parent), **environ})


@pytest.mark.parametrize(
    ("name", "answer", "problem", "suggestion", "may_stay"),
    [
        ("environment", "prod", f"Must be one of: .*{YES}production", "production", False),
        ("environment", "nonsense", "Must be one of", None, False),
        ("group", "stagin", "has no group `stagin`.* The groups are local, staging", "staging", False),
        ("group", "", "", None, False),
        ("test_command", "nobody-has-this", "The program 'nobody-has-this' does not exist", None, True),
        ("test_command", "python gone.py", "/gone.py does not exist", None, True),
        ("test_command", "python 'gone.py", "Must be a command: No closing quotation", None, False),
        ("restart", "passenegr", f"{YES}passenger", "passenger", True),
        ("restart", "none", "", None, False),
        ("health_check", "shop.invalid/x", f"{YES}https://shop.invalid/x", "https://shop.invalid/x", False),
        ("health_check", "localhost:80", f"{YES}http://localhost:80", "http://localhost:80", False),
        ("health_check", "none", "", None, False),
        ("admins", "ada", "The address 'ada' has no @. Write it as ada@example.org, or", None, False),
        ("admins", "Ada <ada@example.org>", "", None, False),
        ("smtp_host", "127.0.0.1:99999", f"must be a port, 0 to 65535. {YES}127.0.0.1", "127.0.0.1", False),
        ("smtp_host", "smtp://127.0.0.1:2525/", f"{YES}127.0.0.1:2525", "127.0.0.1:2525", False),
        ("smtp_host", "no host", "A mail server is a host name", None, False),
        ("smtp_host", "none", "", None, False),
    ],
)  # fmt: skip
def test_a_wrong_answer_is_explained_with_a_suggestion(
    root: Path, name: str, answer: str, problem: str, suggestion: str | None, may_stay: bool
) -> None:
    found = check_answer(a_site(root), name, answer)
    assert bool(found.problem) == bool(problem)
    assert (found.suggestion, found.may_stay) == (suggestion, may_stay)
    assert all(part in found.problem for part in problem.split(".*"))


def test_what_is_right_becomes_settings(root: Path, dead_port: int) -> None:
    site = a_site(root)
    settings = {"smtp_host": "127.0.0.1", "smtp_port": "2525"}
    assert check_answer(site, "smtp_host", "127.0.0.1:2525") == Answer(settings=settings)
    assert check_answer(site, "group", "staging").settings == {"group": "staging"}
    assert check_answer(site, "test_command", "python t.py").settings == {}, "it is set already"
    url = f"http://127.0.0.1:{dead_port}/"
    said = check_answer(site, "health_check", url)
    assert (said.settings, said.may_stay) == ({"health_check": url}, True)
    assert said.problem.startswith(f"The site does not pass: {url} ")
    assert check_schedule(site, "none") == Answer()
    said = check_schedule(site, "corn")
    assert (said.problem, said.suggestion) == (f"corn is not one of cron, systemd, none. {YES}cron?", "cron")


def test_services_of_the_live_site_are_named_without_their_passwords(root: Path) -> None:
    file = root.parent / ".env"
    file.write_text("DATABASE_URL=x\nAPP=redis://hunter2\nRELEASER_SMTP_PORT=1\nSECRET_KEY=hunter2\n", encoding="utf-8")
    (said,) = (line for line in introduce(a_site(root), "test_command") if str(file) in line)
    assert said.startswith(f"{file} sets DATABASE_URL, APP. Tests that read these variables use the same services")


def test_an_answer_without_effect_is_not_written(root: Path) -> None:
    """Django would read an empty `ADMINS_JSON`, too."""
    (edit,) = find_edits(a_site(root), {"admins": "", "branch": "main", "keep": "3"}, into="env")
    assert (edit.path, edit.after) == (root.parent / ".env", "RELEASER_KEEP='3'\n")
    (edit,) = find_edits(a_site(root), {"keep": "3"}, into="pyproject")
    assert edit.path == root / "pyproject.toml"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("keep", "many", "keep must be a whole number"),
        ("test_command", "\udcff", "test_command is not UTF-8 text"),
        ("kep", "1", "kep is not a setting"),
        ("group", "nothing", "has no group `nothing`"),
        ("sendmail", "/x", "sendmail is set in the environment"),
    ],
)
def test_what_cannot_be_written_is_refused(root: Path, name: str, text: str, words: str) -> None:
    with pytest.raises((PreflightError, UsageError), match=words):
        find_edits(a_site(root, RELEASER_SENDMAIL="/usr/sbin/sendmail"), {name: text}, into="env")


def test_a_file_that_another_project_reads_is_not_written(root: Path) -> None:
    for name in (".git", "uv.lock"):
        (root / name).touch()
    (root.parent / "current").symlink_to(root.name)  # which is not another project
    assert find_edits(a_site(root), {"keep": "3"}, into="env")
    shutil.copytree(root, root.parent / "blog")
    for name, text, into in (("keep", "3", "env"), ("mail_from", "a@b.c", "env"), ("smtp_password", "x", "pyproject")):
        with pytest.raises(PreflightError, match=rf"\.env is also read by blog, where .*{name.upper()} would change"):
            find_edits(a_site(root), {name: text}, into=into)
    (edit,) = find_edits(a_site(root), {"admins": "a@example.org"}, into="pyproject")
    assert edit.path == root / "pyproject.toml"
