"""Configurations of git that people have: none stops an update, fakes an edit, or stops a service for nothing.

Each goes through an update that brings a commit and a package, a rollback, and an update that brings another package.
"""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.scenes import make_hook
from tests.support.guards import require
from tests.support.sites import SampleSite, SiteFactory


def config(*pairs: str) -> Callable[[SampleSite], None]:
    """Return what sets these in the repository, each as NAME=VALUE."""

    def put(site: SampleSite) -> None:
        for pair in pairs:
            name, _, value = pair.partition("=")
            site.git("config", "--add", name, value)

    return put


def attributes(*lines: str) -> Callable[[SampleSite], None]:
    """Return what commits and pushes these lines as .gitattributes, and checks the files out as they then are."""

    def put(site: SampleSite) -> None:
        site.push_commit("Attributes", {".gitattributes": "".join(f"{line}\n" for line in lines)})
        check_out_again(site)

    return put


def check_out_again(site: SampleSite) -> None:
    """Check all files out, as a clone with this configuration has them."""
    for path in site.git("ls-files", "-z").split("\0"):
        if path:
            (site.path / path).unlink()
    site.git("checkout", "--quiet", "--", ".")
    assert site.git("status", "--porcelain") == ""


def both(*puts: Callable[[SampleSite], None]) -> Callable[[SampleSite], None]:
    """Return what does one after the other."""

    def put(site: SampleSite) -> None:
        for one in puts:
            one(site)

    return put


def signing(*pairs: str) -> Callable[[SampleSite], None]:
    """Return what lets each commit be signed with a key of ssh that the repository trusts, elsewhere too."""

    def put(site: SampleSite) -> None:
        key, trusted = site.outer / "key", site.outer / "trusted"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        public = key.with_suffix(".pub").read_text(encoding="utf-8")
        trusted.write_text(f'* namespaces="git" {public}', encoding="utf-8")
        clone = site._clone_elsewhere()
        named = [f"user.signingKey={key}", "gpg.format=ssh", f"gpg.ssh.allowedSignersFile={trusted}"]
        config(*named, *pairs)(site)
        for pair in [*named, "commit.gpgSign=true"]:
            name, _, value = pair.partition("=")
            subprocess.run(["git", "-C", str(clone), "config", name, value], check=True, env=site.env)

    return put


def shallow(site: SampleSite) -> None:
    """Let the checkout have no history before what is live."""
    site.push_commit("More", {"more.txt": "more\n"})
    site.releaser("rebuild", check=0)
    site.git("fetch", "--quiet", "--depth=1", f"file://{site.remote}", "main")
    site.git("reflog", "expire", "--expire=all", "--all")


def sparse(site: SampleSite) -> None:
    """Leave a directory out of the checkout."""
    site.push_commit("Docs", {"docs/index.txt": "docs\n", "docs/more.txt": "docs\n"})
    site.git("sparse-checkout", "set", "--no-cone", "/*", "!/docs/")
    assert not (site.path / "docs").exists()


def hooks(site: SampleSite) -> None:
    """Let each hook print something and fail."""
    for name in ("pre-commit", "commit-msg", "pre-push", "post-checkout", "post-merge", "reference-transaction"):
        make_hook(site.outer, name, "echo a hook speaks; exit 1")
    config(f"core.hooksPath={site.outer / 'hooks'}")(site)


@dataclass(frozen=True)
class Row:
    """A configuration, and what it changes in the end."""

    put: Callable[[SampleSite], None]
    dotenv: tuple[tuple[str, str], ...] = ()


