"""The shadow: a tree at the candidate's commit with a copy of what surrounds it, in which it is built and tested.

It stands for the outer directory, or for the top of the repository if that is higher. Nothing that runs in it changes
the site's files. Where the kernel allows it, it is mounted on the site's own paths: see `namespace.py`.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from releaser.checkout.repository import Repository, open_repository
from releaser.checkout.tree import make_tree
from releaser.errors import refuse
from releaser.site.owners import Trust
from releaser.site.site import SOURCES, Site
from releaser.system.files import FULL, is_too_deep, measure, remove_path, walk
from releaser.system.signals import check_signals
from releaser.system.space import require_room

MOST_FILES, MOST_BYTES = 2000, 100 << 20  # of an entry that is copied
ALL_FILES, ALL_BYTES = 20_000, 1 << 30  # of all of them
LOG_DIRECTORIES = ("log", "logs")
#: Errors of programs that write to a read-only directory. The last two come from SQLite, which also writes when it
#: reads a database in WAL mode.
_REFUSED_WRITES = ("Read-only file system", "unable to open database file", "attempt to write a readonly database")
BYTE_CODE = "__pycache__"  # of the live code


class Shadow(msgspec.Struct, frozen=True):
    """The directories of a shadow: `root` stands for `original`, `project` for the site's project.

    `is_mounted` says that programs see it at the site's paths. `bound` are the site's entries that they see themselves:
    sockets, and, read-only, what is too large to copy; `left_out` is what they do not see.
    """

    root: Path
    original: Path
    project: Path
    #: The entries of the outer directory that are not in git.
    surroundings: tuple[Path, ...] = ()
    is_mounted: bool = False
    bound: tuple[Path, ...] = ()
    left_out: tuple[Path, ...] = ()
    #: What other users could have written in the checkout: code of theirs would run with the tests.
    strange: tuple[Path, ...] = ()

    def map_path(self, path: Path) -> Path:
        """Return the path in the shadow of a path of the site."""
        return self.root / path.relative_to(self.original)

    def map_values(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return variables whose paths of the site lead into the shadow, for programs that run at its own path."""
        if self.is_mounted:
            return dict(variables)
        original, root = os.fspath(self.original), os.fspath(self.root)
        return {name: value.replace(f"{original}/", f"{root}/") for name, value in variables.items()}

    def replace_paths(self, path: Path) -> bool:
        """Put the site's paths in the place of the shadow's, in a text file or a link; True if it had one of them.

        Never in place: other releases may share the file. Raises OSError.
        """
        is_link = path.is_symlink()
        before = os.fsencode(os.readlink(path)) if is_link else path.read_bytes() if path.is_file() else b""
        after = before.replace(self.root.as_uri().encode(), self.original.as_uri().encode())
        after = after.replace(os.fsencode(self.root), os.fsencode(self.original))
        if after == before or b"\0" in before:
            return False
        mode = path.lstat().st_mode
        remove_path(path)
        if is_link:
            os.symlink(after, path)
        else:
            path.write_bytes(after)
            path.chmod(stat.S_IMODE(mode))
        return True

    def advise_on_read_only(self, output: str) -> str:
        """Return the advice for a program that wrote where the shadow has the site's own files; empty if none did."""
        entries = (*self.bound, *self.left_out)
        if not any(text in output for text in _REFUSED_WRITES) or not entries:
            return ""
        names = ", ".join(path.relative_to(self.original).as_posix() for path in entries)
        how = "missing" if self.left_out else "read-only"
        return f"These are too large to copy, and {how}: {names}. Name what it writes in `shadow_copy`."


