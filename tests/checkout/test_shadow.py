"""Which files are the code of a project, where no commit says so."""

import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from releaser.checkout import staging
from releaser.checkout.staging import see_aside, stage_aside, staging_tree
from releaser.core.run import new_log
from releaser.core.target import Target
from releaser.errors import BuildError, ToolError
from releaser.site.shadow import list_code
from releaser.site.site import Site, open_site
from releaser.tools.code_files import SMALL
from releaser.tools.git import Git
from tests.e2e.scenes import make_hook

PEOPLE = """\
[core]
\thooksPath = {home}/hooks
\tautocrlf = true
\texcludesFile = {home}/ignored
[commit]
\tgpgSign = true
[init]
\ttemplateDir = {home}/template
\tdefaultBranch = trunk
[filter "shout"]
\tclean = tr a-z A-Z
\tsmudge = tr a-z A-Z
\trequired = true
"""


def site_at(root: Path, **variables: str) -> Site:
    """Return the site, with a state directory, as a run has it."""
    site = open_site(root, {"PATH": os.environ["PATH"], "RELEASER_GIT": "false", **variables})
    site.state_dir.mkdir(parents=True, exist_ok=True)
    return site


def ask(site: Site, *words: str) -> str:
    """Ask git in the repository."""
    done = subprocess.run(["git", "--git-dir", site.project.shadow, *words], check=True, capture_output=True, text=True)
    return done.stdout


def recorded(site: Site) -> set[str]:
    return {*ask(site, "ls-tree", "-r", "--name-only", "HEAD").split()}


def edited(site: Site) -> tuple[str, ...]:
    state = site.git.find_state()
    assert state is not None
    return state.dirty


def code(root: Path) -> list[str]:
    variables = {"RELEASER_STAGING_LINK": "media", "RELEASER_STAGING_OMIT": "a/b", "RELEASER_STATE_DIR": "state"}
    return list_code(open_site(root, variables))


class Raising:
    """A function that always fails so."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, *_: object, **__: object) -> None:
        raise self.error


def write(root: Path, names: str) -> None:
    for name in names.split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name, encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a project with all that may lie in one."""
    root = tmp_path / "site"
    write(root, "app.py a/t.html a/b/x.py a/media/y.py .venv/z.py state/s.py env/pyvenv.cfg env/e.py __pycache__/c.py")
    write(root, "d.bin .env conf/prod.env uv.lock")
    (root / "large.py").write_bytes(b"#" * (SMALL + 1))
    (root / "linked.py").symlink_to("app.py")
    (root / "dangling.py").symlink_to("nowhere.py")
    (root / "directory").symlink_to("a")
    os.mkfifo(root / "pipe.py")
    return root


def test_code_is_small_and_no_data_and_no_secret_and_what_is_wanted_in_any_case(root: Path) -> None:
    assert code(root) == ["a/t.html", "app.py", "directory", "linked.py", "uv.lock"]
    (root / "uv.lock").write_bytes(b"#" * (SMALL + 1))
    assert "uv.lock" in code(root)


def test_symlinks_that_lead_out_are_no_code_as_tests_would_write_through_them(root: Path) -> None:
    before = code(root)
    (root.parent / "uploads").mkdir()
    (root / "above").symlink_to("../uploads")
    (root / "absolute").symlink_to(root / "a")
    (root / "a" / "up.py").symlink_to("../../other.py")
    (root / "a" / "inside.py").symlink_to("../app.py")
    assert {*code(root)} - {*before} == {"a/inside.py"}


def test_what_visitors_bring_is_no_code_and_another_site_is_apart(root: Path) -> None:
    before = code(root)
    wanted = "shop/static/v.py shop/static/templates/a.html"
    data = "staticfiles/page.html uploads/a.yml shop/static/x.html uploads/.env"
    apart = "shop/.releaser/inner/s.py shop/.inner.releaser-staging-live/x.py"
    write(root, f"{wanted} {data} {apart}")
    assert {*code(root)} - {*before} == {*wanted.split()}


def test_what_cannot_be_read_and_what_has_a_name_that_is_not_utf8_is_no_code(root: Path) -> None:
    before = code(root)
    with open(os.path.join(os.fsencode(root), b"caf\xe9.py"), "wb"):
        pass
    (root / "secret.py").touch(mode=0o000)
    (root / "closed").mkdir()
    (root / "closed" / "x.py").touch()
    (root / "closed").chmod(0o000)
    found = code(root)
    (root / "closed").chmod(0o700)
    assert {*found} - {*before} <= ({"secret.py", "closed/x.py"} if os.geteuid() == 0 else set())


@pytest.mark.parametrize("damage", ["all", "index", "HEAD", "objects", "lock"])
def test_one_that_is_lost_or_damaged_is_made_again(root: Path, damage: str) -> None:
    site = site_at(root)
    site.git.record_code()
    shadow = site.project.shadow
    place = {"all": shadow, "lock": shadow / "index.lock"}.get(damage, shadow / damage)
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.write_bytes(b"\0" * 9)
    write(root, "new.py")
    site.git.record_code()
    assert {"app.py", "new.py"} <= recorded(site)


