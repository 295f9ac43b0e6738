"""Everything before the flip happens in a staging tree: the checkout that visitors see does not change meanwhile."""

import os
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from releaser.checkout.shadow import record_code
from releaser.checkout.staging import staging_tree
from releaser.listener import Silence
from releaser.report import RunLog
from releaser.site.site import open_site
from tests.e2e.scenes import body, steps
from tests.support.commands import console_script, run
from tests.support.sites import SampleSite, SiteFactory


def _seen_during(site: SampleSite, act: Callable[[], object]) -> set[tuple[str, str, str]]:
    """Return every state that the checkout had while something happened: HEAD, status, the code of the site."""
    seen: set[tuple[str, str, str]] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            status = site.git("--no-optional-locks", "status", "--porcelain", "--untracked-files=all")
            try:
                code = (site.path / "site_settings.py").read_text(encoding="utf-8")
            except FileNotFoundError:  # git takes a file away before it writes it again
                code = ""
            seen.add((site.head(), status, code))

    looker = threading.Thread(target=look)
    looker.start()
    try:
        act()
    finally:
        done.set()
        looker.join()
    return seen


@pytest.mark.story
def test_an_accepted_update_moves_the_checkout_once_and_names_the_commit(make_site: SiteFactory) -> None:
    """The staging tree that a killed run has left is in nobody's way."""
    site = make_site.adopted()
    tree = site.outer / f".{site.path.name}.releaser-staging"
    site.git("worktree", "add", "--quiet", "--detach", str(tree), "HEAD")
    (tree / "stray").mkdir(mode=0o500)
    before = site.head()
    settings = (site.path / "site_settings.py").read_text(encoding="utf-8")
    changed = {"site_settings.py": settings + "# tested\n"}
    theirs = site.push_from_elsewhere(changed, message="Write the notes")
    seen = _seen_during(site, lambda: site.releaser("update", check=0))
    assert {head for head, _, _ in seen} <= {before, theirs}
    assert site.head() == theirs
    report = site.json("history")[0]
    names = steps(report)
    assert names.index("test") < names.index("move checkout") < names.index("flip") < names.index("restart")
    assert not tree.exists()
    assert "staging" not in site.git("worktree", "list")
    assert (report["commit"], report["subject"]) == (theirs, "Write the notes")
    assert report["commits"] == [{"id": theirs, "subject": "Write the notes", "author": "Edsger"}]
    assert report["pulled"]["old"] == before
    shown = site.json("show", report["release"])
    assert (shown["commit"], shown["subject"]) == (theirs, "Write the notes")
    assert f"{theirs[:7]} Write the notes" in site.releaser("list", check=0).stdout
    assert f"{theirs[:12]} Write the notes (Edsger)" in body(site)


# Looks for what lies beside the code untracked, and litters.
_LOOKING = """\
import pathlib
root = pathlib.Path.cwd()
assert (root / "local.ini").read_text() == "secret"
assert not (root / "local.ini").is_symlink()
assert (root / "media").is_symlink()
assert (root / "big.bin").is_symlink()
assert not (root / ".pytest_cache").exists()
assert (root / "fixtures").is_dir() and not (root / "fixtures").is_symlink()
assert not (root / "dump.sql").exists()
assert (root / "data" / "key.txt").read_text() == "secret"
assert (root / "server.pid").is_symlink()
(root / "local.ini").write_text("spoilt")
(root / "litter.txt").write_text("")
(root / "seen.txt").unlink()
"""


def test_untracked_files_are_there_for_the_tests_and_what_these_leave_is_gone(make_site: SiteFactory) -> None:
    """Small ones are copies, so that no test changes them; what is large, or cannot be read, is a link.

    So are directories, but for those that the commit adds; caches stay away.
    """
    site = make_site.adopted(
        files={"run_tests.py": _LOOKING, "config/.gitignore": "", "seen.txt": "tracked"},
        settings={"staging_copy": ["fixtures"], "staging_omit": ["*.sql"]},
    )
    exclude = site.path / ".git" / "info" / "exclude"
    ignored = "local.ini\nmedia\nbig.bin\n.pytest_cache\nfixtures\ndump.sql\n/data/\nserver.pid\n"
    exclude.write_text(exclude.read_text(encoding="utf-8") + ignored, encoding="utf-8")
    for name in ("media/file", ".pytest_cache/file", "fixtures/file", "local.ini", "data/key.txt", "server.pid"):
        site.edit(name, "secret")
    (site.path / "dump.sql").touch()
    (site.path / "big.bin").write_bytes(b"x" * (1024 * 1024 + 1))
    (site.path / "server.pid").chmod(0)  # as a pid file of root's
    site.push_from_elsewhere({"data/.gitkeep": ""})
    # Without these capabilities, root is refused as well.
    without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    words: list[str | Path] = [*without, console_script(), "update", "--project", site.path]
    run(words, cwd=site.outer, env=site.environment(), check=0)
    assert (site.path / "local.ini").read_text(encoding="utf-8") == "secret"
    assert (site.path / "data" / ".gitkeep").exists()
    shown = site.json("show", site.live_id())
    assert {"fixtures", "local.ini"} <= set(shown["staging_copied"])
    assert {"big.bin", "media", "server.pid"} <= set(shown["staging_linked"])
    assert "local.ini (copied)" in site.releaser("show", site.live_id(), check=0).stdout
    assert not (site.path / "litter.txt").exists()
    assert (site.path / "seen.txt").exists()
    assert not list(site.outer.glob(".*staging*"))


