"""Until a build, a staging tree has only the files with which uv resolves, if it certainly reads no others."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from releaser.checkout.lock_files import files_to_lock
from releaser.checkout.staging import complete_tree, staging_tree
from tests.checkout.project import Project
from tests.support.commands import uv_executable
from tests.support.logs import a_log

STATIC = '[project]\nname = "shop"\nversion = "1"\ndependencies = ["django>=5"]\n'
FILES = {
    "pyproject.toml": STATIC, "uv.lock": "version = 1\n", "shop/models.py": "old", "libs/tea/pyproject.toml": "",
    ".gitignore": "*.ini\n", "README.md": "",
}  # fmt: skip
UV = "[tool.uv]\n"
NO_DEPENDENCIES = '[project]\nname = "shop"\nversion = "1"\n'


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"pyproject.toml": f'{STATIC}readme = "README.md"\n[build-system]\nrequires = ["hatchling"]\n'},
        {"pyproject.toml": f'{STATIC}[[tool.uv.index]]\nname = "own"\nurl = "https://example.org/shop"\n'},
        {"pyproject.toml": f'{STATIC}{UV}find-links = ["../wheels"]\n'},
        {"uv.toml": "offline = true\n", ".python-version": "3.13\n"},
        {"uv.lock": 'version = 1\n[[package]]\nname = "shop"\nsource = { virtual = "." }\n'},
        {"pyproject.toml": f"{STATIC}[tool.poetry]\npackages = []\n"},
    ],
)
def test_a_static_project_needs_only_the_files_of_uv(tmp_path: Path, more: dict[str, str]) -> None:
    project = Project(tmp_path, {**FILES, **more})
    found = files_to_lock(project.site(), project.first)
    wanted = {name: text.encode() for name, text in {**FILES, **more}.items() if "/" not in name}
    assert found == {name: data for name, data in wanted.items() if name not in (".gitignore", "README.md")}


@pytest.mark.parametrize(
    "more",
    [
        {"pyproject.toml": '[project]\nname = "shop"\ndynamic = ["version"]\n'},
        {"pyproject.toml": f'{STATIC}dynamic = ["readme"]\n'},
        {"pyproject.toml": f'{STATIC}{UV}dev-dependencies = ["tea @ file:libs/tea", "tea@libs/tea"]\n'},
        {"pyproject.toml": f'{STATIC}[tool.uv.sources]\ntea = {{ path = "libs/tea", editable = true }}\n'},
        {"pyproject.toml": f'{STATIC}[tool.uv.workspace]\nmembers = ["libs/*"]\n'},
        {"pyproject.toml": f'{STATIC}{UV}find-links = ["not/there/yet"]\n'},
        {"pyproject.toml": f'{STATIC}[build-system]\nrequires = []\nbackend-path = ["libs"]\n'},
        {"pyproject.toml": f'{STATIC}[tool.releaser]\nconstraints = "limits.txt"\n', "limits.txt": ""},
        {"uv.toml": 'find-links = ["libs"]\n'},
        {"uv.toml": 'find-links = ["l\\u0069bs"]\n'},
        {"pyproject.toml": f'{STATIC}{UV}dev-dependencies = ["tea @ file:${{PROJECT_ROOT}}/libs/tea"]\n'},
        {"pyproject.toml": f'{STATIC}[dependency-groups]\nx = ["tea @ ./my%20libs"]\n', "my libs/setup.py": ""},
        {"uv.lock": 'version = 1\n[[package]]\nname = "tea"\nsource = { directory = "libs/tea" }\n'},
        {"pyproject.toml": STATIC.replace("django>=5", "tea @ file:libs/tea")},
        {"pyproject.toml": STATIC.replace("django>=5", "tea @ libs/#subdirectory=tea")},
        {"pyproject.toml": f'{STATIC}{UV}find-links = ["."]\n'},  # wheels at the top
        {"pyproject.toml": f'{STATIC}{UV}find-links = ["..libs"]\n', "..libs/a": ""},
        {"pyproject.toml": f'{NO_DEPENDENCIES}[tool.poetry.dependencies]\ndjango = "*"\n'},
        {"uv.toml": 'find-links = ["./"]\n'},
        {"uv.toml": 'find-links = ["libs@1"]\n', "libs@1/a": ""},
        {"uv.toml": 'find-links = ["""\nlibs"""]\n'},
    ],
)
def test_a_project_of_which_uv_reads_more_is_checked_out_at_once(tmp_path: Path, more: dict[str, str]) -> None:
    project = Project(tmp_path, {**FILES, **more})
    assert files_to_lock(project.site(), project.first) is None


def _link_settings(project: Project) -> str:
    (project.path / "uv.toml").symlink_to("README.md")
    return project.commit({})


def _edit_settings(project: Project) -> str:
    commit = project.commit({"uv.toml": "offline = true\n"})
    (project.path / "uv.toml").write_text("offline = false\n", encoding="utf-8")
    return commit


def _delete_settings(project: Project) -> str:
    commit = project.commit({".python-version": "3.13\n"})
    (project.path / ".python-version").unlink()
    return commit


def _leave_settings_untracked(project: Project) -> str:
    (project.path / "uv.toml").write_text("offline = true\n", encoding="utf-8")
    return project.first


def _leave_out_code(project: Project) -> str:
    project.call("sparse-checkout", "set", "libs")
    return project.first


def _add_submodule(project: Project) -> str:
    project.call("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../remote.git", "vendored")
    return project.commit({})


def _forget_lock(project: Project) -> str:
    project.call("rm", "--quiet", "--cached", "uv.lock")
    (project.path / ".git" / "info" / "exclude").write_text("uv.lock\n", encoding="utf-8")
    return project.commit({})


@pytest.mark.parametrize(
    "change",
    [
        _link_settings,
        _edit_settings,
        _delete_settings,
        _leave_settings_untracked,
        _leave_out_code,
        _add_submodule,
        _forget_lock,
    ],
)
def test_an_unusual_checkout_is_staged_whole(tmp_path: Path, change: Callable[[Project], str]) -> None:
    project = Project(tmp_path, FILES)
    commit = change(project)
    assert files_to_lock(project.site(), commit) is None


def test_a_script_in_place_of_uv_may_read_any_file(tmp_path: Path) -> None:
    project, script = Project(tmp_path, FILES), tmp_path / "programs" / "uv"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\ncat .tool-versions\n", encoding="utf-8")
    script.chmod(0o755)
    assert files_to_lock(project.site(RELEASER_UV=str(uv_executable())), project.first) is not None
    assert files_to_lock(project.site(RELEASER_UV=str(script)), project.first) is None


def test_uv_itself_may_be_a_file_of_the_commit(tmp_path: Path) -> None:
    project = Project(tmp_path, FILES)
    (project.path / "bin").mkdir()
    shutil.copyfile("/bin/true", project.path / "bin" / "uv")  # another program, as it is not started
    commit = project.commit({})
    assert files_to_lock(project.site(RELEASER_UV="bin/uv"), commit) is None


def test_python_paths_and_settings_of_the_user_may_lead_inside(tmp_path: Path) -> None:
    project = Project(tmp_path, FILES)
    assert files_to_lock(project.site(PYTHONPATH="/opt/lib"), project.first) is not None
    assert files_to_lock(project.site(SSL_CERT_FILE="certificates/all.pem"), project.first) is None
    for inside in (f"{project.path}/libs", "/opt/lib:libs"):
        assert files_to_lock(project.site(PYTHONPATH=inside), project.first) is None
    for name, value in {"UV_FIND_LINKS": "/opt,libs", "UV_INDEX": "own=./libs", "SSL_CLIENT_CERT": "own.pem"}.items():
        assert files_to_lock(project.site(**{name: value}), project.first) is None
    assert files_to_lock(project.site(UV_CACHE_DIR=f"{project.path}/libs"), project.first) is not None  # as everywhere
    settings = tmp_path / "config" / "uv" / "uv.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text('find-links = ["libs"]\n', encoding="utf-8")
    assert files_to_lock(project.site(XDG_CONFIG_HOME=str(tmp_path / "config")), project.first) is None
    assert files_to_lock(project.site(UV_CONFIG_FILE=str(settings)), project.first) is None


def test_the_tree_is_a_work_tree_all_the_time_and_gets_the_other_files_for_a_build(tmp_path: Path) -> None:
    project = Project(tmp_path, FILES)
    (project.path / "local.ini").write_text("own", encoding="utf-8")
    (project.path.parent / ".env").write_text("RELEASER_ENVIRONMENT_FILE=../variables\n", encoding="utf-8")
    names = ("shop", "libs", "local.ini", "gone")
    lines = (f"{name.upper().replace('.', '_')}={project.path}/{name}\n" for name in names)
    (project.path.parent / "variables").write_text("".join(lines), encoding="utf-8")
    site, log = project.site(), a_log()
    before = project.call("for-each-ref") + project.call("config", "--list")
    with staging_tree(site, log, project.first, whole=False) as staged:
        root = staged.project.root
        assert sorted(path.name for path in root.iterdir()) == [".git", "pyproject.toml", "uv.lock"]
        assert staged.git.layout.git_directory.parent == project.path / ".git" / "worktrees"
        assert staged.git.state().head == staged.git.commit("HEAD") == project.first
        assert str(root) in project.call("worktree", "list")
        variables = staged.runner.site_variables
        assert variables["SHOP"] == f"{root}/shop"  # although it is not there yet
        assert (variables["LIBS"], variables["GONE"]) == (f"{root}/libs", f"{project.path}/gone")
        assert variables["LOCAL_INI"] == f"{project.path}/local.ini"
        (root / "uv.lock").write_text("version = 2\n", encoding="utf-8")
        complete_tree(staged, log)
        assert (root / "uv.lock").read_text(encoding="utf-8") == "version = 2\n"
        assert (root / "shop" / "models.py").read_text(encoding="utf-8") == "old"
        assert (root / "local.ini").read_text(encoding="utf-8") == "own"
        assert staged.git.state().dirty == ("uv.lock",)
        assert staged.git.layout.git_directory.parent == project.path / ".git" / "worktrees"
    assert not root.exists()
    assert "staging" not in project.call("worktree", "list")
    assert project.call("for-each-ref") + project.call("config", "--list") == before
    assert project.call("fsck") == ""


def test_variables_lead_into_the_tree_through_symlinks_of_the_commit(tmp_path: Path) -> None:
    project = Project(tmp_path, FILES)
    for link, target in {"code": "shop", "mine": "data"}.items():
        (project.path / link).symlink_to(target)
    commit = project.commit({})
    (project.path / "data" / "sub").mkdir(parents=True)  # untracked, and so not in the tree
    (project.path.parent / ".env").write_text("RELEASER_ENVIRONMENT_FILE=../variables\n", encoding="utf-8")
    paths = [f"{project.path}/{name}" for name in ("code/models.py", "code", "mine/sub", "code/gone")]
    (project.path.parent / "variables").write_text(f"PYTHONPATH={':'.join(paths)}\n", encoding="utf-8")
    with staging_tree(project.site(), a_log(), commit, whole=False) as staged:
        root = staged.project.root
        assert not (root / "code").is_symlink()
        found = staged.runner.site_variables["PYTHONPATH"].split(":")
        assert found == [f"{root}/code/models.py", f"{root}/code", *paths[2:]]


def test_the_record_of_a_work_tree_survives_a_prune_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, place = Project(tmp_path, FILES), tmp_path / "tree"
    place.mkdir()
    write = Path.write_text

    def write_and_prune(path: Path, *words: Any, **options: Any) -> int:
        project.call("worktree", "prune", "--expire=now")
        return write(path, *words, **options)

    git = project.site().git
    monkeypatch.setattr(Path, "write_text", write_and_prune)
    assert git.add_empty_work_tree(place, project.first)
    project.call("worktree", "prune", "--expire=now")
    assert git.has_work_tree(place)
    assert "locked" not in project.call("worktree", "list", "--porcelain")


def test_a_full_disk_leaves_no_record_of_a_work_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, place = Project(tmp_path, FILES), tmp_path / "tree"
    place.mkdir()
    write = Path.write_text

    def write_half(path: Path, text: str, **options: Any) -> int:
        write(path, text[: len(text) // 2], **options)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    git = project.site().git
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", write_half)
        with pytest.raises(OSError, match="No space left"):
            git.add_empty_work_tree(place, project.first)
    assert list((project.path / ".git" / "worktrees").iterdir()) == []


@pytest.mark.parametrize("name", ["my site", "a:b", "a..b", "[a]", "ends."])
def test_git_names_the_record_of_a_work_tree_with_an_unusual_name(tmp_path: Path, name: str) -> None:
    """`git fsck` fails if the name of a record cannot be a part of a reference."""
    project, place = Project(tmp_path, FILES), tmp_path / name
    place.mkdir()
    git = project.site().git
    assert not git.add_empty_work_tree(place, project.first)
    git.add_work_tree(place, project.first)
    assert project.call("fsck") == ""


@pytest.mark.parametrize("why", ["name taken", "settings of work trees", "reftable"])
def test_only_git_makes_the_work_tree_of_an_unusual_repository(tmp_path: Path, why: str) -> None:
    project = Project(tmp_path, FILES)
    git = project.site().git
    if why == "name taken":
        project.call("worktree", "add", "--quiet", "--detach", "../elsewhere-too/.site.releaser-staging")
        (project.path.parent / "elsewhere-too" / ".site.releaser-staging" / "own").touch()
    elif why == "reftable":  # as git 2.45 and newer leave that place
        heads = project.path / ".git" / "refs" / "heads"
        (heads / "main").unlink()
        heads.rmdir()
        heads.write_text("this repository uses the reftable format\n", encoding="utf-8")
    else:
        (project.path / ".git" / "config.worktree").touch()
    place = project.path.parent / ".site.releaser-staging"
    place.mkdir()
    assert not git.add_empty_work_tree(place, project.first)
    assert list(place.iterdir()) == []