@contextlib.contextmanager
def make_shadow(site: Site, source: Repository, directory: Path, commit: str, *, mark: str) -> Iterator[Shadow]:
    """Yield a shadow with a tree at a commit of `source`, in `directory`, which is deleted at the end.

    It is complete enough to resolve a lock: the entries of the outer directory are links. `fill_shadow` copies them.
    Raises ToolError and OSError.
    """
    remove_path(directory)
    directory.mkdir(mode=0o700, parents=True)
    try:
        top, original = site.paths.top, find_original(site)
        project, surroundings = directory / site.paths.project.relative_to(original), tuple(_list_surroundings(site))
        shadow = Shadow(directory, original, project, surroundings)
        tree = shadow.map_path(top)
        tree.mkdir(parents=True, exist_ok=True)
        repository = make_tree(site, source, tree, commit, mark=mark)
        # A version that is made from git would call each candidate with another lock an edited commit.
        repository.ask("update-index", "--assume-unchanged", "--", site.paths.lockfile_in_tree)
        _refuse_links(shadow, commit)
        if site.settings.versions.sources and not os.path.lexists(project / SOURCES):
            os.symlink(site.sources, project / SOURCES)
        for entry in surroundings:
            if not os.path.lexists(shadow.map_path(entry)):
                os.symlink(entry, shadow.map_path(entry))
        yield shadow
    finally:
        remove_path(directory)


def _refuse_links(shadow: Shadow, commit: str) -> None:
    """Raise PreflightError if a commit would let this run write outside of its tree, through a link."""
    is_outside = not Path(os.path.realpath(shadow.project)).is_relative_to(os.path.realpath(shadow.root))
    for path in (shadow.project, shadow.project / "uv.lock"):
        if path.is_symlink() or is_outside:
            message = f"In commit {commit[:12]}, {path.relative_to(shadow.root)} is a link, or lies behind one."
            raise refuse("link-in-commit", message, "Commit a file or directory in its place.")


def find_original(site: Site) -> Path:
    """Return the outer directory or the top of the repository, whichever is higher; never `/`."""
    outer, top = site.paths.outer, site.paths.top
    original = top if outer.is_relative_to(top) else outer
    return site.paths.project if original == Path("/") else original


def _list_surroundings(site: Site) -> list[Path]:
    """Return the entries of the outer directory that are not in git."""
    original = find_original(site)
    if original == site.paths.project:
        return []
    entries = sorted(site.paths.outer.iterdir()) if original == site.paths.outer else []
    own = {site.paths.top, site.paths.project}
    own.update(site.paths.top / name.partition("/")[0] for name in open_repository(site).tracked_files())
    own.update(path for path in entries if site.paths.state.is_relative_to(path) or path.name == ".git")
    return [path for path in entries if path not in own]


def list_untracked(site: Site) -> list[Path]:
    """Return the untracked entries of the checkout, but for the link, the state directory, and the surroundings."""
    entries = [site.paths.top / name for name in open_repository(site).untracked_entries()]
    if site.paths.outer == site.paths.top:
        entries = [path for path in entries if path.parent != site.paths.top]
    own = (site.paths.link, site.paths.state, *site.paths.state.parents)
    return [path for path in entries if path not in own and path.name != BYTE_CODE]


def list_missing_entries(site: Site) -> tuple[list[Path], list[Path]]:
    """Return what a shadow of the site would not copy: what is large, and what other users could have written."""
    entries = [*_list_surroundings(site), *list_untracked(site)]
    copiers = choose_copiers(site, entries)[0]
    large = [entry for entry in entries if entry not in copiers and not entry.is_socket()]
    return large, _choose_strange(site, entries, copiers)


def _choose_strange(site: Site, entries: Sequence[Path], copiers: Collection[Path]) -> list[Path]:
    """Return the entries that other users could have written, or, if they are not copied, a directory in them."""
    trust = site.trust

    def is_strange(entry: Path) -> bool:
        if not trust.trusts(entry):
            return True
        if entry in copiers or entry.is_symlink() or not entry.is_dir():
            return False
        with contextlib.suppress(FileNotFoundError):  # it is live
            return any(not trust.trusts(Path(place)) for place, _, _ in walk(entry))
        return True

    return [entry for entry in entries if entry.is_relative_to(site.paths.top) and is_strange(entry)]


