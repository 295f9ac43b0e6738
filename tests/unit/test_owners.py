"""Whom a run trusts: each place of a site, by who may write it and by who runs."""

import os
import struct
import tempfile
from pathlib import Path

import pytest

from releaser.site import owners
from releaser.site.owners import (
    Trust,
    find_closed,
    find_intruders,
    find_strangers,
    list_pythons,
    list_sources,
    list_user_places,
)
from releaser.site.paths import Paths, make_paths
from releaser.site.state import find_foreign_state, name_project_in_state
from tests.e2e.scenes import mostly_slow
from tests.support.commands import require

OWNER, MEMBER, STRANGER = 4001, 4002, 4003
PRIVATE, SHARED, OTHER, OF_MEMBER = 5001, 5002, 5003, 5004
#: Each place, below a directory that only root may write; those that end with a slash are directories.
PLACES = """
srv/ srv/outer/ srv/outer/shop/ srv/outer/shop/.git/ srv/outer/shop/.git/config srv/outer/shop/.git/config.worktree
srv/outer/shop/.git/HEAD srv/outer/shop/.git/index srv/outer/shop/.git/objects/ srv/outer/shop/.git/objects/aa/
srv/outer/shop/.git/objects/info/alternates srv/outer/store/aa/ srv/outer/included srv/outer/shop/.git/refs/
srv/outer/shop/.git/refs/heads/ srv/outer/shop/.git/refs/heads/main srv/outer/shop/.git/hooks/
srv/outer/shop/.git/hooks/post-checkout srv/outer/shop/.git/info/ srv/outer/shop/.git/info/attributes
srv/outer/shop/site/ srv/outer/shop/site/pyproject.toml srv/outer/shop/site/uv.lock srv/outer/shop/.releaser/
srv/outer/shop/.releaser/site/ srv/outer/shop/.releaser/site/journal.json srv/outer/shop/.releaser/site/lock
srv/outer/shop/.releaser/site/outbox/ srv/outer/shop/.releaser/site/releases/
srv/outer/shop/.releaser/site/releases/T/ srv/outer/shop/.releaser/site/releases/T/manifest.json
srv/outer/shop/.releaser/site/releases/T/state.json srv/outer/shop/.releaser/site/releases/T/venv/
srv/outer/shop/.releaser/site/releases/T/venv/bin/ srv/outer/shop/.releaser/site/releases/T/venv/bin/python
srv/outer/shop/.releaser/site/releases/T/venv/lib/ srv/outer/shop/.releaser/site/releases/T/venv/lib/python3.11/
srv/outer/shop/.releaser/site/releases/T/venv/lib/python3.11/site-packages/ srv/outer/shop/.env srv/uv.toml
srv/outer/shop/.releaser/site/releases/T/venv/lib/python3.11/site-packages/a.pth srv/outer/shop/site/.python-version
""".split()  # noqa: SIM905 - a list of places is read better so
ABOVE = {"srv/", "srv/outer/", "srv/outer/shop/.releaser/", "srv/outer/shop/.releaser/site/releases/T/venv/lib/"}
ABOVE |= {"srv/outer/shop/.releaser/site/releases/T/venv/lib/python3.11/"}
#: Who may write: owner, group, and mode; the answer for the owner alone, for one of a group that shares, for root.
WHO = {
    "the owner": (OWNER, OTHER, 0o700, (True, True, False)),
    "root": (0, 0, 0o700, (True, True, True)),
    "a private group": (OWNER, PRIVATE, 0o770, (True, True, False)),
    "the site's group": (OWNER, SHARED, 0o770, (False, True, False)),
    "the private group of a member": (OWNER, OF_MEMBER, 0o770, (False, True, False)),
    "another group": (OWNER, OTHER, 0o770, (False, False, False)),
    "everybody": (OWNER, OTHER, 0o707, (False, False, False)),
    "a member": (MEMBER, SHARED, 0o700, (False, True, False)),
    "a stranger": (STRANGER, OTHER, 0o700, (False, False, False)),
    "root's group": (0, OTHER, 0o770, (False, False, False)),
    "everybody, sticky": (0, 0, 0o1777, (None, None, None)),
}
TRUSTS = (Trust(OWNER, OWNER), Trust(OWNER, OWNER, SHARED), Trust(0, 0))


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """The paths of a site in a subdirectory of its repository, each of which exists, owned by root."""
    require(os.geteuid() == 0, "only root can make files of another user")
    monkeypatch.setattr(
        owners, "is_private_group", lambda gid, user: gid in (0, PRIVATE) or (gid, user) == (OF_MEMBER, MEMBER)
    )
    monkeypatch.setattr(owners, "_list_users", lambda gid: [MEMBER] if gid == OF_MEMBER else [])
    monkeypatch.setattr(owners, "is_member", lambda user, gid: (user, gid) == (MEMBER, SHARED))
    for place in PLACES:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if place.endswith("/") else path.write_text("")
    shop = tmp_path / "srv/outer/shop"
    (shop / "site/.venv").symlink_to(shop / ".releaser/site/releases/T/venv")
    (shop / ".git/config").write_text('[core]\n\tbare = false\n[include] path = "../../included" ; ours\n')
    (shop / ".git/objects/info/alternates").write_text("../../../store\n")
    return make_paths(shop / "site", shop, shop / "site/.venv", shop / ".releaser/site")