@pytest.mark.parametrize("is_dry", [True, False])
def test_a_staging_tree_that_fails_costs_no_dry_run_the_live_one_and_says_why_it_failed(
    root: Path, monkeypatch: pytest.MonkeyPatch, is_dry: bool
) -> None:
    site, log = site_at(root), new_log("update")
    site.git.record_code()
    head, base = site.git.commit("HEAD"), root.parent / "aside"
    monkeypatch.setattr(Git, "fill_shadow" if is_dry else "add_work_tree", Raising(ToolError("git says no")))
    if not is_dry:
        monkeypatch.setattr(staging, "clear_name", Raising(PermissionError()))

    def stage() -> None:
        if is_dry:
            stage_aside(see_aside(site, base), log, Target(head=head, commit=head))
        else:
            staging_tree(site, log, head).__enter__()

    with pytest.raises(BuildError, match="git says no"):
        stage()
    assert site.git.commit("HEAD") == head


def test_a_staging_tree_is_for_this_user_alone_before_git_writes_there(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a checkout, git makes files readable for all that are for their owner alone in the project."""
    site, modes, add = site_at(root), [], Git.add_work_tree
    site.git.record_code()

    def see_mode(git: Git, place: Path, commit: str) -> None:
        modes.append(stat.S_IMODE(place.stat().st_mode))
        add(git, place, commit)
        modes.append(stat.S_IMODE(place.stat().st_mode))

    monkeypatch.setattr(Git, "add_work_tree", see_mode)
    with staging_tree(site, new_log("update"), site.git.commit("HEAD")):
        pass
    assert modes == [0o700, 0o700]


def test_what_people_and_projects_set_for_git_changes_no_code(root: Path) -> None:
    home = root.parent / "people"
    for place in (home, home / "template"):
        for hook in ("post-checkout", "pre-commit", "reference-transaction", "post-index-change"):
            place.mkdir(exist_ok=True)
            make_hook(place, hook, f"touch {home}/was-run; exit 1")
    (home / "ignored").write_text("*.py\n", encoding="utf-8")
    (home / ".gitconfig").write_text(PEOPLE.format(home=home), encoding="utf-8")
    hooks = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.hooksPath", "GIT_CONFIG_VALUE_0": str(home / "hooks")}
    attributes = "*.py text eol=lf filter=shout\nident.py ident\nignored.py working-tree-encoding=UTF-16\n"
    (root / ".gitattributes").write_text(attributes, encoding="utf-8")
    (root / ".gitignore").write_text("ignored.py\ninner/\n", encoding="utf-8")
    texts = {"crlf.py": "x\r\ny\r\n", "ignored.py": "x = 1\n", "ident.py": "x = '$Id: 1 $'\n", "inner/plugin.py": ""}
    for name, text in texts.items():
        write(root, name)
        (root / name).write_bytes(text.encode())
    subprocess.run(["git", "init", "-q", root / "inner"], check=True)
    site = site_at(root, HOME=str(home), GIT_DIR="/nowhere", **hooks)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(root / "listener.py"))  # the whole path may be too long for a socket
    before = {path: path.lstat().st_mtime_ns for path in (root, *root.rglob("*"))}
    site.git.record_code()
    assert {*texts, "linked.py", "uv.lock"} <= recorded(site)
    assert not {"listener.py", "pipe.py"} & recorded(site)
    with staging_tree(site, new_log("update"), site.git.commit("HEAD")) as there:
        place = there.project.root
        assert {name: (place / name).read_bytes().decode() for name in texts} == texts
        assert not [name for name in (*texts, "linked.py") if (place / name).samefile(root / name)]
        inside = subprocess.run(["git", "-C", place, "rev-parse"], capture_output=True, check=False)
        assert inside.returncode, "the site has no repository, so its tests find none"
    assert {path: path.lstat().st_mtime_ns for path in (root, *root.rglob("*"))} == before
    assert not (home / "was-run").exists()
    assert ask(site, "log", "--format=%an <%ae>").startswith("releaser <releaser@")
    assert ask(site, "remote") == ""


def test_secrets_and_data_stay_out_and_what_is_deleted_goes_and_all_is_private(root: Path) -> None:
    def objects() -> str:
        names = ask(site, "cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)").splitlines()
        return "".join(ask(site, "cat-file", "blob", name.split()[0]) for name in names if name.endswith(" blob"))

    site = site_at(root)
    write(root, "secret/local.py media/photo.py.jpg db.sqlite3")
    site.git.record_code()
    assert stat.S_IMODE(site.project.shadow.stat().st_mode) == 0o700
    assert "secret/local.py" in objects()
    assert not [one for one in (".env", "prod.env", "photo.py", "db.sqlite3", "#" * 99) if one in objects()]
    (root / "secret" / "local.py").unlink()
    site.git.record_code()
    assert "secret/local.py" not in objects()
    assert ask(site, "rev-list", "--count", "HEAD").strip() == "1"


def test_it_knows_no_file_commit_or_branch_of_a_person(root: Path) -> None:
    site = site_at(root)
    write(root, ".gitignore new.py")
    site.git.record_code()
    git, commit, before = site.git, site.git.commit("HEAD"), recorded(site)
    git.exclude(root / "new.py")
    git.forget_shadow(site.project.shadow)
    site.git.record_code()
    assert recorded(site) == before
    assert git.data(commit, "app.py") is None, "so that no edit of it counts as committed"
    assert git.file_at(commit, root / "app.py") == b"app.py"
    assert (git.branch(), git.head(), git.name_of(commit), git.untracked_files()) == (None, "", None, [])
    assert not git.ignores("new.py")
    assert edited(site) == ()
    (root / "new.py").write_text("# edited", encoding="utf-8")
    (root / "app.py").unlink()
    write(root, "other.py")
    assert edited(site) == ("app.py", "linked.py", "new.py", "other.py")
