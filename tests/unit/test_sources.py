"""Where packages come from: complaints of uv, refusals of indexes, and packages that move."""

from pathlib import Path

import msgspec
import pytest

from releaser.candidate.identity import hash_libraries
from releaser.errors import PreflightError
from releaser.packages.complaints import explain_refusal, list_complaints
from releaser.packages.indexes import explain_moves, find_host_indexes, find_moves, has_accepted_moves
from releaser.packages.lock import Lock, parse_lock
from releaser.packages.resolve import Plan
from releaser.pipelines import decide
from releaser.site.paths import Paths
from releaser.site.settings import Settings
from tests.unit.samples import make_lock, make_site

IGNORED = """\
warning: Failed to parse `pyproject.toml` during settings discovery:
  TOML parse error at line 7, column 1
    |
  7 | index-ulr = "https://bot:hunter2@example.org"
    | ^^^^^^^^
  unknown field `index-ulr`, expected one of `index`, `index-url`

Resolved 1 package in 8ms
"""
UNREAD = """\
error: Failed to parse: /srv/uv.toml
  cause: TOML parse error at line 1, column 8
           |
         1 | bad = [
           |        ^
         unclosed array, expected `]`
"""
NO_URL = """\
warning: Failed to parse `pyproject.toml` during settings discovery:
  TOML parse error at line 14, column 1
     |
  14 | [[tool.uv.index]]
     | ^^^^^^^^^^^^^^^^^
  missing field `url`
"""
BOTH = """\
warning: Found both a `uv.toml` file and a `[tool.uv]` section in an adjacent `pyproject.toml`. These are ignored:
- link-mode
- index
"""
COMPLAINS = "uv complains about its configuration of it: "


@pytest.mark.parametrize(
    ("output", "complaints"),
    [
        (
            IGNORED,
            [
                "Failed to parse `pyproject.toml` during settings discovery: TOML parse error at line 7, column 1 "
                "(`index-ulr`) unknown field `index-ulr`, expected one of `index`, `index-url`."
            ],
        ),
        (
            UNREAD,
            [
                "Failed to parse: /srv/uv.toml cause: TOML parse error at line 1, column 8 (`bad`) unclosed array, "
                "expected `]`."
            ],
        ),
        (
            NO_URL,
            [
                "Failed to parse `pyproject.toml` during settings discovery: TOML parse error at line 14, column 1 "
                "(`[[tool.uv.index]]`) missing field `url`."
            ],
        ),
        (BOTH, [f"{BOTH.splitlines()[0].removeprefix('warning: ')} link-mode index."]),
        (
            "error: Required uv version `>=99` does not match the running version `0.13.9`.",
            ["Required uv version `>=99` does not match the running version `0.13.9`."],
        ),
        ("warning: The field `tool.uv.dev-dependencies` is deprecated\nerror: No `pyproject.toml` found\n", []),
    ],
)
def test_law_40_complaints_of_uv_have_file_and_line(output: str, complaints: list[str]) -> None:
    assert list_complaints(output, " of it") == [f"{COMPLAINS}{text}" for text in complaints]


@pytest.mark.parametrize(
    ("output", "refusal"),
    [
        ("hint: An index URL (https://a/simple) could not be queried (401 Unauthorized)", ("https://a/simple", 401)),
        ("An index URL (http://a:8/b) could not be queried: lack of permission (403 Forbidden)", ("http://a:8/b", 403)),
        ("HTTP status client error (403 Forbidden) for url (https://a/b.whl)", ("https://a/b.whl", 403)),
        (
            "Because a-b was not found in the package registry\nhint: An index (https://a/b) returned a 403 Forbidden",
            ("https://a/b", "403) to give a-b"),
        ),
        ("error: No solution found when resolving dependencies", None),
        ("HTTP status server error (500 Internal Server Error) for url (https://a/b)", None),
    ],
)
def test_a_refusal_of_an_index_is_told_from_others(output: str, refusal: tuple[str, int | str] | None) -> None:
    answer = explain_refusal(output)
    words = f"{refusal[1]})." if refusal and isinstance(refusal[1], int) else f"{refusal[1]}." if refusal else ""
    assert (answer and answer[0]) == (refusal and f"The index {refusal[0]} refused ({words}")


def test_law_28_a_certificate_that_uv_does_not_trust_has_the_setting() -> None:
    output = "error: Failed to fetch: https://a/tea/\n  cause: invalid peer certificate: UnknownIssuer"
    message, advice = explain_refusal(output) or ("", "")
    assert message == "uv does not trust the certificate of https://a/tea/."
    assert "SSL_CERT_FILE" in advice


@pytest.mark.parametrize(
    ("known", "committed", "lock", "moves"),
    [
        ("a 1@registry:own", "a 1@registry:own", "a 1@registry:own", []),
        ("a 1@registry:own", "a 1@registry:own", "a 2@registry:own", []),
        ("a 1@registry:own", "a 1@registry:own", "a 1@registry:pub", [("a", True)]),
        ("a 1@registry:own", "a 1@registry:pub", "a 1@registry:pub", [("a", True)]),  # a person has committed that
        ("a 1@registry:own", "a 1@registry:own", "a 2@registry:pub", [("a", False)]),  # it fell through
        ("a 1@registry:own", "a 2@registry:pub", "a 2@registry:pub", []),
        ("a 1@registry:own", "a 1@registry:own", "b 1@registry:pub", []),
        ("a 1@registry:own/", "", "a 1@registry:own", []),
        ("a 1@registry:https://u:p@own", "", "a 1@registry:https://own", []),
        ("a 1@registry:own", "", "a 1@git:https://a", [("a", True)]),
        ("a 1@git:https://a?branch=x#1111111", "", "a 1@git:https://a#2222222", []),
        ("a 1@git:https://a#1111111", "", "a 1@git:https://b#1111111", [("a", True)]),
        ("a 1@url:https://a.whl", "", "a 1@url:https://b.whl", [("a", True)]),
        ("a 1@virtual:.", "", "a 1@editable:.", []),
        ("a 1@registry:own, a 2@registry:pub", "", "a 2@registry:pub, a 1@registry:own", []),
    ],
)
def test_law_32_38_a_package_moves_with_its_source(
    known: str, committed: str, lock: str, moves: list[tuple[str, bool]]
) -> None:
    found = find_moves([make_lock(known)], make_lock(committed), make_lock(lock))
    assert [(move.name, move.is_same_version) for move in found] == moves


