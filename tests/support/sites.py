"""A realistic site: checkout, bare remote, `.env`, an index of wheels; and the installed releaser to run."""

from __future__ import annotations

import ast
import email
import email.policy
import json
import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

import pytest
from msgspec import ValidationError, convert

from releaser.answers import RUN, all_answers
from releaser.capabilities import gather
from releaser.site.settings import SPECS
from releaser.system.files import plain
from tests.support import snapshots
from tests.support.commands import clean_environment, console_script, git_executable, run, uv_executable
from tests.support.layouts import SHARED_LIBRARY, SiteOptions
from tests.support.templates import REMOTE, write_files
from tests.support.wheels import LocalIndex, WheelOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from email.message import EmailMessage

    from tests.support.commands import Finished
    from tests.support.templates import Templates

# What a broken version breaks: importing it, or a command of manage.py.
Breakage = Literal["import", "test", "check", "collectstatic"]

TESTS = "site_tests.py"
RED_TESTS = 'def test_shop(packages):\n    assert not packages, "the shop is closed"\n'
_DOTENV = {
    "ADMINS_JSON": '[["Ada","ada@example.org"]]',
    "RELEASER_ENVIRONMENT": "local",  # else the name of the host that runs the tests would decide
    "RELEASER_HEALTH_SECONDS": "0",  # else each test with a health check would take ten seconds more
    "RELEASER_KEEP_AT_LEAST": "0",  # else nothing would be pruned that a test makes
    "RELEASER_MAIL_FROM": "releaser@example.org",
    "RELEASER_SENDMAIL": "none",  # else a host with a mail server would send what tests mail
    "RELEASER_VULNERABILITY_SERVICE": "none",  # else the network would be asked
    "RELEASER_TEST_WRITABLE": "../..",  # in the sandbox, as by default, but free to record beside the site what was run
}
for _gone in {"health_seconds", "test_writable"} - SPECS.keys():  # the capability is left out
    del _DOTENV[f"RELEASER_{_gone.upper()}"]


@dataclass(frozen=True, kw_only=True)
class ManageRun:
    """One run of the site's manage.py: its arguments, and the environment and packages that it saw."""

    argv: tuple[str, ...]
    prefix: str
    cwd: str
    env: Mapping[str, str]
    versions: Mapping[str, str]