QUICK = {"signatures are shown", "core.autocrlf"}
ALIASES = ("status", "log", "diff", "merge", "fetch", "commit", "cat-file", "rev-parse")
LARGE = ("filter.lfs.clean=git-lfs clean -- %f", "filter.lfs.smudge=git-lfs smudge -- %f", "filter.lfs.required=true")
# In this order, a spread has those that set the most.
ROWS: dict[str, Row] = {
    "signatures are shown": Row(signing("log.showSignature=true", "commit.gpgSign=true", "tag.gpgSign=true")),
    "core.autocrlf": Row(both(config("core.autocrlf=true"), check_out_again)),
    "what is shown and compared": Row(
        config("status.showUntrackedFiles=no", "status.short=true", "status.branch=true", "status.relativePaths=false",
               "status.showStash=true", "status.submoduleSummary=true", "status.renames=copies",
               "color.ui=always", "color.status=always", "color.diff=always", "color.branch=always",
               "core.quotePath=true", "core.precomposeUnicode=true", "core.commentChar=U", "core.pager=false",
               "pager.log=true", "pager.diff=true", "pager.status=true", "advice.detachedHead=true",
               "advice.statusHints=false", "advice.addIgnoredFile=true",
               "diff.external=false", "diff.noprefix=true", "diff.mnemonicPrefix=true", "diff.renames=copies",
               "diff.relative=true", "diff.ignoreSubmodules=all", "diff.algorithm=histogram", "diff.context=0",
               "diff.wsErrorHighlight=all", "diff.orderFile=/dev/null", "interactive.diffFilter=cat",
               "log.date=relative", "format.pretty=oneline", "log.decorate=full", "log.follow=true", "log.mailmap=true",
               "log.abbrevCommit=true", "core.abbrev=4", "log.diffMerges=on", "log.showRoot=false",
               "i18n.commitEncoding=ISO-8859-1", "i18n.logOutputEncoding=ISO-8859-1")
    ),
    "signatures are verified": Row(signing("merge.verifySignatures=true", "commit.gpgSign=true")),
    "pulls, fetches, pushes, checkouts and commits": Row(
        config("pull.rebase=true", "pull.ff=only", "rebase.autoStash=true", "merge.autoStash=true", "merge.ff=false",
               "branch.main.rebase=true", "branch.main.mergeOptions=--no-ff --no-commit",
               "branch.autoSetupRebase=always", "merge.conflictStyle=diff3", "merge.stat=true", "merge.log=true",
               "rerere.enabled=true", "rerere.autoUpdate=true",
               "push.default=nothing", "push.followTags=true", "push.gpgSign=true", "push.recurseSubmodules=check",
               "push.autoSetupRemote=true",
               "fetch.prune=true", "fetch.pruneTags=true", "transfer.fsckObjects=true", "fetch.writeCommitGraph=true",
               "fetch.recurseSubmodules=true", "fetch.parallel=0", "remote.origin.tagOpt=--tags",
               "submodule.recurse=true", "submodule.propagateBranches=true",
               "checkout.workers=4", "checkout.defaultRemote=other", "core.preloadIndex=false",
               "core.checkStat=minimal", "gc.auto=1", "maintenance.auto=true", "core.logAllRefUpdates=false",
               "core.sharedRepository=group", "safe.directory=/nowhere", "safe.bareRepository=explicit",
               "commit.template=/nonexistent", "commit.verbose=true", "commit.cleanup=scissors", "core.editor=false")
    ),
    "a sparse checkout": Row(sparse),
    "hooks that fail": Row(hooks),
    "the index, files, LFS, and aliases of commands": Row(
        config("core.fsmonitor=true", "core.untrackedCache=true", "core.splitIndex=true", "index.version=4",
               "feature.manyFiles=true",
               "core.fileMode=false", "core.symlinks=false", "core.ignoreCase=true", "core.trustctime=false",
               *LARGE, *(f"alias.{name}=!false" for name in ALIASES))
    ),
    "a shallow clone": Row(shallow),
    "filters of the files": Row(
        both(config("filter.shout.smudge=tr a-z A-Z", "filter.shout.clean=tr A-Z a-z"),
             attributes("news.txt filter=shout")),
        dotenv=(("RELEASER_GIT_HOOKS", "true"),),
    ),
}  # fmt: skip


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", [pytest.param(one, marks=pytest.mark.story) if one in QUICK else one for one in ROWS])
def test_update_rollback_update(make_site: SiteFactory, name: str) -> None:
    row = ROWS[name]
    site = make_site.adopted()
    script = site.outer / "service.sh"
    script.write_text(f'echo "$1" >>{site.outer / "service"}\n', encoding="utf-8")
    commands = {f"RELEASER_{one.upper()}": f"sh {script} {one}" for one in ("stop", "start")}
    site.write_dotenv(commands | dict(row.dotenv))
    site.git("tag", "-m", "of a person", "mine")
    row.put(site)
    first, stops = site.live_id(), stopped(site)
    assert site.releaser("check").returncode == 0

    new = site.push_from_elsewhere({"news.txt": "new\n"})
    site.publish("alpha", "1.1.0")
    updated = site.json("update")
    second = site.live_id()
    assert (updated["problems"], site.live_version("alpha")) == ([], "1.1.0")
    assert new in site.git("-c", "log.showSignature=false", "log", "--format=%H").splitlines()
    assert (second != first, site.remote_head()) == (True, site.head())
    assert edits(site) == []
    lock = committed(site, "uv.lock")

    back = site.releaser("rollback", check=0)
    assert "had edits" not in back.stderr
    assert (site.live_id(), site.live_version("alpha")) == (first, "1.0.0")
    assert (committed(site, "uv.lock") != lock, (site.path / "news.txt").exists()) == (True, False)
    assert edits(site) == []

    site.publish("beta", "1.1.0")
    again = site.json("update")
    assert (again["problems"], site.live_version("beta"), site.live_version("alpha")) == ([], "1.1.0", "1.0.0")
    assert edits(site) == []
    assert not [*site.state_dir.glob("uv.lock-*")]
    assert stopped(site) == stops + 3
    assert remote_tags(site) == ""
    quiet = site.releaser("update", check=0)
    assert (quiet.stdout, quiet.stderr, stopped(site)) == ("", "", stops + 3)