@pytest.mark.parametrize("who", mostly_slow(WHO, "a private group", "everybody", "a stranger"))
def test_law_30_31_who_may_write_what_decides_what_runs(paths: Paths, tmp_path: Path, who: str) -> None:
    assert [find_intruders(trust, paths) for trust in TRUSTS] == [[], [], []]
    owner, group, mode, answers = WHO[who]
    for place in PLACES:
        path = tmp_path / place
        if answers[0] is None and not place.endswith("/"):
            continue  # only directories are sticky
        before = path.stat()
        os.chown(path, owner, group)
        path.chmod(mode)
        found = [find_intruders(trust, paths) for trust in TRUSTS]
        expected = answers if answers[0] is not None else (place in ABOVE,) * 3
        assert tuple(not problems for problems in found) == expected, (place, found)
        named = (str(path), str(paths.link))
        assert all(any(name in problem.message for name in named) for problems in found for problem in problems), found
        os.chown(path, before.st_uid, before.st_gid)
        path.chmod(before.st_mode)


def test_law_30_a_link_counts_as_what_it_is_and_as_what_it_leads_to(paths: Paths, tmp_path: Path) -> None:
    trust, lock = Trust(OWNER, OWNER), paths.lockfile
    lock.unlink()
    lock.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text("")
    assert find_intruders(trust, paths) == []
    os.chown(tmp_path / "elsewhere", STRANGER, OTHER)
    assert str(tmp_path / "elsewhere") in str(find_intruders(trust, paths))
    os.chown(tmp_path / "elsewhere", 0, 0)
    os.chown(lock, STRANGER, OTHER, follow_symlinks=False)
    assert str(STRANGER) in str(find_intruders(trust, paths))
    away = paths.project.parent / "away"
    away.symlink_to(tmp_path / "srv")
    os.chown(tmp_path / "srv", STRANGER, OTHER)
    assert str(tmp_path / "srv") in str(find_strangers(trust, [away / "outer/shop/site"]))
    os.chown(tmp_path / "srv", 0, 0)
    os.chown(lock, 0, 0, follow_symlinks=False)
    assert find_strangers(trust, [tmp_path / "missing"]) == []
    python, mine, his = paths.link / "bin/python", tmp_path / "python3.11", tmp_path / "his"
    his.mkdir()
    mine.write_text("")
    (his / "python").symlink_to(mine)
    python.unlink()
    python.symlink_to("../" * 20 + f"{his}/python")  # the last of both links leads to a trusted file
    assert find_intruders(trust, paths) == []
    for place in (his / "python", his):
        os.chown(place, STRANGER, OTHER, follow_symlinks=False)
        assert str(place) in str(find_intruders(trust, paths))
        os.chown(place, 0, 0, follow_symlinks=False)
    (his / "python").unlink()
    (his / "python").symlink_to(python)
    assert find_intruders(trust, paths) == []  # a loop