def test_submodules_of_submodules_move_as_well(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    deep, library = _library(site, "deep"), _library(site)
    allow = ("-c", "protocol.file.allow=always")
    _run_git(site, library, *allow, "submodule", "add", "--quiet", str(deep), "deep")
    _run_git(site, library, "commit", "--quiet", "--message", "Use the deep one")
    site.git(*allow, "submodule", "add", "--quiet", str(library), "vendored")
    site.git(*allow, "submodule", "update", "--quiet", "--init", "--recursive")
    site.push_commit("Use the library", {})
    site.releaser("init", check=0)
    (deep / "code.txt").write_text("new", encoding="utf-8")
    _run_git(site, deep, "commit", "--quiet", "--all", "--message", "New")
    _run_git(site, library / "deep", *allow, "pull", "--quiet")
    _run_git(site, library, "commit", "--quiet", "--all", "--message", "Take the new deep one")
    _bump_submodule(site, library)
    site.push_from_elsewhere({"run_tests.py": "assert open('vendored/deep/code.txt').read() == 'new'\n"})
    env = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.file.allow", "GIT_CONFIG_VALUE_0": "always"}
    site.releaser("update", check=0, env=env)
    assert (site.path / "vendored" / "deep" / "code.txt").read_text(encoding="utf-8") == "new"
    assert site.git("status", "--porcelain") == ""
    site.releaser("rollback", check=0, env=env)
    assert (site.path / "vendored" / "deep" / "code.txt").read_text(encoding="utf-8") == "old"
    assert site.git("status", "--porcelain") == ""


def test_a_new_submodule_comes_in_as_the_advice_says_and_what_uses_it_is_tested(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    library, before = _library(site), site.head()
    site.push_from_elsewhere({"notes.txt": "a library"})
    clone = next(site.outer.parent.glob("elsewhere/*/site"))
    allow = ("-c", "protocol.file.allow=always")
    _run_git(site, clone, *allow, "submodule", "add", "--quiet", str(library), "vendored")
    _run_git(site, clone, "commit", "--quiet", "--message", "Add the library")
    _run_git(site, clone, "push", "--quiet")
    commit = _run_git(site, clone, "rev-parse", "HEAD")
    site.push_from_elsewhere({"run_tests.py": "assert open('vendored/code.txt').read() == 'old'\n"})
    report = site.json("update", check=4)
    assert "adds the submodule vendored" in report["headline"]
    assert site.head() == before
    for command in re.findall("`(git .+?)`", report["advice"]):
        site.git(*allow, *command.replace("COMMIT", commit).split()[1:])
    site.releaser("update", check=0)
    assert (site.head(), site.git("status", "--porcelain")) == (site.remote_head(), "")


def _library(site: SampleSite, name: str = "library") -> Path:
    library = site.outer / name
    library.mkdir()
    _run_git(site, library, "init", "--quiet", "--initial-branch", "main")
    for key, value in (("user.name", "Ada"), ("user.email", "ada@example.org")):
        _run_git(site, library, "config", key, value)
    (library / "code.txt").write_text("old", encoding="utf-8")
    _run_git(site, library, "add", ".")
    _run_git(site, library, "commit", "--quiet", "--message", "Begin")
    return library


def _bump_submodule(site: SampleSite, library: Path, *options: str) -> None:
    """Commit and push, from elsewhere, that the submodule is at the newest commit of the library."""
    site.push_from_elsewhere({"notes.txt": "a new library"})
    clone = next(site.outer.parent.glob("elsewhere/*/site"))
    newest = _run_git(site, library, "rev-parse", "HEAD")
    _run_git(site, clone, "update-index", *options, "--cacheinfo", f"160000,{newest},vendored")
    _run_git(site, clone, "commit", "--quiet", "--message", "Take the new library")
    _run_git(site, clone, "push", "--quiet")


def _run_git(site: SampleSite, directory: Path, *words: str) -> str:
    from tests.support.commands import git_executable

    return run([git_executable(), *words], cwd=directory, env=site.env, check=0).stdout.strip()


@pytest.mark.parametrize("is_absolute", [True, False])
def test_what_is_written_in_the_tree_never_goes_through_a_symlink_to_the_live_file(
    tmp_path: Path, is_absolute: bool
) -> None:
    root, shared = tmp_path.resolve() / "site", tmp_path.resolve() / "shared"
    root.mkdir()
    shared.mkdir()
    names = {"pyproject.toml": '[project]\nname = "a"\n', "uv.lock": "version = 1\n", "uv.toml": "offline = true\n"}
    for name, text in names.items():
        (shared / name).write_text(text, encoding="utf-8")
        (root / name).symlink_to(shared / name if is_absolute else os.path.relpath(shared / name, root))
    site = open_site(root, {"PATH": os.environ["PATH"], "RELEASER_GIT": "false"})
    site.state_dir.mkdir(parents=True)
    log = RunLog(Silence(), command="update", run_id="20260101T000000Z", started_at=datetime.now(UTC))
    record_code(site)
    with staging_tree(site, log, site.git.commit("HEAD")) as there:
        for name, text in names.items():
            assert (there.project.root / name).read_text(encoding="utf-8") == text
            (there.project.root / name).write_text("other", encoding="utf-8")
    assert {name: (root / name).read_text(encoding="utf-8") for name in names} == names
