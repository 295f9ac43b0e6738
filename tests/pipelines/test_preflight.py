"""Everything that is wrong is found in one go; the programs that are asked give made-up answers here."""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from releaser.checkout.checks import own_paths
from releaser.errors import Findings, PreflightError, ToolError
from releaser.pipelines.preflight import Scope, check
from releaser.releases.contents import look_at
from releaser.releases.venv import Interpreter
from releaser.serving.restarts import restart_of
from releaser.site.pythons import find_base
from releaser.site.site import Site, SiteFacts, open_site
from tests.releases.makers import a_manifest, on_paper
from tests.site.fakes import FakeRunner

COMMIT = "1" * 40
CLEAN = f"# branch.oid {COMMIT}\0# branch.head main\0"
AHEAD, BEHIND = (f"{side}\n{COMMIT}\nMe\nMine\0" for side in "<>")
PYPROJECT = """\
[project]
name = "site"
requires-python = ">=3.11"

[dependency-groups]
prod = ["gunicorn"]
"""
LOCK = 'version = 1\n[[package]]\nname = "pytest"\nversion = "9.0"\n'
DOTENV = """ADMINS_JSON='["ada@example.org"]'\nRELEASER_ENVIRONMENT=production\n"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a project that is fit."""
    root = tmp_path.resolve() / "site"
    (root / "config" / "tmp").mkdir(parents=True)
    (root / ".git").mkdir()
    for path, text in (("pyproject.toml", PYPROJECT), ("uv.lock", LOCK), ("manage.py", ""), ("../.env", DOTENV)):
        (root / path).write_text(text, encoding="utf-8")
    return root


def site(root: Path, answers: Mapping[str, str | ToolError] | None = None) -> Site:
    """Read the project; `answers` are those of git's and uv's subcommands."""
    found = open_site(root, {"PATH": str(root.parent / "bin")})
    (root.parent / "bin").mkdir(exist_ok=True)
    for name in ("uv", "git"):
        program = root.parent / "bin" / name
        program.touch()
        program.chmod(0o755)
    usual = {
        "git rev-parse": f"{root}\n{root}/.git\n{root}/.git\n",
        "git status": CLEAN,
        "git config": "remote.origin.url\nfile:///x\0branch.main.remote\norigin\0",
        "git ls-remote": f"{COMMIT}\trefs/heads/main\n",
        "git log": "",
        "git rev-parse --verify": "",
        "git show": "Mine\n",
        "git diff": "code.py\0",
        "git ls-files": "",
        "uv --version": "uv 0.12.3 (abc 2026-11-01)\n",
        "uv python find": sys.executable + "\n",
        "uv python find --show-version": "3.11.7\n",
    }
    runner = FakeRunner(environ=found.runner.environ, answers={**usual, **(answers or {})})
    return dataclasses.replace(found, runner=runner)


def facts(found: Site, *, ask: bool = False) -> SiteFacts:
    return check(found, None, Scope(asks=("remote", "django") if ask else ("django",)))


def problems(found: Site) -> list[str]:
    with pytest.raises(PreflightError) as caught:
        facts(found)
    return [problem.message for problem in caught.value.findings]


def edit(root: Path, name: str, old: str, new: str) -> None:
    path = root / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_project_that_is_fit_has_all_that_the_steps_need(root: Path) -> None:
    asked = site(root)
    found = facts(asked)
    assert isinstance(asked.runner, FakeRunner)
    assert not any("ls-remote" in words for words in asked.runner.asked), "a remote is asked only if it has to be"
    assert found.uv.executable == root.parent / "bin" / "uv"
    assert found.python == find_base(Path(sys.executable))
    assert (found.group, found.test_command) == ("prod", ("python", "manage.py", "test", "--noinput"))
    state = found.checkout.state
    assert (state.branch, state.head, found.checkout.remote) == ("main", COMMIT, "origin")
    assert found.lock.versions == {"pytest": "9.0"}
    assert restart_of(asked).restart_file(asked) == root / "config" / "tmp" / "restart.txt"
    assert found.unix_group == root.stat().st_gid


# One problem each


def pyproject(old: str, new: str) -> dict[str, Any]:
    return {"edits": [("pyproject.toml", old, new)]}


def setting(line: str, **others: Any) -> dict[str, Any]:
    return {"edits": [("../.env", "ADMINS", f"{line}\nADMINS")], **others}


def lock(text: str, **others: Any) -> dict[str, Any]:
    return {"edits": [("uv.lock", LOCK, text)], **others}