#: Whom an access list lets write: its entry (user 2, group 8), the bits of the group, and the answers as above.
LISTED = {
    "the owner": (2, OWNER, 0o60, (True, True, False)),
    "root": (2, 0, 0o60, (True, True, True)),
    "a stranger": (2, STRANGER, 0o60, (False, False, False)),
    "a stranger, bounded by the mask": (2, STRANGER, 0o40, (True, True, True)),
    "a member": (2, MEMBER, 0o60, (False, True, False)),
    "the site's group": (8, SHARED, 0o60, (False, True, False)),
    "another group": (8, OTHER, 0o60, (False, False, False)),
    "the group that has the file": (4, -1, 0o60, (False, False, False)),
}


@pytest.mark.parametrize("who", LISTED)
def test_law_30_31_who_may_write_by_an_access_list(paths: Paths, who: str) -> None:
    tag, number, mask, answers = LISTED[who]
    os.chown(paths.lockfile, 0, OTHER)  # the bits of whose group are those of the list
    entries = [(1, 6, -1), (tag, 6, number), (4, 6 * (tag == 4), -1), (16, mask >> 3, -1), (32, 0, -1)]
    entries = [*dict.fromkeys(entries)]
    content = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in sorted(entries))
    os.setxattr(paths.lockfile, "system.posix_acl_access", content)
    assert paths.lockfile.stat().st_mode & 0o70 == mask
    assert tuple(not find_intruders(trust, paths) for trust in TRUSTS) == answers
    paths.lockfile.chmod(0o604)  # as the advice says
    assert not any(find_intruders(trust, paths) for trust in TRUSTS)


def test_law_30_what_uv_installs_from_a_directory_and_which_python_it_starts(paths: Paths, tmp_path: Path) -> None:
    srv = tmp_path / "srv"
    made: tuple[str, ...] = (
        "wheels/a-1-py3-none-any.whl",
        "lib/setup.py",
        "flat/b-1.tar.gz",
        "links/",
        "py/bin/python",
        "own/python3",
        "index/c-1.zip",
        "pythons/",
    )
    for name in made:
        (srv / name).parent.mkdir(exist_ok=True, parents=True)
        (srv / name).mkdir() if name.endswith("/") else (srv / name).touch()
    (srv / "lib/logs").mkdir()
    locked = ('registry = "../../../wheels"', 'editable = "../../../lib"', 'virtual = "."', 'registry = "https://a/"')
    paths.lockfile.write_text("".join(f"source = {{ {source} }}\n" for source in locked))
    (paths.project.parent / ".python-version").write_text(f"{srv}/py\n")
    index = [{"url": f"file://{srv}/flat", "format": "flat"}, {"url": "https://b/"}, 7]
    table = {"index": index, "find-links": [f"{srv}/links"], "sources": {"c": [{"path": "c", "marker": ""}], "d": 7}}
    broken = [{"tool": {"uv": value}} for value in (7, {"index": 7, "sources": 7, "find-links": 7})]
    assert all(list_sources(paths, content) for content in broken)
    variables = {"UV_INDEX": f"https://c/ own={srv}/index", "UV_PYTHON_INSTALL_DIR": f"{srv}/pythons"}
    sources = list_sources(paths, {"tool": {"uv": table}}, variables)
    named = [*sources, *list_pythons(paths, "3.12", f"{srv}/own/python3")]
    assert not [path for path in named if path.is_relative_to(paths.top) or "logs" in path.parts]
    environ = {"HOME": f"{srv}/home", "XDG_CONFIG_HOME": f"{srv}/xdg", "XDG_CONFIG_DIRS": f"{srv}/etc:relative"}
    environ["XDG_DATA_HOME"] = f"{srv}/data"
    for name in ("home/.config/git/config", "xdg/git/config", "xdg/uv/uv.toml", "etc/uv/uv.toml", "data/uv/python"):
        (srv / name).parent.mkdir(exist_ok=True, parents=True)
        (srv / name).touch()
        made += (name,)
    places = [*named, *list_user_places(environ)]
    assert find_strangers(Trust(OWNER, OWNER), places) == []
    for name in made:
        for path in (srv / name, (srv / name).parent):
            os.chown(path, STRANGER, OTHER)
            assert str(path) in str(find_strangers(Trust(OWNER, OWNER), places)), name
            os.chown(path, 0, 0)
    os.chown(srv / "lib/logs", STRANGER, OTHER)
    assert find_strangers(Trust(OWNER, OWNER), places) == []


