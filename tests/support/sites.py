"""A realistic site: an outer directory with `.env` and a checkout, a bare remote, an index; and releaser to run."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from filelock import FileLock

from tests.support import sample, trees
from tests.support.commands import (
    Finished,
    Identity,
    clean_environment,
    git_executable,
    releaser_command,
    run,
    started,
    uv_executable,
)
from tests.support.smtp import MailServer
from tests.support.wheels import build_wheel, module_name

#: Else the name of the host decides, a server outside is asked, and what fails is searched for in all tests.
_DOTENV = {"RELEASER_ENVIRONMENT": "local", "RELEASER_AUDIT": "off", "RELEASER_CULPRITS": "0"}
_GITIGNORE = "__pycache__/\n*.ignored\n"


@dataclass(frozen=True, kw_only=True)
class SiteOptions:
    """The content of a checkout: its published packages, its settings, other files, and the end of pyproject.toml."""

    packages: Mapping[str, str] = field(default_factory=lambda: {"alpha": "1.0.0", "beta": "1.0.0"})
    settings: Mapping[str, object] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    toml: str = ""
    restart_file: bool = True

    def pyproject(self) -> str:
        """Return the text of pyproject.toml; JSON of texts, numbers, booleans and lists is TOML, too."""
        lines = ["[project]", 'name = "shop"', 'version = "1.0"', 'requires-python = ">=3.11"']
        lines += [f"dependencies = {json.dumps(list(self.packages))}", "", "[dependency-groups]"]
        lines += ['local = ["localtools"]', "staging = []", 'prod = ["prodtools"]', ""]
        lines += ["[tool.uv]", "no-index = true", 'find-links = ["../index"]']
        if self.settings:
            lines += ["", "[tool.releaser]"]
            lines += [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in self.settings.items()]
        return "\n".join(lines) + "\n" + self.toml

    def checkout(self) -> dict[str, str]:
        """Return the tracked files of the checkout, without uv.lock."""
        files = {**sample.FILES, "pyproject.toml": self.pyproject(), ".gitignore": _GITIGNORE}
        if self.restart_file:
            files["config/tmp/.gitignore"] = "*\n!.gitignore\n"
        return files | dict(self.files)


class SampleSite:
    """A site below `base`: `base/<outer>/<name>` is its checkout on branch main, pushed and clean.

    In the outer directory lie `.env` and `index`, the only index; `base/<outer>.git` is the remote. Programs run as
    `user`, if that is given, else as the user who runs the tests.
    """

    __test__ = False
    #: The server that takes the site's mails, where a test looks at those.
    mail_server: MailServer | None = None

    def __init__(
        self, base: Path, *, uv_cache: Path, outer: str = "outer", name: str = "site", user: Identity | None = None
    ) -> None:
        self.base = base
        self.outer = base / outer
        self.path = self.outer / name
        self.link = self.path / ".venv"
        self.state = self.outer / ".releaser" / name
        self.index = self.outer / "index"
        self.remote = base / f"{outer}.git"
        self.user = user
        self.record = base / f"{outer}-tests.jsonl"
        self.env = clean_environment(base / "home", uv_cache, user.programs if user else None)
        self.env["SITE_RECORD"] = str(self.record)
        self._somewhere = base / "somewhere"
        self._somewhere.mkdir(exist_ok=True)

    def releaser(
        self,
        command: str,
        *args: str | Path,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        project: Path | str | None = "",
        check: int | None = None,
    ) -> Finished:
        """Run `releaser COMMAND --project PATH ARGS…` from a directory that has nothing to do with the site.

        `env` is laid over the site's environment (None removes a variable); `project=None` leaves `--project` out;
        `check` is the exit code to expect.
        """
        words = self._words(command, args, project)
        return run(words, cwd=cwd or self._somewhere, env=self.environment(env), check=check)

    def starting(
        self, command: str, *args: str | Path, env: Mapping[str, str | None] | None = None
    ) -> AbstractContextManager["Popen[str]"]:
        """Start releaser and go on; the process is killed at the end of the block if it still runs."""
        return started(self._words(command, args, ""), cwd=self._somewhere, env=self.environment(env))

    def _words(self, command: str, args: Sequence[str | Path], project: Path | str | None) -> list[str | Path]:
        chosen: list[str | Path] = [] if project is None else ["--project", project or self.path]
        program = [self.user.programs / "releaser"] if self.user else releaser_command()
        return [*(self.user.prefix if self.user else ()), *program, *command.split(" "), *chosen, *args]

    def json(self, command: str, *args: str | Path, check: int = 0, env: Mapping[str, str | None] | None = None) -> Any:
        """Run releaser with --json and return its answer."""
        finished = self.releaser(command, "--json", *args, check=check, env=env)
        try:
            return json.loads(finished.stdout)
        except ValueError as error:
            pytest.fail(f"releaser {command} --json printed no JSON ({error})\n{finished}")

    def run(self, *words: str | Path, cwd: Path | None = None, check: int | None = 0) -> Finished:
        """Run any program as the site's user, in the checkout unless `cwd` says otherwise."""
        prefix = self.user.prefix if self.user else ()
        return run([*prefix, *words], cwd=cwd or self.path, env=self.env, check=check)

    def git(self, *args: str | Path, cwd: Path | None = None) -> str:
        """Run git in the checkout; return its output, stripped."""
        return self.run(git_executable(), *args, cwd=cwd).stdout.strip()

    def uv(self, *args: str | Path, cwd: Path | None = None) -> Finished:
        """Run uv in the checkout; it must succeed."""
        program = self.user.programs / "uv" if self.user else uv_executable()
        return self.run(program, *args, cwd=cwd)

    def python(self, code: str) -> str:
        """Run code with `.venv/bin/python`; return its output, stripped."""
        return self.run(self.link / "bin" / "python", "-c", code, cwd=self._somewhere).stdout.strip()

    def environment(self, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """Return the site's environment with `changes` laid over it (None removes)."""
        merged: dict[str, str | None] = {**self.env, **(changes or {})}
        return {name: value for name, value in merged.items() if value is not None}

    def write_dotenv(self, changes: Mapping[str, str | None] | None = None, **settings: str) -> None:
        """Write `.env` again: the defaults, with `changes` laid over them (None removes) and `settings` of releaser."""
        merged: dict[str, str | None] = {**_DOTENV, **(changes or {})}
        merged |= {f"RELEASER_{name.upper()}": value for name, value in settings.items()}
        quoted = {name: "'" + value.replace("'", "\\'") + "'" for name, value in merged.items() if value is not None}
        lines = (f"{name}={value}\n" for name, value in quoted.items())
        self._write(self.outer, {".env": "".join(lines)})

    def edit(self, path: str, text: str) -> Path:
        """Write a file of the checkout; nothing is committed."""
        self._write(self.path, {path: text})
        return self.path / path

    def replace(self, path: str, old: str, new: str) -> str:
        """Replace text in a file of the checkout; return the earlier content."""
        earlier = (self.path / path).read_text(encoding="utf-8")
        assert old in earlier, f"{path} has no {old!r}"
        self.edit(path, earlier.replace(old, new))
        return earlier

    def commit(self, message: str, files: Mapping[str, str] | None = None) -> str:
        """Write `files` (path to text) and commit them, or else all changes; return the commit."""
        self._write(self.path, files or {})
        self.git("add", "--", *(files or ["."]))
        self.git("commit", "--quiet", "--message", message)
        return self.head()

    def push(self) -> None:
        """Push the checkout's branch."""
        self.git("push", "--quiet")

    def push_commit(self, message: str, files: Mapping[str, str] | None = None, *, lock: bool = False) -> str:
        """Commit as `commit` does, with a fresh uv.lock if `lock`, and push; return the commit."""
        self._write(self.path, files or {})
        if lock:
            self.uv("lock", "--quiet")
        commit = self.commit(message, None if lock else files)
        self.push()
        return commit

    def elsewhere(self) -> Path:
        """Return another clone, at the remote's head; `../index` leads to the site's index there, too."""
        clone = self.base / "elsewhere" / self.outer.name / self.path.name
        if clone.exists():
            self.git("fetch", "--quiet", cwd=clone)
            self.git("reset", "--quiet", "--hard", "origin/main", cwd=clone)
            return clone
        self._make(clone.parent)
        self.git("clone", "--quiet", self.remote, clone, cwd=self._somewhere)
        (clone.parent / "index").symlink_to(self.index)
        return clone

    def push_from_elsewhere(
        self,
        files: Mapping[str, str],
        *,
        message: str = "Work from elsewhere",
        lock: bool = False,
        upgrade: bool = False,
        remove: str = "",
    ) -> str:
        """Commit and push `files` (path to text) from another clone; return the commit.

        `lock` makes uv.lock fit again, `upgrade` upgrades it; `remove` is the path of a file to remove.
        """
        clone = self.elsewhere()
        if remove:
            self.git("rm", "--quiet", "--", remove, cwd=clone)
        self._write(clone, files)
        if lock or upgrade:
            self.uv("lock", "--quiet", *(["--upgrade"] if upgrade else []), cwd=clone)
        self.git("add", "--all", "--force", cwd=clone)
        self.git("commit", "--quiet", "--message", message, cwd=clone)
        self.git("push", "--quiet", cwd=clone)
        return self.git("rev-parse", "HEAD", cwd=clone)

    def publish(self, name: str, version: str, *, broken: bool = False, **options: Any) -> None:
        """Offer a version on the index; a `broken` one fails the site's tests."""
        self._give(build_wheel(self.index, name, version, is_broken=broken, **options))

    def update_to(self, version: str, name: str = "alpha") -> str:
        """Publish a version and update; return the id of the release that is live."""
        self.publish(name, version)
        self.releaser("update", check=0)
        return self.live()

    def make_venv(self) -> None:
        """Make `.venv` as a real directory, with uv, from the lock."""
        self.uv("sync", "--quiet", "--frozen", "--group", "local")

    def _write(self, directory: Path, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = directory / name
            self._make(path.parent)
            path.write_text(text, encoding="utf-8")
            self._give(path)

    def _make(self, directory: Path) -> None:
        if not directory.is_dir():
            self._make(directory.parent)
            directory.mkdir()
            self._give(directory)

    def _give(self, path: Path) -> None:
        if self.user:
            os.chown(path, self.user.user, self.user.group, follow_symlinks=False)

    def live(self) -> str:
        """Return the id of the live release, to which the symlink leads."""
        assert self.link.is_symlink(), f"{self.link} is no symlink, so no release is live"
        return self.link.resolve().relative_to((self.state / "releases").resolve()).parts[0]

    def release(self, release: str | None = None) -> Path:
        """Return the directory of a release, by default of the live one."""
        return self.state / "releases" / (release or self.live())

    def versions(self, venv: Path | None = None) -> dict[str, str]:
        """Return the versions of the packages in the live venv, read from its files."""
        infos = (venv or self.link).glob("lib/python*/site-packages/*.dist-info")
        return dict(info.name.removesuffix(".dist-info").split("-", 1) for info in infos)

    def version(self, package: str) -> str:
        """Return the version of a package in the live venv."""
        return self.versions()[module_name(package)]

    def releases(self) -> list[str]:
        """Return the ids of the releases on disk, oldest first."""
        return sorted(path.name for path in (self.state / "releases").iterdir())

    def states(self) -> dict[str, str]:
        """Return the state of each release by its id, newest first, as `list` says it."""
        return {row["id"]: row["state"] for row in self.json("list")}

    def lock(self) -> str:
        """Return the text of uv.lock in the checkout."""
        return (self.path / "uv.lock").read_text(encoding="utf-8")

    def head(self) -> str:
        """Return the commit of the checkout."""
        return self.git("rev-parse", "HEAD")

    def remote_head(self) -> str:
        """Return the commit of the remote's main."""
        return self.git("rev-parse", "main", cwd=self.remote)

    def status(self) -> str:
        """Return what git calls changed or untracked in the checkout; nothing is written."""
        return self.git("--no-optional-locks", "status", "--porcelain", "--untracked-files=all")

    def restarted_at(self) -> int | None:
        """Return the time, in nanoseconds, of the last touch of the restart file; None if it does not exist."""
        file = self.path / "config" / "tmp" / "restart.txt"
        return file.stat().st_mtime_ns if file.exists() else None

    def test_runs(self, event: str = "began") -> list[dict[str, Any]]:
        """Return the runs of the site's tests that began, `passed` or `failed`, with what each has seen."""
        if not self.record.exists():
            return []
        runs = map(json.loads, self.record.read_text(encoding="utf-8").splitlines())
        return [entry for entry in runs if entry["event"] == event]

    def snapshot(self) -> dict[str, str]:
        """Fingerprint everything that people and the web server see: checkout, git, remote, link and live venv."""
        seen = trees.tree(self.path, skip=(".git", ".venv")) | {
            "(branch)": self.git("rev-parse", "--symbolic-full-name", "HEAD"),
            "(commit)": self.head(),
            "(refs)": self.git("for-each-ref", "refs/heads", "refs/stash", "refs/tags"),
            "(status)": self.status(),
            "(restarted at)": str(self.restarted_at()),
            "(link)": trees.fingerprint(self.link),
            "(venv)": trees.digest(self.link.resolve()) if self.link.is_dir() else "absent",
        }
        return seen | {"(remote)": self.git("for-each-ref", cwd=self.remote) if self.remote.exists() else "absent"}

    def copy(self, base: Path, *, outer: str | None = None, name: str | None = None) -> "SampleSite":
        """Copy the site, its remote and its record below another directory."""
        base.mkdir(parents=True, exist_ok=True)
        copied = SampleSite(
            base,
            uv_cache=Path(self.env["UV_CACHE_DIR"]),
            outer=outer or self.outer.name,
            name=name or self.path.name,
            user=self.user,
        )
        shutil.copytree(self.outer, copied.outer, symlinks=True)
        shutil.copytree(self.remote, copied.remote, symlinks=True)
        if self.record.exists():
            shutil.copyfile(self.record, copied.record)
        if copied.path.name != self.path.name:
            (copied.outer / self.path.name).rename(copied.path)
            if self.state.exists():
                pytest.fail("a site with releases keeps its name")
        config = copied.path / ".git" / "config"
        remote = str(copied.remote).replace("\\", "\\\\").replace('"', '\\"')
        text = re.sub(r"(?m)^\turl = .*$", lambda _: f'\turl = "{remote}"', config.read_text("utf-8"))
        config.write_text(text, "utf-8")
        return copied

    def second_host(self) -> "SampleSite":
        """Return the same site on a second host: a clone of the remote with a venv of its own, and the same index."""
        host = SampleSite(
            self.base, uv_cache=Path(self.env["UV_CACHE_DIR"]), outer="second-host", name=self.path.name, user=self.user
        )
        host.remote = self.remote
        host._make(host.outer)
        host.git("clone", "--quiet", self.remote, host.path, cwd=self._somewhere)
        host._make(host.path / "config" / "tmp")
        host.index.symlink_to(self.index)
        host.write_dotenv()
        return host


class SiteFactory:
    """Makes sites below the directory of one test; templates are made once in a session."""

    def __init__(self, base: Path, templates: "Templates") -> None:
        self._base = base
        self._templates = templates

    def __call__(
        self,
        *,
        outer: str = "outer",
        name: str = "site",
        dotenv: Mapping[str, str | None] | None = None,
        **options: Any,
    ) -> SampleSite:
        """Make a site without a venv; `options` are the fields of `SiteOptions`, `dotenv` changes `.env`."""
        site = self._templates.fresh(SiteOptions(**options)).copy(self._base, outer=outer, name=name)
        site.write_dotenv(dotenv)
        return site

    def live(
        self, *versions: str, dotenv: Mapping[str, str | None] | None = None, due: str = "", **options: Any
    ) -> SampleSite:
        """Make a site with a first release, updated to each of these versions of alpha; `due` is offered afterwards."""
        site = self._templates.live(SiteOptions(**options), versions).copy(self._base)
        site.record.unlink(missing_ok=True)
        site.write_dotenv(dotenv)
        if due:
            site.publish("alpha", due)
        return site

    def of_user(
        self, user: Identity, base: Path, prepare: Callable[[SampleSite], object] = lambda site: None
    ) -> SampleSite:
        """Make a site of an ordinary user, with a first release, below `base`; `prepare` changes it before that."""
        base.chmod(0o755)
        self._templates.fresh(SiteOptions()).copy(base).write_dotenv()
        site = SampleSite(base, uv_cache=base / "uv-cache", user=user)
        user.own(base)
        prepare(site)
        site.releaser("init", check=0)
        site.record.unlink()
        return site


class Templates:
    """The sites that others are copied from; the workers of pytest-xdist share them in `directory`."""

    def __init__(self, directory: Path, uv_cache: Path) -> None:
        self._directory = directory
        self._uv_cache = uv_cache

    def fresh(self, options: SiteOptions) -> SampleSite:
        """Return a site without a venv."""
        place = self._place(repr(options))
        with FileLock(f"{place}.lock"):
            if not place.exists():
                self._make_fresh(options).base.rename(place)
            return SampleSite(place, uv_cache=self._uv_cache)

    def live(self, options: SiteOptions, versions: Sequence[str]) -> SampleSite:
        """Return a site that was initialised and updated to these versions of alpha."""
        place = self._place(f"{options!r} {versions!r}")
        with FileLock(f"{place}.lock"):
            if not place.exists():
                earlier = self.live(options, versions[:-1]) if versions else self.fresh(options)
                site = earlier.copy(self._new_place())
                if versions:
                    site.update_to(versions[-1])
                else:
                    site.releaser("init", check=0)
                site.base.rename(place)
            return SampleSite(place, uv_cache=self._uv_cache)

    def _make_fresh(self, options: SiteOptions) -> SampleSite:
        site = SampleSite(self._new_place(), uv_cache=self._uv_cache)
        site.index.mkdir(parents=True)
        for name, version in ({"localtools": "1.0.0", "prodtools": "1.0.0"} | dict(options.packages)).items():
            site.publish(name, version)
        for name, text in options.checkout().items():
            site.edit(name, text)
        site.write_dotenv()
        site.uv("lock", "--quiet")
        site.git("init", "--quiet", "--bare", "--template=", site.remote)
        site.git("init", "--quiet", "--template=")
        site.edit(".git/info/exclude", "# Ignored in this clone alone.\n")
        site.git("add", "--all")
        site.git("commit", "--quiet", "--message", "Begin the site")
        site.git("remote", "add", "origin", site.remote)
        site.git("push", "--quiet", "--set-upstream", "origin", "main")
        return site

    def _place(self, key: str) -> Path:
        return self._directory / hashlib.sha256(key.encode()).hexdigest()

    def _new_place(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._directory))


@contextmanager
def user_directory() -> Iterator[Path]:
    """Give a directory that every user may enter; pytest's own directories are for one user alone."""
    with tempfile.TemporaryDirectory(prefix="site-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)