def fill_shadow(
    site: Site, shadow: Shadow, venv: Path, *, is_mounted: bool, products: frozenset[Path] = frozenset()
) -> Shadow:
    """Copy what surrounds the tree, and the untracked files in it, and let its `.venv` point to a venv.

    `products` are the untracked files of the checkout that the live release has brought. Raises OSError, and BuildError
    if the disk has no room.
    """
    large, sockets = list[Path](), list[Path]()
    entries = [*shadow.surroundings, *list_untracked(site)]
    copiers, files, size = choose_copiers(site, entries)
    strange = _choose_strange(site, entries, copiers)
    passed_over = products.union(strange)
    require_room(shadow.root, size, files)
    for entry in strange:
        if entry.is_dir() and not entry.is_symlink() and shadow.map_path(entry).parent.is_dir():
            shadow.map_path(entry).mkdir(exist_ok=True)
    for entry in entries:
        target = shadow.map_path(entry)
        if target.is_symlink() and os.readlink(target) == os.fspath(entry):
            target.unlink()
        if os.path.lexists(target) or not target.parent.is_dir() or entry in passed_over:
            continue
        if (copy := copiers.get(entry)) is not None:
            trust = site.trust if entry.is_relative_to(site.paths.top) else None
            _copy_entry(entry, target, copy, products, trust)
            sockets += _list_sockets(entry)
        elif entry.is_socket():
            sockets.append(entry)
        else:
            large.append(entry)
    state, link = site.paths.state, site.paths.link
    if is_mounted and state.is_relative_to(shadow.original):
        shadow.map_path(state).mkdir(parents=True, exist_ok=True)
    place_link(shadow, link, venv)
    if not is_mounted:
        for socket in sockets:
            os.symlink(socket, shadow.map_path(socket))
        redirect_links(shadow, site.paths.state)
        return msgspec.structs.replace(shadow, left_out=tuple(large), strange=tuple(strange))
    for entry in (*large, *sockets):  # the places to mount them at
        shadow.map_path(entry).mkdir() if entry.is_dir() else shadow.map_path(entry).touch()
    return msgspec.structs.replace(shadow, is_mounted=True, bound=(*large, *sockets), strange=tuple(strange))


def place_link(shadow: Shadow, link: Path, venv: Path) -> None:
    """Let the `.venv` of a shadow point to a venv."""
    place = shadow.map_path(link) if link.is_relative_to(shadow.original) else None
    if place is not None and place.parent.is_dir() and not os.path.lexists(place):
        os.symlink(venv, place)


def _list_sockets(entry: Path) -> list[Path]:
    if entry.is_symlink() or not entry.is_dir():
        return []
    paths = (Path(place, name) for place, _, names in walk(entry) for name in names)
    return [path for path in paths if _is_socket(path) and not path.is_symlink()]


def _is_socket(path: Path) -> bool:
    with contextlib.suppress(OSError):  # in a directory that only others may enter
        return stat.S_ISSOCK(path.stat().st_mode)
    return False


def redirect_links(shadow: Shadow, state: Path) -> None:
    """Let links to absolute paths of the site lead into the shadow: what is written through them is not live.

    Relative ones that lead out of the site lead there still.
    """
    for place, directories, names in walk(shadow.root):
        directories[:] = [name for name in directories if name != ".git"]
        for name in (*directories, *names):
            path = Path(place, name)
            if not path.is_symlink():
                continue
            text, beside = os.readlink(path), (shadow.original / path.relative_to(shadow.root)).parent
            target = Path(os.path.normpath(beside / text))
            is_inside, is_absolute = target.is_relative_to(shadow.original), os.path.isabs(text)
            if is_inside != is_absolute or target.is_relative_to(state) or _is_socket(target):
                continue
            path.unlink()
            os.symlink(shadow.map_path(target) if is_inside else target, path)