def edits(site: SampleSite) -> list[str]:
    """Return what is not as committed, as git sees it without the configuration of status."""
    return site.git("status", "--porcelain=v2", "--untracked-files=no", "--no-show-stash").splitlines()


def committed(site: SampleSite, path: str) -> str:
    """Return a file as it is in HEAD."""
    return site.git("cat-file", "blob", f"HEAD:{path}")


def stopped(site: SampleSite) -> int:
    """Return how often the service was stopped; each time it was started again."""
    with contextlib.suppress(FileNotFoundError):
        calls = (site.outer / "service").read_text(encoding="utf-8").split()
        assert calls == ["stop", "start"] * (len(calls) // 2)
        return calls.count("stop")
    return 0


def remote_tags(site: SampleSite) -> str:
    """Return the tags of the remote."""
    found = subprocess.run(["git", "-C", str(site.remote), "tag"], check=True, capture_output=True, text=True)
    return found.stdout.strip()


def test_a_repository_that_is_read_only_is_refused_before_anything_is_stopped(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0", dotenv={"RELEASER_STOP": "touch ../stopped", "RELEASER_START": "true"})
    site.push_from_elsewhere({"news.txt": "new\n"})
    live = site.live_id()
    with read_only(site.path / ".git"):
        for command in ("check", "update", "update --dry-run"):
            finished = site.releaser(command, check=3)
            told = finished.stdout + finished.stderr
            assert f"this user cannot write to {site.path / '.git'}" in told, finished
            assert "chown" in told or "remount" in told
    assert (site.live_id(), (site.outer / "stopped").exists()) == (live, False)
    site.releaser("update", check=0)
    with read_only(site.path / ".git"):
        finished = site.releaser("rollback", check=3)
        assert "this user cannot write to" in finished.stderr
        assert "--keep-code" in finished.stderr
        site.releaser("rollback", "--keep-code")
    assert site.live_id() == live


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Let nobody write below a directory, root included."""
    require(os.geteuid() == 0, "only root can mount")
    subprocess.run(["mount", "--bind", directory, directory], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", directory], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def test_an_unsigned_commit_is_refused_before_anything_is_stopped(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0", dotenv={"RELEASER_STOP": "touch ../stopped", "RELEASER_START": "true"})
    config("merge.verifySignatures=true")(site)
    commit = site.push_from_elsewhere({"news.txt": "new\n"})
    live, head = site.live_id(), site.head()
    finished = site.releaser("update", check=3)
    assert f"commit {commit[:12]} has no trusted signature" in finished.stderr
    assert "git's `merge.verifySignatures` requires" in finished.stderr
    assert (site.live_id(), site.head(), (site.outer / "stopped").exists()) == (live, head, False)


def test_a_commit_that_cannot_be_signed_says_how_it_can_be_made(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    config("commit.gpgSign=true", "gpg.format=ssh", "user.signingKey=/nonexistent")(site)
    finished = site.releaser("update", check=7)
    assert "the commit cannot be signed" in finished.stderr
    assert f"git -C {site.path} config --replace-all commit.gpgSign false" in finished.stderr
    site.git("config", "--replace-all", "commit.gpgSign", "false")
    site.releaser("update", check=0)
    assert site.remote_head() == site.head()
