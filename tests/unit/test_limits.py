"""Limits of what is pure: patterns in time, texts in length, answers in size."""

import contextlib
import errno
import os
import shutil
import smtplib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from releaser.candidate import namespace, shadow, tests
from releaser.checkout import publish, tree
from releaser.errors import ToolError
from releaser.report import mail
from releaser.report.outbox import keep_mail, list_waiting
from releaser.report.outcomes import Outcome
from releaser.report.smtp import explain_refusal
from releaser.site import crontab, settings
from releaser.site.paths import make_paths
from releaser.site.settings import Settings
from releaser.system import process
from releaser.system.text import clip, clip_end, escape, find_error_line, name_project, redact
from tests.e2e.scenes import mostly_slow

#: What reads text that others have written.
READERS: dict[str, Callable[[str], object]] = {
    "redact": redact,
    "escape": escape,
    "name_project": lambda text: name_project(text, "/srv/shop"),
    "find_error_line": find_error_line,
    "clip_end": clip_end,
    "name_trouble": lambda text: mail._name_trouble(Outcome("failed", 4, text)),
    "ran_none": tests._RAN_NONE.search,
    "ran_some": tests._RAN_SOME.search,
    "remote_line": publish._REMOTE_LINE.findall,
    "job": crontab._JOB.fullmatch,
    "is_update": lambda text: crontab.is_update(text, "/srv/shop"),
    "duration": settings._DURATION.fullmatch,
    "address": settings._ADDRESS.fullmatch,
    "host": settings._HOST.fullmatch,
}
#: The parts of long texts; each is repeated.
PARTS = [
    "`A=", "`A=x ", "`releaser a", "`releaser ", "`", "A", "A=", "://", "://a", "://a@", "://a:b@c ", "?token=", "?a-",
    "&key", "Authorization: ", "Authorization: x ", "Bearer ", "abcdef0", "1", "1 ", "=", "===\n", "error: ",
    "error:  \n", "releaser ", "releaser update ", "* ", "a ", "\t", " ", "\n", "remote: ", "remote: \n",
    "collected 0 items ", "Ran 1", "1 passe", "a.", "a@", "a-",
]  # fmt: skip
#: Those of forms of secrets.
SECRET_PARTS = [
    "-----BEGIN PRIVATE KEY-----", "eyJaaaaaaaa-", "eyJaaaaaaaa.eyJ", "password", "password=", 'token: "', 'token: "\\',
    " --a-", " -u a", "login a password ", "Cookie: ", "gh", "sk-", "SG.aaaaaaaaaa.", "\x1b",
]  # fmt: skip
SHORT, TIMES = 4000, 8


@pytest.mark.parametrize("name", mostly_slow(READERS, "escape", "redact"))
def test_law_42_eight_times_the_text_is_not_sixty_four_times_the_work(name: str) -> None:
    def measure(text: str) -> float:
        times = []
        for _ in range(3):
            began = time.process_time()
            READERS[name](text)
            times.append(time.process_time() - began)
        return min(times)

    slow = {}
    for part in [*PARTS, *(SECRET_PARTS if name == "redact" else [])]:
        short = (part * SHORT)[:SHORT]
        ratio = measure(short * TIMES + "!") / max(measure(short + "!"), 0.002)  # less than that cannot be measured
        if ratio > 3 * TIMES:
            slow[part] = ratio
    assert not slow


def test_law_42_a_line_has_at_most_so_many_characters() -> None:
    assert (clip("abc", 3), clip("abcd", 3)) == ("abc", "ab…")
    assert [len(find_error_line(text * 500_000)) for text in ("y", "error: y", "y\n")] == [300, 300, 1]


def test_law_42_an_answer_without_end_is_an_error() -> None:
    with pytest.raises(ToolError, match="more than 64 MiB"):
        process.run(["yes"], cwd=Path("/"), env=dict(os.environ), timeout=60, is_answer=True, check=False)


def test_law_28_a_refusal_of_a_mail_server_is_a_sentence() -> None:
    error = smtplib.SMTPAuthenticationError(535, "5.7.8 Falsches Paßwort.".encode())
    settings = Settings().mail
    assert explain_refusal(settings, error).endswith(" took no mail: 535 5.7.8 Falsches Paßwort.")


