"""Real users of this machine, made for a test, and what they do with a site of one of them."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.test_group_use import base_python, script_of
from tests.support.commands import Finished, run
from tests.support.guards import require
from tests.support.hosts import unused_name
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import Templates

_MARK = unused_name()
OWNER, MEMBER, STRANGER, TEAM = (f"{_MARK}-{name}" for name in ("own", "mem", "str", "team"))


@dataclass(frozen=True, kw_only=True)
class People:
    """The owner of a site, a member of the owner's group, and a stranger: all with homes of their own."""

    base: Path

    def of(self, name: str) -> pwd.struct_passwd:
        """Return what the machine knows of one of them."""
        return pwd.getpwnam(name)

    def give(self, site: SampleSite, owner: str, *, group: str = "") -> None:
        """Let all of a site be of one of them; with a `group`, open to that."""
        to = f"{owner}:{group or self.of(owner).pw_gid}"
        run(["chown", "-hR", to, site.outer, site.remote], cwd=self.base, env=os.environ, check=0)
        if group:
            run(["chmod", "-R", "g+rwX", site.outer, site.remote], cwd=self.base, env=os.environ, check=0)
            run(["find", site.outer, "-type", "d", "-exec", "chmod", "g+s", "{}", "+"], cwd=self.base, env=os.environ)

    def by(
        self,
        name: str,
        site: SampleSite,
        *words: str | Path,
        check: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Finished:
        """Run releaser as one of them, or as root."""
        command = [base_python(), script_of(site), words[0], "--project", site.path, *words[1:]]
        return self.run_as(name, *command, env={**self.environment(name, site), **(env or {})}, check=check)

    def run_as(self, name: str, *words: str | Path, env: Mapping[str, str], check: int | None = None) -> Finished:
        """Run a program as one of them, or as root."""
        become = (
            ["setpriv", "--groups=0"]  # as root has it after a login
            if name == "root"
            else ["setpriv", f"--reuid={name}", f"--regid={self.of(name).pw_gid}", "--init-groups"]
        )
        return run([*become, *words], cwd=Path("/"), env=env, check=check, timeout=180)

    def environment(self, name: str, site: SampleSite) -> dict[str, str]:
        """Return the environment of one of them, in which the releaser that all may start is found."""
        home = "/root" if name == "root" else self.of(name).pw_dir
        paths = {"HOME": home, "UV_CACHE_DIR": f"{home}/cache", "PYTHONPATH": str(script_of(site).parent.parent)}
        return site.environment({**paths, "SAMPLE_SITE_RUNS": f"{home}/runs"})


@contextlib.contextmanager
def made() -> Iterator[People]:
    """Make the users, and delete them at the end."""
    require(os.geteuid() == 0 and shutil.which("setpriv") and shutil.which("useradd"), "only root can make users")
    require(Path(base_python()).exists(), "an interpreter that everybody may start is needed")
    base = Path(tempfile.mkdtemp(prefix="people-"))  # pytest's own directories are for one user alone
    base.chmod(0o755)
    call = subprocess.check_call
    try:
        call(["groupadd", TEAM])
        for name in (OWNER, MEMBER, STRANGER):
            groups = [] if name == STRANGER else ["--groups", TEAM]
            call(["useradd", "--create-home", "--home-dir", base / name, "--user-group", *groups, name])
        yield People(base=base)
    finally:
        for name in (OWNER, MEMBER, STRANGER):
            subprocess.call(["userdel", name], stderr=subprocess.DEVNULL)
        subprocess.call(["groupdel", TEAM], stderr=subprocess.DEVNULL)
        shutil.rmtree(base)


def a_site(
    people: People, templates: Templates, everybodys: Path, name: str = "outer", *, group: str = ""
) -> SampleSite:
    """Make a site of the owner's, with two releases."""
    settings = {"python": base_python(), "collectstatic": "off", "git_pull": False, "group_writable": bool(group)}
    site = SiteFactory(people.base, templates)(outer=name, settings=settings)
    site.env["PATH"] = f"{everybodys / 'bin'}:{site.env['PATH']}"
    with Path(site.env["GIT_CONFIG_GLOBAL"]).open("a", encoding="utf-8") as config:
        config.write("[safe]\n\tdirectory = *\n")
    if group:
        for repository in (site.path, site.remote):
            run(["git", "-C", repository, "config", "core.sharedRepository", "group"], cwd=people.base, env=site.env)
    people.give(site, OWNER, group=group)
    people.by(OWNER, site, "init", check=0)
    site.publish("alpha", "1.1.0")
    people.by(OWNER, site, "update", check=0)
    return site
