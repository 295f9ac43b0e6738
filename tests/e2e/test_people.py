"""The work of people: before, during and after a run it stays theirs, and nothing untested goes live beside it."""

import dataclasses
import shutil
from collections.abc import Callable

import pytest

from tests.e2e.scenes import CODE, during_tests, hook, mostly_slow, refused, says, silent, times_of_tree
from tests.support.commands import require
from tests.support.servers import WAITING_TESTS
from tests.support.sites import SampleSite, SiteFactory

Act = Callable[[SampleSite], object]


def move_the_link(site: SampleSite) -> None:
    site.run("cp", "-a", site.link.resolve(), site.outer / "mine")
    site.link.unlink()
    site.link.symlink_to("../mine")


def install_by_hand(site: SampleSite) -> None:
    """Install another version into the live venv."""
    site.publish("beta", "1.1.0")
    options = ("--quiet", "--no-index", "--find-links", site.index, "--python", site.link / "bin" / "python")
    site.uv("pip", "install", *options, "beta==1.1.0")


def patch(site: SampleSite) -> None:
    """Change a file of an installed package."""
    (module,) = site.link.glob("lib/python*/site-packages/beta/__init__.py")
    text = module.read_text(encoding="utf-8")
    module.unlink()
    module.write_text(f"{text}# mine\n", encoding="utf-8")


def edit(name: str, line: str = "# mine\n") -> Act:
    """Return an act that adds a line to a file of the checkout."""

    def act(site: SampleSite) -> None:
        with (site.path / name).open("a", encoding="utf-8") as file:
            file.write(line)

    return act


#: What a person does during the tests of a candidate; which word names it.
ACTS: dict[str, tuple[Act, str]] = {
    "edits code": (edit("shop.py"), "shop.py"),
    "edits uv.lock": (edit("uv.lock"), "uv.lock"),
    "hides an edit": (
        lambda site: (site.git("update-index", "--skip-worktree", "run_tests.py"), edit("run_tests.py")(site)),
        "run_tests.py",
    ),
    "stages a change": (lambda site: (edit("shop.py")(site), site.git("add", "shop.py")), "shop.py"),
    "commits": (lambda site: site.commit("Mine", {"mine.txt": "mine"}), "HEAD"),
    "switches the branch": (lambda site: site.git("switch", "--quiet", "--create", "mine"), "mine"),
    "edits settings": (edit("pyproject.toml", "\n[tool.releaser]\nkeep = 9\n"), "pyproject.toml"),
    "edits .env": (edit("../.env", "RELEASER_KEEP='9'\n"), ".env"),
    "moves the link": (move_the_link, ".venv"),
    "installs a package": (install_by_hand, "beta 1.1.0"),
    "corrects a package": (patch, "beta/__init__.py"),
}


@pytest.mark.parametrize("name", mostly_slow(ACTS, "edits code", "moves the link", "corrects a package"))
def test_law_03_what_a_person_changes_during_the_tests_stops_the_run_and_stays(
    make_site: SiteFactory, name: str
) -> None:
    site = make_site.live(files={"site_tests.py": WAITING_TESTS}, due="1.1.0")
    site.push_from_elsewhere(CODE)
    act, word = ACTS[name]
    restarted = site.restarted_at()
    with during_tests(site, code=3) as run:
        act(site)
        after = site.snapshot()
    says(run.end(), word)
    assert site.snapshot() == after, "the work of the person has changed"
    assert site.version("alpha") == "1.0.0"
    assert site.restarted_at() == restarted


def file_at(place: str) -> Act:
    """Return an act that writes a file."""
    return lambda site: site.edit(place, "mine")


def link_at(place: str, target: str) -> Act:
    """Return an act that makes a symlink."""
    return lambda site: (site.path / place).symlink_to(target)


#: What lies in the way of `photos/cat.txt` or `cache.ignored`, which a commit adds.
IN_THE_WAY: dict[str, tuple[str, Act]] = {
    "a file": ("photos/cat.txt", file_at("photos/cat.txt")),
    "an ignored file": ("cache.ignored", file_at("cache.ignored")),
    "a file above": ("photos/cat.txt", file_at("photos")),
    "a directory": ("photos/cat.txt", file_at("photos/cat.txt/mine")),
    "an ignored directory": ("cache.ignored", file_at("cache.ignored/mine")),
    "a link above": ("photos/cat.txt", link_at("photos", "../index")),
    "a dangling link": ("cache.ignored", link_at("cache.ignored", "nowhere")),
}


@pytest.mark.parametrize("name", mostly_slow(IN_THE_WAY, "an ignored file", "a link above", "a directory"))
def test_law_13_nothing_untracked_is_overwritten_by_an_update(site: SampleSite, name: str) -> None:
    place, act = IN_THE_WAY[name]
    act(site)
    site.push_from_elsewhere({place: "theirs"})
    says(refused(site, "update"), place.partition("/")[0])
    assert site.test_runs() == [], "the refusal comes before the tests"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_law_13_nothing_untracked_is_overwritten_by_a_rollback(make_site: SiteFactory, kind: str) -> None:
    site = make_site.live(files={"notes.txt": "a note of the first edition\n"})
    site.push_from_elsewhere(CODE, remove="notes.txt")
    site.releaser("update", check=0)
    acts = {"file": file_at("notes.txt"), "directory": file_at("notes.txt/mine"), "link": link_at("notes.txt", ".env")}
    acts[kind](site)
    restarted = site.restarted_at()
    says(refused(site, "rollback"), "notes.txt")
    assert site.restarted_at() == restarted


