"""The symlink to the live release. Nothing else writes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from releaser.errors import PreflightError, refuse
from releaser.releases.release import ID
from releaser.site.paths import Paths
from releaser.system.files import exchange, replace_symlink
from releaser.system.signals import check_signals
from releaser.system.text import word


class Link(msgspec.Struct, frozen=True):
    """The state of the path of the link. `release` is the id of the release that a link points to, existing or not.

    `foreign` is a directory, a file, or a link that leads elsewhere: a person put it there.
    """

    kind: Literal["missing", "release", "foreign"]
    text: str | None = None
    release: str | None = None

    @property
    def is_symlink(self) -> bool:
        """True for any symlink."""
        return self.text is not None


def read_link(paths: Paths) -> Link:
    """Return what stands at the path of the link."""
    try:
        text = os.readlink(paths.link)
    except FileNotFoundError:
        return Link("missing")
    except OSError:
        return Link("foreign")
    venv = Path(os.path.normpath(os.path.join(os.path.realpath(paths.link.parent), text)))
    directory = venv.parent
    is_named = venv.name == "venv" and ID.fullmatch(directory.name)
    is_ours = is_named and os.path.realpath(directory.parent) == os.path.realpath(paths.releases)
    return Link("release", text, directory.name) if is_ours else Link("foreign", text)


def make_link_text(paths: Paths, release: str, other_than: str | None = None) -> str:
    """Return the relative path from the link to the venv of a release, spelled in another way than `other_than`.

    So the link shows a change that leaves the same release live, too: after a kill, it decides.
    """
    text = os.path.relpath(paths.releases / release / "venv", os.path.realpath(paths.link.parent))
    return f"./{text}" if text == other_than else text


def explain_changed_link(paths: Paths) -> PreflightError:
    """Return the refusal to overrule what a person has put into the link's place."""
    message = f"`{paths.link}` was changed during this run."
    return refuse("link-changed", message, f"Look at it with `ls -l {word(paths.link)}`, then run releaser again.")


def flip(paths: Paths, release: str, *, before: str | None) -> None:
    """Let the link point to a release: the commit point of a change.

    `before` is the text that the link must still have, None if it must not exist. Raises PreflightError if a person
    changed the link meanwhile, and OSError.
    """
    current = read_link(paths)
    if (current.kind == "foreign" and not current.is_symlink) or current.text != before:
        raise explain_changed_link(paths)
    replace_symlink(paths.link, make_link_text(paths, release, other_than=before))


def exchange_for_directory(paths: Paths, directory: Path, *, before: str | None) -> None:
    """Swap what is in the link's place with what is at `directory`, beside it: the link with a plain venv, or back.

    `before` is the text that the link must still have. Raises PreflightError if a person changed it, and OSError.
    """
    if read_link(paths).text != before:
        raise explain_changed_link(paths)
    exchange(directory, paths.link)


def exchange_for_link(paths: Paths, release: str, directory: Path) -> None:
    """Swap a directory in the link's place with a link to a release, at `directory`, which must not exist.

    Afterwards the directory is at `directory`. Both must be on the same file system. Raises OSError.
    """
    os.symlink(make_link_text(paths, release), directory)
    try:
        check_signals()  # the last moment: adoption has no other step that could raise one
        exchange(directory, paths.link)
    except BaseException:
        os.unlink(directory)
        raise