Copier = Callable[[str, str], object]


def choose_copiers(site: Site, entries: Sequence[Path]) -> tuple[dict[Path, Copier], int, int]:
    """Return how the files of each entry that is copied are: empty, if they are large logs; and their sums.

    Neither sockets and pipes are copied, nor what has more than 2,000 files, 100 levels or 100 MiB. The
    smallest come first, up to 20,000 files and 1 GiB in all. What `shadow_copy` names is limited in depth alone.
    """
    copiers: dict[Path, Copier] = {}
    files, size, original = 0, 0, find_original(site)
    patterns = [pattern.rstrip("/") for pattern in site.settings.tests.shadow_copy]
    measured = {entry: _measure(entry) for entry in entries if entry.is_symlink() or entry.is_dir() or entry.is_file()}
    for entry, (its_size, its_files) in sorted(measured.items(), key=lambda item: item[1]):
        is_log = fnmatch.fnmatch(entry.name, "*.log*") if entry.is_file() else entry.name in LOG_DIRECTORIES
        is_small = its_files <= MOST_FILES and its_size <= MOST_BYTES
        if is_small and files + its_files <= ALL_FILES and size + its_size <= ALL_BYTES:
            copiers[entry], files, size = _copy_file, files + its_files, size + its_size
        elif any(fnmatch.fnmatch(entry.relative_to(original).as_posix(), pattern) for pattern in patterns):
            copiers[entry], size = _copy_file, size + measure(entry)
        elif is_log:
            copiers[entry] = lambda source, target: Path(target).touch()
    return copiers, files, size


def _copy_entry(source: Path, target: Path, copy: Copier, products: frozenset[Path], trust: Trust | None) -> None:
    """Copy a file, link or directory, without what a live site deletes meanwhile or what may not be read.

    Of what others could have written, if it is asked for, only the directories are made.
    """
    if source.is_symlink() or not source.is_dir():
        copy(os.fspath(source), os.fspath(target))
        return

    strange: list[Path] = []

    def is_left_out(path: Path) -> bool:
        is_readable = os.path.isdir(path) and os.access(path, os.R_OK | os.X_OK)
        is_kind = path.is_symlink() or os.path.isfile(path) or is_readable
        if path in products or path.name == BYTE_CODE or not is_kind:
            return True
        with contextlib.suppress(FileNotFoundError):
            is_strange = trust is not None and not trust.trusts(path)
            strange.extend([path] * (is_strange and is_readable and not path.is_symlink()))
            return is_strange
        return True

    def ignore(place: str, names: list[str]) -> list[str]:
        is_deep = is_too_deep(source, place)
        return [name for name in names if is_left_out(path := Path(place, name)) or (is_deep and os.path.isdir(path))]

    if is_left_out(source):
        return
    try:
        shutil.copytree(source, target, symlinks=True, ignore=ignore, copy_function=copy)
    except shutil.Error as error:  # of which only texts are left
        for _, place, reason in error.args[0]:
            if code := next((code for code in FULL if reason.startswith(f"[Errno {code}]")), 0):
                raise OSError(code, os.strerror(code), place) from error
    for path in strange:
        (target / path.relative_to(source)).mkdir()


def _copy_file(source: str, target: str) -> None:
    check_signals()
    with contextlib.suppress(FileNotFoundError, PermissionError):
        shutil.copy2(source, target, follow_symlinks=False)


def _measure(entry: Path) -> tuple[int, int]:
    """Return the bytes and the files of an entry; those that it has at least, if it is too large."""
    if entry.is_symlink() or not entry.is_dir():
        return entry.lstat().st_size, 1
    files = size = 0
    for place, _, names in walk(entry):
        if is_too_deep(entry, place):
            return size, MOST_FILES + 1
        for name in names:
            files += 1
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(place, name)).st_size
        if files > MOST_FILES or size > MOST_BYTES:
            break
    return size, files