@pytest.mark.slow
def test_law_13_a_deleted_directory_keeps_what_is_untracked_in_it(make_site: SiteFactory) -> None:
    site = make_site.live(files={"photos/cat.txt": "a cat\n"})
    site.edit("photos/upload.txt", "from a visitor")
    site.edit("photos/thumb.ignored", "small")
    site.push_from_elsewhere({}, remove="photos/cat.txt")
    site.releaser("update", check=0)
    assert sorted(path.name for path in (site.path / "photos").iterdir()) == ["thumb.ignored", "upload.txt"]
    site.releaser("rollback", check=0)
    assert len(list((site.path / "photos").iterdir())) == 3


@pytest.mark.slow
def test_law_14_other_work_is_no_reason_and_stays(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0")
    site.git("branch", "idea")
    edit("shop.py")(site)
    site.git("stash")
    site.edit("untracked.txt", "mine")
    refuse = hook(site.path / ".git", "pre-commit")
    refs = site.git("for-each-ref", "refs/heads/idea", "refs/stash")
    site.push_from_elsewhere(CODE)
    site.releaser("update", check=0)
    site.releaser("rollback", check=0)
    assert site.git("for-each-ref", "refs/heads/idea", "refs/stash") == refs
    assert site.git("stash", "show", "--name-only") == "shop.py"
    assert site.status() == "?? untracked.txt"
    assert "exit 1" in refuse.read_text(encoding="utf-8")


@pytest.mark.slow
def test_law_14_a_rollback_of_packages_alone_refuses_only_for_a_changed_lock(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0", "1.2.0")
    edit("shop.py")(site)
    edited = (site.path / "shop.py").read_text(encoding="utf-8")
    site.releaser("rollback", check=0)
    site.releaser("rollback", "--keep-code", check=0)
    assert (site.version("alpha"), site.status()) == ("1.0.0", "M shop.py")
    assert (site.path / "shop.py").read_text(encoding="utf-8") == edited
    site.publish("beta", "1.1.0")
    site.git("checkout", "--quiet", "shop.py")
    site.releaser("update", check=0)
    edit("uv.lock")(site)
    says(refused(site, "rollback", "--keep-code"), "uv.lock")


@pytest.mark.slow
def test_law_14_a_rollback_with_code_refuses_a_changed_file_by_name(site: SampleSite) -> None:
    site.push_from_elsewhere(CODE)
    site.releaser("update", check=0)
    edit("run_tests.py")(site)
    says(refused(site, "rollback"), "run_tests.py")


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--skip-worktree", "--assume-unchanged"])
def test_law_03_14_a_change_that_git_was_told_to_skip_is_refused_by_name(site: SampleSite, flag: str) -> None:
    site.git("update-index", flag, "shop.py")
    site.releaser("check", check=0)
    edit("shop.py")(site)
    assert site.status() == "", "git does not show it"
    says(refused(site, "update"), "`shop.py`", "update-index")
    for each in ("--no-skip-worktree", "--no-assume-unchanged"):
        site.git("update-index", each, "shop.py")
    site.git("checkout", "--quiet", "shop.py")
    site.releaser("check", check=0)
    site.git("update-index", flag, "uv.lock")  # git would commit nothing of it
    says(refused(site, "update"), "git was told to skip `uv.lock`", "--no-skip-worktree uv.lock")


@pytest.mark.slow
def test_law_03_33_what_git_calls_unchanged_is_none_of_the_hidden_changes(make_site: SiteFactory) -> None:
    """Line ends of a commit under `core.autocrlf`, and marks by `core.ignoreStat`; but a link in a file's place is."""
    site = make_site.live(files={"notes.txt": "one\r\n"})
    site.git("config", "core.autocrlf", "input")
    site.git("config", "core.ignoreStat", "true")
    site.git("update-index", "--assume-unchanged", "notes.txt")
    for version in ("1.1.0", "1.2.0"):
        site.update_to(version)
    (site.path / "notes.txt").unlink()
    says(refused(site, "update"), "`notes.txt`")
    (site.path / "notes.txt").symlink_to("../mine.txt")
    (site.outer / "mine.txt").write_bytes(b"one\r\n")
    says(refused(site, "check"), "`notes.txt`")


@pytest.mark.slow
def test_law_13_37_a_rollback_over_a_change_that_git_does_not_show_is_refused_by_name(make_site: SiteFactory) -> None:
    site = make_site.live()
    site.push_from_elsewhere(CODE)
    site.releaser("update", check=0)
    site.git("update-index", "--skip-worktree", "shop.py")
    edit("shop.py")(site)
    for command in ("rollback --dry-run", "rollback"):
        says(refused(site, command), "`shop.py`", "update-index")


def replaced_by_a_directory(site: SampleSite) -> None:
    venv = site.link.resolve()
    site.link.unlink()
    shutil.copytree(venv, site.link, symlinks=True)


REPLACEMENTS = {"another link": move_the_link, "a directory": replaced_by_a_directory}


@pytest.mark.parametrize("name", mostly_slow(REPLACEMENTS, "another link"))
def test_law_19_a_replaced_venv_is_reported_and_never_overruled(make_site: SiteFactory, name: str) -> None:
    site = make_site.live("1.1.0", due="1.2.0")
    second, first = site.states()
    REPLACEMENTS[name](site)
    for command, code in (("update", 3), ("rollback", 9)):
        says(refused(site, command, code=code), ".venv", "releaser init", f"releaser rollback {second}")
    shown = " ".join(site.releaser("status", check=10).stdout.split())
    assert shown.count(f"`{site.link}` ") == 2, "in the last run, and in what needs attention"
    mine = site.snapshot()["(link)"]
    assert site.releaser("prune").returncode in {0, 3}
    assert site.snapshot()["(link)"] == mine
    assert {first, second} <= {*site.releases()}

    site.releaser("rollback", second, check=0)  # makes the release live again
    assert (site.live(), site.version("alpha")) == (second, "1.1.0")
    silent(site.releaser("rollback", "live", "-q"))


@pytest.mark.slow
def test_law_19_init_adopts_a_directory_in_the_place_of_the_link(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0")
    earlier = site.releases()
    replaced_by_a_directory(site)
    inode = site.link.stat().st_ino
    site.releaser("init", check=0)
    assert (site.link.is_symlink(), site.link.stat().st_ino) == (True, inode)
    assert site.live() not in earlier
    site.update_to("1.2.0")


def test_law_19_an_edited_live_venv_is_named(make_site: SiteFactory) -> None:
    """A person has installed another version by hand."""
    site = make_site.live("1.1.0")
    wheel = site.index / "alpha-1.0.0-py3-none-any.whl"
    for file in (*site.link.resolve().rglob("*"), site.link.resolve()):
        if not file.is_symlink():
            file.chmod(file.stat().st_mode | 0o200)
    site.uv("pip", "install", "--quiet", "--no-deps", "--python", site.link / "bin" / "python", wheel)
    finished = site.releaser("status", check=10)
    assert "alpha" in finished.stdout + finished.stderr


@pytest.mark.slow
def test_a_missing_link_is_repaired_by_the_next_command(make_site: SiteFactory) -> None:
    site = make_site.live("1.1.0")
    live = site.live()
    site.link.unlink()
    finished = site.releaser("status", check=10)
    assert ".venv" in finished.stdout + finished.stderr
    says(site.releaser("update", "--dry-run", check=0), f"leads to {live} again")
    assert not site.link.is_symlink()
    site.releaser("update", check=7)
    assert site.live() == live


@pytest.mark.slow
def test_law_31_another_user_makes_nothing(user_site: SampleSite) -> None:
    """Root runs each command, then a stranger, who may read `.env` but not the state."""
    require(owner := user_site.user, "only root can be another user")
    assert owner
    site, before = user_site, times_of_tree(user_site.base)
    for user in (None, dataclasses.replace(owner, user=owner.user + 1)):
        site.user = user
        for command in ("update", "update --dry-run", "init", "check", "status", "list", "logs", "prune", "hold alpha"):
            says(site.releaser(command, check=3), f"user {owner.user}", f"sudo -u '#{owner.user}'")
    assert times_of_tree(site.base) == before


@pytest.mark.slow
def test_law_28_37_what_a_git_of_root_has_left_is_named_before_it_is_met(user_site: SampleSite) -> None:
    """Objects go into one of 256 directories by their hash: without a look at all, some night fails."""
    require(user_site.user, "root may write everywhere")
    place = next((user_site.path / ".git" / "objects").glob("[0-9a-f][0-9a-f]"))
    shutil.chown(place, "root")
    for command in ("check", "update", "update --dry-run"):
        says(user_site.releaser(*command.split(), check=3), place, "sudo chown -R")
    assert "sudo chown -R" in " ".join(user_site.releaser("status", check=10).stdout.split())


@pytest.mark.slow
def test_law_14_what_is_staged_during_a_change_stays_when_it_goes_back(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0", files={"notes.txt": "one\n"})
    site.write_dotenv({"RELEASER_RESTART": "sh -c 'echo two >> notes.txt; git add notes.txt; exit 4'"})
    site.releaser("update", check=6)
    assert site.git("diff", "--cached", "--name-only") == "notes.txt"


@pytest.mark.slow
def test_law_15_nothing_is_committed_on_a_branch_that_a_person_switches_to(make_site: SiteFactory) -> None:
    site = make_site.live(due="1.1.0", dotenv={"RELEASER_RESTART": "git switch --quiet -c fix"})
    head, remote = site.head(), site.remote_head()
    says(site.releaser("update", check=7), "not on `main`")
    assert (site.version("alpha"), site.head(), site.remote_head()) == ("1.1.0", head, remote)
