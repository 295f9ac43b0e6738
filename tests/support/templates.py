"""Sample sites made once a session for each set of options, then copied: git and uv need not start again."""

from __future__ import annotations

import shutil
from itertools import count
from typing import TYPE_CHECKING

from tests.support.commands import clean_environment, git_executable, run, uv_executable
from tests.support.layouts import SHARED_LIBRARY, checkout_files, common_library
from tests.support.wheels import LocalIndex

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.layouts import SiteOptions
    from tests.support.sites import SampleSite

CHECKOUT = "checkout"  # the name of the checkout in a template
REMOTE = "remote.git"
_GIT_CONFIG = {"user.name": "Grace", "user.email": "grace@example.org", "commit.gpgSign": "false"}


class Templates:
    """Builds and keeps the outer directories that sites are copied from."""

    def __init__(self, directory: Path, uv_cache: Path) -> None:
        self.uv_cache = uv_cache
        self._directory = directory
        self.made: dict[object, SampleSite] = {}  # by how they were made; see `SiteFactory.copied`
        self._fresh: dict[str, Path] = {}
        self._numbers = count()

    def new_place(self) -> Path:
        """Make a directory that lasts as long as the templates."""
        place = self._directory / str(next(self._numbers))
        place.mkdir(parents=True)
        return place

    def copy(self, options: SiteOptions, outer: Path, name: str) -> None:
        """Make `outer` with the checkout `name`, the remote and the index in it."""
        shutil.copytree(self._template(options), outer, symlinks=True)
        (outer / CHECKOUT).rename(outer / name)

    def _template(self, options: SiteOptions) -> Path:
        key = repr(options)
        if key not in self._fresh:
            outer = self.new_place()
            self._build(options, outer)
            self._fresh[key] = outer
        return self._fresh[key]

    def _build(self, options: SiteOptions, outer: Path) -> None:
        env = clean_environment(self._directory / "home", self.uv_cache)
        _publish_all(options, LocalIndex(outer / options.index_in_outer.format(project=CHECKOUT)))
        if options.kind == "path":
            write_files(outer / SHARED_LIBRARY, common_library())
        checkout = outer / CHECKOUT
        write_files(checkout, checkout_files(options))
        run([uv_executable(), "lock"], cwd=checkout, env=env, check=0)
        _make_repository(checkout, env)


def write_files(directory: Path, files: Mapping[str, str]) -> None:
    """Write text files, paths relative to `directory`."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _publish_all(options: SiteOptions, index: LocalIndex) -> None:
    index.publish_backend()
    for name, version in options.packages.items():
        index.publish(name, version, requires=options.requires.get(name, ()))
    if options.wheels:
        shutil.copytree(options.wheels, index.path, dirs_exist_ok=True)
    for members in options.groups.values():
        for name in members:
            if name.isidentifier() and name not in options.packages:
                index.publish(name, "1.0.0")


def _make_repository(checkout: Path, env: Mapping[str, str]) -> None:
    def git(*words: str) -> None:
        run([git_executable(), *words], cwd=checkout, env=env, check=0)

    git("init", "--quiet", "--bare", "--template=", f"../{REMOTE}")
    git("init", "--quiet", "--template=")
    write_files(checkout / ".git" / "info", {"exclude": "# What git shall not see, in this clone only.\n"})
    for key, value in _GIT_CONFIG.items():
        git("config", key, value)
    git("add", "--all")
    git("commit", "--quiet", "--message", "Begin the site")
    git("remote", "add", "origin", f"../{REMOTE}")
    git("push", "--quiet", "--set-upstream", "origin", "main")