class SampleSite:
    """One site below `base`: `base/<outer>/<project>` is the checkout, on branch main, pushed and clean.

    Beside it lie `.env`, `remote.git` and, with the default options, `index`.
    """

    __test__ = False

    def __init__(self, base: Path, *, outer: str, name: str, link: str, options: SiteOptions, uv_cache: Path) -> None:
        self.outer = base / outer
        self.path = self.outer / name
        self.link = Path(os.path.normpath(self.path / link))
        self.options = options
        self.index = LocalIndex(self.outer / options.index_in_outer.format(project=name))
        self.remote = self.outer / REMOTE
        self.state_dir = self.outer / ".releaser" / name
        self.common_library = self.outer / SHARED_LIBRARY
        self._base = base
        self._original_tests = (self.path / TESTS).read_text(encoding="utf-8")
        self._runs = base / f"{outer}-manage-runs"
        self.env = clean_environment(base / "home", uv_cache) | {"SAMPLE_SITE_RUNS": str(self._runs)}

    def releaser(
        self,
        command: str,
        *args: str | Path,
        env: Mapping[str, str | None] | None = None,
        check: int | None = None,
        timeout: float = 120,
        input: str | None = None,  # noqa: A002 - the name that subprocess gives it
    ) -> Finished:
        """Run the installed `releaser COMMAND --project <checkout> ARGS...` from another directory.

        `env` is laid over `self.env` (None removes a variable); `check` is the status that is expected.
        """
        project: list[str | Path] = [] if command.startswith("-") else ["--project", self.path]
        return run(
            [console_script(), *command.split(" "), *project, *args],
            cwd=self._somewhere(),
            env=self.environment(env),
            timeout=timeout,
            input=input,
            check=check,
        )

    def json(self, command: str, *args: str | Path, check: int = 0, env: Mapping[str, str | None] | None = None) -> Any:
        """Run releaser with --json and return what it printed, which must be what the types of the answers say."""
        finished = self.releaser(command, "--json", *args, check=check, env=env)
        try:
            answer = json.loads(finished.stdout)
        except ValueError as error:
            pytest.fail(f"releaser {command} --json printed no JSON ({error})\n{finished}")
        if wrong := _mismatch(command, answer):
            pytest.fail(f"releaser {command} --json printed what its types do not say: {wrong}\n{finished}")
        return answer

    def git(self, *args: str | Path) -> str:
        """Run git in the checkout; return what it printed, stripped."""
        return self._git(self.path, *args)

    def uv(self, *args: str | Path) -> Finished:
        """Run uv in the checkout; it must succeed. The environment of the project is `link`."""
        return self._uv(self.path, *args)

    def environment(self, extra: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """Return `self.env` with `extra` laid over it."""
        merged: dict[str, str | None] = {**self.env, **(extra or {})}
        return {name: value for name, value in merged.items() if value is not None}

    def write_dotenv(self, changes: Mapping[str, str | None] | None = None) -> None:
        """Write `.env` again: the defaults, and `changes` laid over them (None removes)."""
        merged: dict[str, str | None] = {**_DOTENV, **(changes or {})}
        lines = (f"{name}={_quoted(value)}\n" for name, value in merged.items() if value is not None)
        (self.outer / ".env").write_text("".join(lines), encoding="utf-8")

    def make_venv(self, group: str = "local") -> None:
        """Make a real virtual environment at `link`, from the lock."""
        self.uv("sync", "--quiet", "--frozen", "--group", group)

    def edit(self, path: str, text: str) -> None:
        """Write a file of the checkout; nothing is committed."""
        write_files(self.path, {path: text})

    def commit(self, message: str, files: Mapping[str, str] | None = None) -> str:
        """Write `files` (path to text) and commit them, or else whatever changed; return the commit."""
        write_files(self.path, files or {})
        self.git("add", "--", *(files or ["."]))
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def push(self) -> None:
        self.git("push", "--quiet")

    def adopt(self) -> None:
        """Make a venv, and adopt it."""
        self.make_venv()
        self.releaser("init", check=0)

    def push_commit(self, message: str, files: Mapping[str, str] | None = None, *, lock: bool = False) -> str:
        """Commit as `commit` does, with a fresh uv.lock if `lock`, and push."""
        if lock:
            self.uv("lock", "--quiet")
        commit = self.commit(message, files)
        self.push()
        return commit

    def push_from_elsewhere(
        self,
        files: Mapping[str, str],
        *,
        message: str = "Work from elsewhere",
        lock: bool = False,
        remove: Sequence[str] = (),
    ) -> str:
        """Commit and push `files` from another clone, without those to `remove`, with a fresh uv.lock if `lock`.

        Returns the commit.
        """
        clone = self._clone_elsewhere()
        if remove:
            self._git(clone, "rm", "--quiet", "--", *remove)
        write_files(clone, files)
        if lock:
            self._uv(clone, "lock", "--quiet")
        self._git(clone, "add", "--", *files, *(["uv.lock"] if lock else []))
        self._git(clone, "commit", "--quiet", "--message", message)
        self._git(clone, "push", "--quiet")
        return self._git(clone, "rev-parse", "HEAD")

    def break_tests(self) -> str:
        """Commit and push tests that fail with whatever packages; return the commit."""
        return self.push_commit("Break the tests", {TESTS: RED_TESTS})

    def mend_tests(self) -> str:
        """Commit and push the tests as they were; return the commit."""
        return self.push_commit("Mend the tests", {TESTS: self._original_tests})

    def publish(
        self, name: str, version: str, *, broken: bool | Breakage = False, **options: Unpack[WheelOptions]
    ) -> Path:
        """Offer a version on the index; `broken` names what it breaks (True: the site's tests)."""
        if broken:
            breakage = "test" if broken is True else broken
            options["modules"] = {f"{name.replace('-', '_')}/__init__.py": _broken_module(name, version, breakage)}
        return self.index.publish(name, version, **options)

    def update_to(self, name: str, version: str) -> None:
        """Offer a version on the index, and update the site."""
        self.publish(name, version)
        self.releaser("update", check=0)

    def withdraw(self, name: str, version: str) -> None:
        self.index.withdraw(name, version)

    def python(self, code: str) -> str:
        """Run Python code in the live environment; return what it printed, stripped."""
        program = self.link / "bin" / "python"
        return run([program, "-c", code], cwd=self._somewhere(), env=self.env, check=0).stdout.strip()

    def live_version(self, package: str) -> str:
        """Return the version of a package in the live environment; it is read, as starting Python takes a while."""
        (found,) = self.link.glob(f"lib/python*/site-packages/{package.replace('-', '_')}-*.dist-info")
        return found.name.removesuffix(".dist-info").rpartition("-")[2]

    def live_id(self) -> str:
        """Return the id of the release that `link` leads to."""
        assert self.link.is_symlink(), f"{self.link} is no symlink, so no release is live"
        return self.link.resolve().relative_to((self.state_dir / "releases").resolve()).parts[0]

    def lock_text(self) -> str:
        """Return uv.lock of the checkout."""
        return (self.path / "uv.lock").read_text(encoding="utf-8")

    def releases(self) -> list[str]:
        """Return the ids of the releases that are on disk, oldest first."""
        return sorted(path.name for path in (self.state_dir / "releases").iterdir())

    def head(self) -> str:
        """Return the commit that the checkout is at."""
        return self.git("rev-parse", "HEAD")

    def remote_head(self) -> str:
        """Return the commit that the remote's main is at."""
        return self._git(self.remote, "rev-parse", "main")

    def static_versions(self) -> dict[str, str] | None:
        """Return what collectstatic left: the version of each package; None if it never ran."""
        marker = self.path / "static_out" / "versions.json"
        return json.loads(marker.read_text(encoding="utf-8")) if marker.exists() else None

    def restarted_at(self) -> int | None:
        """Return when the web server was last told to restart, in nanoseconds; None if never."""
        file = self.path / "config" / "tmp" / "restart.txt"
        return file.stat().st_mtime_ns if file.exists() else None

    def manage_runs(self, command: str | None = None) -> list[ManageRun]:
        """Return the runs of manage.py so far, oldest first; only those of `command` if it is given.

        Questions, by `shell`, which write nothing, are left out unless they are asked for.
        """
        if not self._runs.exists():
            return []
        lines = self._runs.read_text(encoding="utf-8").splitlines()
        runs = [ManageRun(**run) for run in map(ast.literal_eval, lines)]
        return [run for run in runs if (run.argv[0] != "shell" if command is None else run.argv[:1] == (command,))]

    def passed_tests(self) -> list[dict[str, Any]]:
        """Return with what all tests of the site have passed so far: `release`, `versions`."""
        record = Path(f"{self._runs}.passed")
        if not record.exists():
            return []
        return [ast.literal_eval(line) for line in record.read_text(encoding="utf-8").splitlines()]

    def copy(self, base: Path) -> SampleSite:
        """Copy the site below another directory; links in it are relative, and a venv finds itself again there."""
        shutil.copytree(self.outer, base / self.outer.name, symlinks=True)
        copied = self.moved(base)
        record = Path(f"{self._runs}.passed")
        if record.exists():
            shutil.copyfile(record, f"{copied._runs}.passed")
        return copied

    def moved(self, base: Path) -> SampleSite:
        """Return the copy of the site that lies below another directory."""
        link, uv_cache = os.path.relpath(self.link, self.path), Path(self.env["UV_CACHE_DIR"])
        return SampleSite(
            base, outer=self.outer.name, name=self.path.name, link=link, options=self.options, uv_cache=uv_cache
        )

    def outbox_mails(self) -> list[EmailMessage]:
        """Return the mails that lie in the outbox, oldest first."""
        outbox = self.state_dir / "outbox"
        files = [path for place in ("new", "cur") for path in (outbox / place).glob("*")]
        files.sort(key=lambda path: (path.stat().st_mtime_ns, path.name))
        return [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in files]

    def snapshot(self) -> dict[str, str]:
        """Fingerprint the checkout, git's view of it, and the live environment, byte-code files left out.

        Two equal snapshots mean: byte for byte what it was. The request to restart counts too.
        """
        found = snapshots.tree(self.path, skip=(".git", self.link.name))
        return found | {
            "(branch)": self.git("rev-parse", "--symbolic-full-name", "HEAD"),
            "(commit)": self.head(),
            "(status)": self.git("--no-optional-locks", "status", "--porcelain", "--untracked-files=all"),
            "(restarted at)": str(self.restarted_at()),
            "(link)": snapshots.fingerprint(self.link),
            "(venv)": snapshots.digest(self.link.resolve()) if self.link.exists() else "absent",
        }

    def _somewhere(self) -> Path:
        """Return a directory that has nothing to do with the site."""
        directory = self._base / "somewhere"
        directory.mkdir(exist_ok=True)
        return directory

    def _git(self, directory: Path, *args: str | Path) -> str:
        return run([git_executable(), *args], cwd=directory, env=self.env, check=0).stdout.strip()

    def _uv(self, directory: Path, *args: str | Path) -> Finished:
        env = self.environment({"UV_PROJECT_ENVIRONMENT": str(self.link)})
        return run([uv_executable(), *args], cwd=directory, env=env, check=0)

    def _clone_elsewhere(self) -> Path:
        """Return another server's clone, at the remote's main; `../index` leads to the same index there."""
        outer = self._base / "elsewhere" / self.outer.name
        clone = outer / self.path.name
        if clone.exists():
            self._git(clone, "fetch", "--quiet")
            self._git(clone, "reset", "--quiet", "--hard", "origin/main")
            return clone
        self._git(self._somewhere(), "clone", "--quiet", self.remote, clone)
        for key, value in (("user.name", "Edsger"), ("user.email", "edsger@example.org")):
            self._git(clone, "config", key, value)
        (outer / self.index.path.relative_to(self.outer)).symlink_to(self.index.path)
        if self.common_library.exists():
            (outer / SHARED_LIBRARY).symlink_to(self.common_library)
        return clone


class SiteFactory:
    """Makes sites in the temporary directory of one test."""

    def __init__(self, base: Path, templates: Templates) -> None:
        self._base = base
        self._templates = templates

    def __call__(
        self,
        name: str = "site",
        *,
        outer: str = "outer",
        link: str = ".venv",
        dotenv: Mapping[str, str | None] | None = None,
        venv: bool = False,
        **options: Any,
    ) -> SampleSite:
        """Make a site whose checkout is called `name`; `options` are the fields of `SiteOptions`.

        `link` is the name of the live environment, which with `venv` is made as a real directory; `dotenv`
        changes `.env`. Several sites in one test need different values of `outer`.
        """
        chosen = SiteOptions(**options)
        self._templates.copy(chosen, self._base / outer, name)
        site = SampleSite(
            self._base, outer=outer, name=name, link=link, options=chosen, uv_cache=self._templates.uv_cache
        )
        site.write_dotenv(dotenv)
        if venv:
            site.make_venv()
        return site

    def adopted(
        self,
        *versions: str,
        prepare: Callable[[SampleSite], object] | None = None,
        dotenv: Mapping[str, str | None] | None = None,
        due: str = "",
        **options: Any,
    ) -> SampleSite:
        """Make a site with a venv that was adopted, updated to each of these versions of alpha, and then prepared.

        It is a copy of one that is made once a session; `dotenv` holds from then on, and alpha `due` is offered.
        """
        if options.get("kind", "plain") != "plain":  # whose venv names the very place of the checkout
            site = self._adopt(versions, prepare, options)
        else:
            key = (versions, prepare, repr(options))
            site = self.copied(key, lambda factory: factory._adopt(versions, prepare, options))
        site.write_dotenv(dotenv)
        if due:
            site.publish("alpha", due)
        return site

    def copied(self, key: object, make: Callable[[SiteFactory], SampleSite]) -> SampleSite:
        """Copy a site that is made once a session, and known by `key`."""
        made = self._templates.made
        if key not in made:
            made[key] = make(SiteFactory(self._templates.new_place(), self._templates))
        return made[key].copy(self._base)

    def _adopt(
        self, versions: Sequence[str], prepare: Callable[[SampleSite], object] | None, options: Mapping[str, Any]
    ) -> SampleSite:
        site = self(venv=bool(gather("adopters")), **options)  # else `init` builds the first release
        site.releaser("init", check=0)
        for version in versions:
            site.publish("alpha", version)
            site.releaser("update", check=0)
        if prepare is not None:
            prepare(site)
        return site


def variables(**settings: object) -> dict[str, str | None]:
    """Return settings as variables of `.env`: for a site that has them there, none has to be made and adopted anew."""
    texts = {name: shlex.join(value) if isinstance(value, list) else _text(value) for name, value in settings.items()}
    return {f"RELEASER_{name.upper()}": text for name, text in texts.items()}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "\\'") + "'"