def with_files(text: str, **hashes: str) -> Lock:
    """Return a lock whose packages all have these files."""
    lock = make_lock(text)
    files = frozenset(hashes.items())
    return Lock(tuple(msgspec.structs.replace(package, files=files) for package in lock.packages), lock.text)


def test_law_32_a_hash_changes_only_with_its_file() -> None:
    before, more = with_files("a 1", sdist="1"), with_files("a 1", sdist="1", wheel="2")
    other = with_files("a 1", sdist="3")
    assert not find_moves([before], before, more)
    assert [move.has_other_files for move in find_moves([before], before, other)] == [True]
    mirrored = find_moves([before], before, with_files("a 1@registry:mirror", sdist="3"))
    assert [move.has_other_files for move in mirrored] == [False, True], "a mirror has the same files"
    assert not find_moves([before, other], before, other), "one of the known locks has it"
    assert not find_moves([before], before, with_files("a 2", sdist="3"))
    assert has_accepted_moves(before, other)
    assert not has_accepted_moves(make_lock("a 1@registry:own"), make_lock("a 1@registry:mirror"))


@pytest.mark.parametrize(
    ("place", "settings", "is_own"),
    [
        ("https://m/simple", {"UV_DEFAULT_INDEX": "https://m/simple/"}, True),
        ("https://m/simple", {"UV_INDEX": "https://x/simple own=https://bot:secret@m/simple"}, True),
        ("https://m/simple", {"UV_DEFAULT_INDEX": "https://m/simple-old"}, False),
        ("https://m/simple", {"UV_FIND_LINKS": "https://x/links,https://m/simple"}, True),
        ("../wheels", {"UV_FIND_LINKS": "/srv/wheels"}, True),
        ("../wheels", {"UV_DEFAULT_INDEX": "file:///srv/wheels"}, True),
        ("../wheels", {"UV_FIND_LINKS": "/srv/wheels-old"}, False),
    ],
)
def test_law_32_an_index_is_the_hosts_own_if_it_names_just_that(
    place: str, settings: dict[str, str], is_own: bool
) -> None:
    site = msgspec.structs.replace(make_site(Settings()), dotenv=settings)
    found = find_host_indexes(site, make_lock("a 1@registry:own"), make_lock(f"a 1@registry:{place}"))
    assert found == [place] * is_own


def test_law_32_what_falls_through_to_an_index_of_the_host_has_no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but a are still in the private index: the host's other one is not a mirror of it."""
    site = msgspec.structs.replace(make_site(Settings()), dotenv={"UV_DEFAULT_INDEX": "https://m/simple"})
    plan = Plan(make_lock("a 9@registry:https://m/simple, b 1@registry:own"), "", "3.11")
    before = make_lock("a 1@registry:own, b 1@registry:own")
    monkeypatch.setattr(decide, "may_change_index", lambda site, tree: False)
    with pytest.raises(PreflightError, match="a 9 would come from"):
        decide.judge_moves(site, Path("/nowhere"), plan, [before], before, ())


def test_law_27_what_programs_write_into_a_library_is_no_news(paths: Paths) -> None:
    site = msgspec.structs.replace(make_site(Settings()), paths=paths)
    place = paths.top.parent / "lib"
    lock = make_lock(f"lib 1@directory:{place}")
    (place / "lib").mkdir(parents=True)
    (place / "lib" / "__init__.py").touch()
    before = hash_libraries(site, lock)
    for name in ("debug.log", ".coverage", "dev.sqlite3", "dev.sqlite3-wal", "run.pid", "lib/x.pyc"):
        (place / name).write_text("x", encoding="utf-8")
    assert hash_libraries(site, lock) == before
    (place / "lib" / "data.txt").touch()
    assert hash_libraries(site, lock) != before


def test_all_packages_of_an_index_are_one_problem_that_names_a_mirror() -> None:
    before, after = make_lock("a 1@registry:own, b 1@registry:own"), make_lock("a 1@registry:m, b 1@registry:m")
    (problem,) = explain_moves(find_moves([before], before, after), after)
    assert problem.message.startswith(
        "a 1, b 1 would come from `m`, and came from `own`. Does this host have its own mirror"
    )
    assert "`releaser update --accept a --accept b`" in problem.advice


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("version = 1\n<<<<<<< HEAD\n", "line 2 is a conflict marker of git"),
        ("version https://git-lfs.github.com/spec/v1\n", "it is a pointer of git-lfs"),
        ("\ufeffversion = 1\n", "line 1 begins with a byte order mark"),
        (" \n", "it is empty"),
        ("requires-python = '>=3.11'\n", "it has no version"),
        ('[[package]]\nname = "a"\nname = "b"\n', "line 3"),
    ],
)
def test_law_40_a_text_that_is_no_lock_is_named(text: str, reason: str) -> None:
    with pytest.raises(PreflightError, match=f"uv.lock is not a lock of uv: .*{reason}"):
        parse_lock(text)