def fails(output: str) -> ToolError:
    return ToolError("it failed (exit status 1)", output=output)


OTHER_BRANCH = CLEAN.replace("head main", "head live")
DETACHED = CLEAN.replace("head main", "head (detached)")
VERSION = "uv python find --show-version"
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("requires-python-missing", pyproject('requires-python = ">=3.11"\n', "")),
    ("requires-python-missing", pyproject('">=3.11"', "311")),
    ("requires-python-invalid", pyproject('">=3.11"', '"three"')),
    ("pyproject-no-project", pyproject('[project]\nname = "site"\nrequires-python = ">=3.11"', "")),
    ("group-missing", pyproject('prod = ["gunicorn"]', "")),
    ("pyproject-invalid", pyproject("[project]", "[project")),
    ("pyproject-empty", pyproject(PYPROJECT, "")),
    ("setting-unknown", pyproject('">=3.11"\n', '">=3.11"\n[tool.releaser]\nkep = 1\n')),
    ("setting-invalid", {"edits": [("../.env", '["ada@example.org"]', "ada")]}),
    ("no-recipient", {"edits": [("../.env", DOTENV, "RELEASER_ENVIRONMENT=production\n")]}),
    ("lock-unreadable", lock("<<<<<<< HEAD\n")),
    ("lock-missing", {"gone": "uv.lock"}),
    ("no-tests", lock("version = 1\n", gone="manage.py")),
    ("manage-py-missing", setting("RELEASER_TEST_COMMAND=true\nRELEASER_DJANGO_CHECK=deploy", gone="manage.py")),
    ("manage-py-missing", setting("RELEASER_TEST_COMMAND=true\nRELEASER_COLLECTSTATIC=on", gone="manage.py")),
    ("uv-too-old", {"uv --version": "uv 0.9.30\n"}),
    ("uv-broken", {"uv --version": "pip 26.0\n"}),
    ("uv-broken", {"uv --version": fails("no such library")}),
    ("uv-missing", setting("RELEASER_UV=/no/such/uv")),
    ("uv-settings", {"uv python find": fails("error: Failed to parse: `uv.toml`\n  cause: in line 1")}),
    ("python-too-old", {VERSION: "3.7.16\n"}),
    ("no-python", {"uv python find": "nonsense\n"}),
    ("no-python", {"uv python find": fails("error: none")}),
    ("file-missing", setting("RELEASER_ENVIRONMENT_FILE=../site.env")),
    ("attestations-root-invalid", setting("RELEASER_ATTESTATIONS_ROOT=../none.json")),
    ("passenger-missing", setting("RELEASER_RESTART=passenger")),
    ("restart-file-missing", setting("RELEASER_RESTART_FILE=web/x")),
    ("git-unusable", {"git rev-parse": fails("fatal: not a git repository")}),
    ("git-no-remote", {"git config": ""}),
    ("git-no-remote", setting("RELEASER_GIT_PUSH=false", **{"git config": ""})),
    ("git-other-branch", {"git status": OTHER_BRANCH}),
    ("git-other-branch git-dirty", {"git status": f"{OTHER_BRANCH}? x\0"}),
    ("git-detached", {"git status": DETACHED}),
    ("git-no-commit", {"git status": CLEAN.replace(COMMIT, "(initial)")}),
    ("git-dirty", {"git status": f"{CLEAN}? new.txt\0"}),
    # if the remote is asked
    ("git-no-branch", {"git ls-remote": ""}),
    ("git-diverged", {"git log": AHEAD + BEHIND}),
    ("git-remote-unreachable", {"git ls-remote": fails("fatal: unable to access")}),
    ("git-remote-asks", {"git ls-remote": fails("x: Permission denied (publickey).\nfatal: end")}),
]


@pytest.mark.parametrize(("codes", "wrong"), WRONG)
def test_what_is_wrong_is_found_and_nothing_else(root: Path, codes: str, wrong: dict[str, Any]) -> None:
    for name, old, new in wrong.get("edits", ()):
        edit(root, name, old, new)
    if "gone" in wrong:
        (root / wrong["gone"]).unlink()
    answers = {name: answer for name, answer in wrong.items() if " " in name}
    with pytest.raises(PreflightError) as caught:
        facts(site(root, answers), ask={"git ls-remote", "git log"} & {*answers} != set())
    assert [finding.code for finding in caught.value.findings] == codes.split()
    assert all(finding.advice for finding in caught.value.findings)