def _mismatch(command: str, answer: Any) -> str:
    """Say in which way an answer is none of those that the command gives; empty if it is one."""
    told = [{**run, "output": ""} for run in answer] if command == "history" else answer
    reasons = [] if command in all_answers() else ["releaser/answers.py does not name it, and it is no run"]
    for kind in all_answers().get(command, RUN):
        try:
            read = convert(told, kind)
        except ValidationError as error:
            reasons.append(f"not {kind}: {error}")
        else:
            again = json.loads(json.dumps(read, default=plain))
            if again == told:
                return ""
            reasons.append(f"not {kind}: it has other fields: {_difference(told, again)}")
    return "; ".join(reasons)


def _difference(told: Any, again: Any) -> str:
    if isinstance(told, list):
        return next((_difference(*pair) for pair in zip(told, again, strict=True) if pair[0] != pair[1]), "")
    return ", ".join(sorted(key for key in {**told, **again} if told.get(key, ...) != again.get(key, ...)))


def _broken_module(name: str, version: str, breakage: Breakage) -> str:
    lines = [f'__version__ = "{version}"', f'BROKEN = "{breakage}"']
    if breakage == "import":
        lines.append(f'raise ImportError("{name} {version} cannot be imported")')
    return "\n".join(lines) + "\n"