def test_law_28_a_path_that_a_file_names_may_have_any_character(paths: Paths) -> None:
    for name in ("../a\0b", "~a\0b/c", "file:///a%00b", "../\udc80", "/" + 5000 * "a"):
        (paths.project / ".python-version").write_text(f"/{name}", errors="surrogateescape")
        (paths.top / ".git/config").write_text(f"[include]\npath = {name}\n", errors="surrogateescape")
        sources = list_sources(paths, {"tool": {"uv": {"find-links": [name]}}}, {"UV_CONFIG_FILE": name})
        assert find_intruders(Trust(OWNER, OWNER), paths, *sources, *list_pythons(paths, name)) == []


#: What is wrong about a state directory, by its path from the project, and what lies in it.
STATES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "the default": ("../.releaser/site", (), ""),
    "an empty one": ("../../state", (), ""),
    "the outer directory": ("..", (), "holds"),
    "the project": (".", (), "holds"),
    "above all": ("../../..", (), "holds"),
    "in .git": ("../.git/state", (), "lies in"),
    ".git": ("../.git", (), "lies in"),
    "in the link": (".venv/state", (), "lies in"),
    "somebody's files": ("../../data", ("thesis.txt", "logs/"), "thesis.txt"),
    "somebody's directories": ("../../data", ("logs/", "logs/production.log", "cache/"), "no releases"),
    "of a run that was killed at once": ("../../state", ("releases/", "cache/", ".project.releaser.new"), ""),
    "an earlier version": ("../../state", ("releases/", "lock", "shadow-20260101T000000Z/"), ""),
    "what was set aside": ("../../state", ("releases/", "releases/20260101T000000Z/", "holds.json.broken-2"), ""),
    "another tool's": ("../../state", ("releases/", "releases/20260101000000/", "logs/", "cache/"), "no releases"),
    "a new file system": ("../../state", ("lost+found/",), ""),
    "beside worktrees": ("../.git/.releaser/site", (), ""),
    "something like a shadow": ("../../state", ("releases/", "lock", "shadow-puppets/"), "shadow-puppets"),
    "a link": ("../../state", ("releases/", "lock", "outbox>"), "outbox"),
    "its own": ("../../state", ("thesis.txt", "project=../shop/site"), ""),
    "another project's": ("../../state", ("project=../shop",), "shop"),
    "one that is gone": ("../../state", ("project=../gone",), "rm "),
}


@pytest.mark.parametrize("name", STATES)
def test_law_30_whose_state_directory_it_is(paths: Paths, tmp_path: Path, name: str) -> None:
    place, entries, reason = STATES[name]
    (paths.top / "pyproject.toml").write_text("")
    state = Path(os.path.normpath(paths.project / place))
    for entry in entries:
        state.mkdir(exist_ok=True)
        path, _, text = entry.partition("=")
        if path.endswith(">"):
            (state / path[:-1]).symlink_to(tmp_path)
        else:
            (state / path).mkdir() if path.endswith("/") else (state / path).write_text(text)
    before = sorted(state.rglob("*")) if entries else []
    moved = make_paths(paths.project, paths.top, paths.project / ".venv", state)
    problems = find_foreign_state(moved)
    assert (bool(problems), reason in str(problems)) == (bool(reason), True), problems
    assert not entries or sorted(state.rglob("*")) == before
    if not problems:
        state.mkdir(parents=True, exist_ok=True)
        name_project_in_state(moved)
        assert find_foreign_state(moved) == []


def test_law_11_30_what_keeps_another_user_from_a_program_is_found() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        top, stranger = Path(name), os.getuid() + 1
        top.chmod(0o755)
        home, program, link = top / "home", top / "home" / "bin" / "python", top / "python"
        program.parent.mkdir(parents=True)
        program.write_text("")
        program.chmod(0o755)
        link.symlink_to(program)
        assert [find_closed(stranger, way) for way in (program, link)] == ["", ""]
        home.chmod(0o700)
        assert [find_closed(stranger, way) for way in (program, link)] == [str(home), str(home)]
        assert find_closed(os.getuid(), link) == find_closed(stranger, top / "removed") == ""
        home.chmod(0o711)
        program.chmod(0o700)
        assert find_closed(stranger, link) == str(program)