@pytest.mark.parametrize("wanted", ["require", "warn", "off"])
def test_attestations_need_what_verifies_them(root: Path, monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    edit(root, "../.env", "ADMINS", f"RELEASER_ATTESTATIONS={wanted}\nRELEASER_ATTESTATIONS_ROOT=../r.json\nADMINS")
    (root.parent / "r.json").write_text("[]", encoding="utf-8")
    if wanted == "off":  # what is not used may be anything
        facts(site(root))
    else:
        assert "r.json cannot be used: its mediaType" in problems(site(root))[0]
    monkeypatch.setitem(sys.modules, "pypi_attestations", None)
    if wanted != "require":
        facts(site(root))
        return
    with pytest.raises(PreflightError, match="the packages that verify them are not installed with releaser") as caught:
        facts(site(root))
    assert f"in {sys.prefix}, run `pip install 'venv-releaser[attestations]'`" in caught.value.findings[0].advice
    check(site(root), None, Scope(asks_others=False))  # a rebuild, which may ask nothing


@pytest.mark.parametrize(
    ("line", "file"),
    [("_FILE=web/restart.txt", "web/restart.txt"), ("=none", None), ("='systemctl restart site'", None)],
)
def test_the_restart_file_is_below_the_checkout_and_there_may_be_none(root: Path, line: str, file: str | None) -> None:
    edit(root, "../.env", "ADMINS", f"RELEASER_RESTART{line}\nADMINS")
    (root / "web").mkdir()
    found = site(root)
    assert restart_of(found).restart_file(found) == (root / file if file else None)


# The checkout


OPERATIONS = {
    "MERGE_HEAD": "a merge",
    "rebase-merge": "a rebase",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "BISECT_LOG": "a bisection",
}


@pytest.mark.parametrize(("name", "words"), OPERATIONS.items())
def test_an_operation_of_git_in_progress_is_the_one_problem(root: Path, name: str, words: str) -> None:
    (root / ".git" / name).touch()
    assert problems(site(root, {"git status": DETACHED})) == [f"{root}: {words} is in progress"]


def test_what_releaser_and_uv_put_there_is_no_dirt(root: Path) -> None:
    edit(root, "pyproject.toml", "[project]", "[tool.uv]\nfind-links = ['wheels']\n\n[project]")
    edit(root, "../.env", "ADMINS", "RELEASER_STATE_DIR=.state\nRELEASER_VENV=env\nADMINS")
    status = CLEAN + "? env\0? .state/ledger.json\0? wheels/alpha-1.0.whl\0"
    assert facts(site(root, {"git status": status})).checkout.state.untracked == (
        "env",
        ".state/ledger.json",
        "wheels/alpha-1.0.whl",
    )
    (message,) = problems(site(root, {"git status": status + "? envy\0? wheels2/x\0"}))
    assert message.endswith("is not clean: envy, wheels2/x")


def test_what_is_still_to_be_committed_is_no_dirt(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = CLEAN + f"1 .M N... 100644 100644 100644 {COMMIT} {COMMIT} uv.lock\0? requirements.txt\0"
    due = {"uv.lock", "requirements.txt"}
    monkeypatch.setattr("releaser.pipelines.preflight.files_due", lambda *_: due)
    facts(site(root, {"git status": status}))
    due.remove("requirements.txt")
    (message,) = problems(site(root, {"git status": status}))
    assert message.endswith("is not clean: requirements.txt")


def test_without_pull_and_push_no_remote_is_needed(root: Path) -> None:
    edit(root, "../.env", "ADMINS", "RELEASER_GIT_PULL=false\nRELEASER_GIT_PUSH=false\nADMINS")
    assert facts(site(root, {"git config": ""})).checkout.remote is None


@pytest.mark.parametrize("answer", [BEHIND, AHEAD, ToolError("git failed", output="fatal: bad object")])
def test_a_remote_that_is_only_ahead_or_behind_or_unknown_is_fit(root: Path, answer: str | ToolError) -> None:
    assert facts(site(root, {"git log": answer}), ask=True).checkout.remote == "origin"


# No git


@pytest.fixture
def plain(root: Path) -> Path:
    """Make a project that is fit and not under git, with a lock that lies below it."""
    (root / ".git").rmdir()
    (root / "locks").mkdir()
    (root / "uv.lock").rename(root / "locks" / "uv.lock")
    (root / "uv.lock").symlink_to(root / "locks" / "uv.lock")
    return root


def test_a_project_without_git_is_fit_and_git_is_not_asked(plain: Path) -> None:
    found = site(plain)
    assert facts(found, ask=True).checkout.remote is None
    assert isinstance(found.runner, FakeRunner)
    assert "git" not in {words[0] for words in found.runner.asked}


def test_what_needs_git_is_named_where_it_is_set(plain: Path) -> None:
    edit(plain, "../.env", "ADMINS", "RELEASER_GIT_PUSH=true\nRELEASER_GIT_PULL=false\nADMINS")
    edit(plain, "pyproject.toml", "[project]", "[tool.releaser]\nbranch = 'live'\n\n[project]")
    assert [one.partition(" needs git")[0] for one in problems(site(plain))] == [
        f"{plain.parent}/.env: RELEASER_GIT_PUSH", f"{plain}/pyproject.toml: tool.releaser.branch",
    ]  # fmt: skip


def test_a_git_that_does_not_work_or_lies_above_is_still_asked(plain: Path) -> None:
    error = ToolError("git failed (exit status 128)", output="fatal: not a git repository")
    for place in (plain, plain.parent):
        (place / ".git").symlink_to("gone")
        assert problems(site(plain, {"git rev-parse": error})) == [f"{plain}: {error.message}: not a git repository"]
        (place / ".git").unlink()


def test_a_lock_outside_and_no_program_are_refused(plain: Path) -> None:
    (plain / "locks" / "uv.lock").rename(plain.parent / "uv.lock")
    (plain / "uv.lock").unlink()
    (plain / "uv.lock").symlink_to("../uv.lock")
    found = site(plain)
    (plain.parent / "bin" / "git").unlink()
    outside, missing = problems(found)
    assert outside == f"{plain}/uv.lock is a symlink to {plain.parent}/uv.lock, which is outside the repository"
    assert missing.startswith("git is not on PATH")


# People, disk, everything


def test_too_little_space_is_among_the_findings(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("releaser.candidate.space.LEAST_BYTES", 10**18)
    with pytest.raises(PreflightError, match="no space for another release"):
        check(site(root), None, Scope(asks=()))


def test_everything_is_said_at_once_and_each_thing_once(root: Path) -> None:
    edit(root, "pyproject.toml", 'requires-python = ">=3.11"\n', "")
    edit(root, "pyproject.toml", 'prod = ["gunicorn"]', "")
    (root / "uv.lock").unlink()
    (root / ".venv").mkdir()
    edit(root, "../.env", "ADMINS", "RELEASER_KEEP=many\nRELEASER_RESTART_FILE=gone/x\nADMINS")
    answers = {"git status": CLEAN + "? new.txt\0", "git config": "", "uv --version": "uv 0.1\n"}
    with pytest.raises(PreflightError) as caught:
        facts(site(root, answers))
    assert sorted(finding.code for finding in caught.value.findings) == [
        "git-dirty", "git-no-remote", "group-missing", "lock-missing", "not-a-venv",
        "requires-python-missing", "restart-file-missing", "setting-invalid", "uv-too-old",
    ]  # fmt: skip


def test_findings_collect_what_fails_and_return_the_rest() -> None:
    def fail() -> None:
        message, output = "git failed", "hint: x\nfatal: the reason\n"
        raise ToolError(message, output=output)

    findings = Findings()
    assert findings.attempt(len, "abc") == 3
    assert findings.attempt(fail) is None
    assert [one.message for one in findings] == ["git failed: the reason"]


def test_what_is_outside_of_the_work_tree_is_not_in_it(root: Path) -> None:
    assert own_paths(site(root), root) == (".venv",)
    assert sorted(own_paths(site(root), root.parent)) == [".releaser/site", "site/.venv"]


@pytest.mark.parametrize(
    ("origin", "sealed", "changed", "version"),
    [
        ("built", "3.11.7", False, "3.11.7"),  # which uv is not asked for
        ("built", "3.11.7", True, "3.11.8"),
        ("built", "3.11.7rc1", False, "3.11.8"),
        ("adopted", "3.11.7", False, "3.11.8"),  # of which nobody has asked uv
    ],
)
def test_the_version_of_a_python_is_that_of_the_live_release_while_it_looks_the_same(
    root: Path, *, origin: str, sealed: str, changed: bool, version: str
) -> None:
    python = str(find_base(Path(sys.executable)))
    seen = {python: "1 1"} if changed else look_at([python])
    was = Interpreter(executable=python, version="3.11.7", implementation="cpython", abi="", build="", seen=seen)
    live = on_paper(root, a_manifest(origin=origin, python=sealed, interpreter=was))
    found = site(root, {VERSION: "3.11.8\n"})
    assert check(found, live, Scope(asks=())).choice.version == version