@pytest.mark.parametrize("may_leave_service", [False, True])
def test_law_42_the_end_of_an_output_is_kept(may_leave_service: bool) -> None:
    script = "head -c 3000000 /dev/zero | tr '\\0' x; echo end; echo why >&2"
    finished = process.run(
        ["sh", "-c", script], cwd=Path("/"), env=dict(os.environ), timeout=60, may_leave_service=may_leave_service
    )
    assert (finished.stdout[:3], finished.stdout[-5:], finished.stderr) == ("[… ", "xend\n", "why\n")
    assert len(finished.stdout) < process.KEPT + 100


def test_law_31_42_a_service_may_keep_its_output_open(tmp_path: Path) -> None:
    script = f"(sleep 0.1; echo late; echo $? > {tmp_path}/status) & echo $!"
    process.run(["sh", "-c", script], cwd=Path("/"), env=dict(os.environ), timeout=60, may_leave_service=True)
    deadline = time.monotonic() + 20
    while not (tmp_path / "status").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (tmp_path / "status").read_text() == "0\n"


def test_law_42_a_call_in_a_child_has_limits_of_time_and_memory() -> None:
    def grow() -> str:
        parts: list[bytearray] = []
        while True:
            parts.append(bytearray(1 << 20))

    assert process.call_in_child(lambda: (True, "well"), 20) == (True, "well")
    assert process.call_in_child(lambda: time.sleep(60) or "late", 0.1) is None  # type: ignore[func-returns-value]
    assert process.call_in_child(grow, 20) is None


def test_law_10_a_process_of_another_user_that_tests_leave_stops_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    kill = os.kill
    with process.end_orphans():
        left = process.run(["sh", "-c", "setsid sleep 60 >&- 2>&- & echo $!"], cwd=Path("/"), env={}, timeout=60)
        monkeypatch.setattr(os, "kill", refuse)
    kill(int(left.stdout), 9)
    os.waitpid(int(left.stdout), 0)


def test_law_09_what_git_does_not_need_is_in_no_copy_of_a_repository(tmp_path: Path) -> None:
    source = tmp_path / "git"
    names = {
        "config", "git-crypt/key", "lfs/tmp/objects/x", "logs/refs/heads/index", "refs/heads/hooks",
        "index", "hooks/x", "objects/ab/x", "lfs/objects/ab/x", "packed-refs.lock", "site/shop.py", "media/cat.jpg",
    }  # fmt: skip
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    (source / "HEAD").symlink_to("refs/heads/hooks")
    os.mkfifo(source / "refs" / "pipe")
    needed = {"HEAD", "config", "git-crypt/key", "lfs/tmp/objects/x", "logs/refs/heads/index", "refs/heads/hooks"}
    for is_around, more in ((False, {"site/shop.py", "media/cat.jpg"}), (True, set[str]())):
        copy = tmp_path / str(is_around)
        tree._copy_readable_files(source, copy, is_around=is_around)
        copied = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if not path.is_dir()}
        assert copied == needed | more


def test_law_09_26_a_mail_is_kept_whatever_stands_in_the_place_of_the_outbox(tmp_path: Path) -> None:
    paths = make_paths(tmp_path / "shop", tmp_path / "shop", tmp_path / "shop" / ".venv", tmp_path)
    paths.outbox.write_text("mine")
    keep_mail(paths.outbox, "20260101T000000Z", b"Subject: news\n\n")
    (paths.outbox / "new" / "mine").mkdir()
    assert len(list_waiting(paths.outbox)) == 1
    assert paths.outbox.with_name("outbox.broken").read_text() == "mine"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_law_08_12_a_shadow_whose_copy_has_no_room_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """One file of many that could not be read is left out, as one that the site deletes meanwhile."""
    (tmp_path / "site/uploads").mkdir(parents=True)
    (tmp_path / "site/uploads/a.jpg").write_text("live")

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code), "a.jpg")

    monkeypatch.setattr(shutil, "copy2", fail)
    is_full = code != errno.EIO
    with pytest.raises(OSError, match=os.strerror(code)) if is_full else contextlib.nullcontext():
        shadow._copy_entry(tmp_path / "site", tmp_path / "copy", shadow._copy_file, frozenset(), None)


def test_the_mounts_below_a_directory_are_found_by_their_real_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = tmp_path / os.fsdecode(b"a b\\c\td\xe9\xc2\x85e")
    escaped = str(mounted).replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011")
    line = os.fsencode(f"1 2 0:3 / {escaped} rw - tmpfs tmpfs rw\n")
    monkeypatch.setattr(Path, "read_bytes", lambda _: line)
    lines = namespace._bind(tmp_path, Path("/target"), is_read_only=True)
    assert str(Path("/target") / mounted.name) in lines[-1]
