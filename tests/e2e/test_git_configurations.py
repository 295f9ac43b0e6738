"""Configurations of git that people have: none stops an update, fakes an edit, or stops a service for nothing.

Each goes through an update that brings a commit and a package, a rollback, and an update that brings another package.
"""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.scenes import make_hook
from tests.e2e.test_people_at_work import gone_forward
from tests.support.guards import require
from tests.support.sites import SampleSite, SiteFactory

SERVICE = {f"RELEASER_{one.upper()}": f"sh -c 'echo {one} >>../service'" for one in ("stop", "start")}
ALIASES = ("status", "log", "diff", "merge", "fetch", "commit", "cat-file", "rev-parse")
SETTINGS = (
    # what is shown and compared
    "status.showUntrackedFiles=no", "status.short=true", "status.branch=true", "status.relativePaths=false",
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
    "i18n.commitEncoding=ISO-8859-1", "i18n.logOutputEncoding=ISO-8859-1",
    # pulls, fetches, pushes, checkouts and commits
    "pull.rebase=true", "pull.ff=only", "rebase.autoStash=true", "merge.autoStash=true", "merge.ff=false",
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
    "commit.template=/nonexistent", "commit.verbose=true", "commit.cleanup=scissors", "core.editor=false",
    # the index, files, LFS, and aliases of commands
    "core.fsmonitor=true", "core.untrackedCache=true", "core.splitIndex=true", "index.version=4",
    "feature.manyFiles=true",
    "core.fileMode=false", "core.symlinks=false", "core.ignoreCase=true", "core.trustctime=false",
    "filter.lfs.clean=git-lfs clean -- %f", "filter.lfs.smudge=git-lfs smudge -- %f", "filter.lfs.required=true",
    *(f"alias.{name}=!false" for name in ALIASES),
)  # fmt: skip


def config(site: SampleSite, *pairs: str) -> None:
    """Set these in the repository, each as NAME=VALUE."""
    for pair in pairs:
        site.git("config", "--add", *pair.split("=", 1))


def other_settings(site: SampleSite) -> None:
    """Set what is usual and what is not, all at once."""
    config(site, *SETTINGS)


def check_out_again(site: SampleSite) -> None:
    """Check all files out, as a clone with this configuration has them."""
    for path in site.git("ls-files").splitlines():
        (site.path / path).unlink()
    site.git("checkout", "--quiet", "--", ".")
    assert site.git("status", "--porcelain") == ""


def other_line_ends(site: SampleSite) -> None:
    config(site, "core.autocrlf=true")
    check_out_again(site)


def filters_that_are_allowed(site: SampleSite) -> None:
    site.env["RELEASER_GIT_HOOKS"] = "true"
    """Configure filters, one of them for the lock: as with git-lfs, its text is not that in the commit."""
    config(site, "filter.shout.smudge=tr a-z A-Z", "filter.shout.clean=tr A-Z a-z")
    config(site, "filter.turn.smudge=rev", "filter.turn.clean=rev")
    site.push_commit("Attributes", {".gitattributes": "news.txt filter=shout\nuv.lock filter=turn\n"})
    site.git("add", "--renormalize", "uv.lock")
    site.push_commit("Turn the lock")


def signed(site: SampleSite, *pairs: str) -> None:
    """Let each commit be signed with a key of ssh that the repository trusts, elsewhere too."""
    key, trusted = site.outer / "key", site.outer / "trusted"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    public = key.with_suffix(".pub").read_text(encoding="utf-8")
    trusted.write_text(f'* namespaces="git" {public}', encoding="utf-8")
    clone = site._clone_elsewhere()
    named = ["gpg.format=ssh", f"user.signingKey={key}", f"gpg.ssh.allowedSignersFile={trusted}", "commit.gpgSign=true"]
    config(site, *named, *pairs)
    for pair in named:
        site._git(clone, "config", *pair.split("=", 1))


def signatures_that_are_shown(site: SampleSite) -> None:
    signed(site, "log.showSignature=true", "tag.gpgSign=true")


def signatures_that_are_verified(site: SampleSite) -> None:
    signed(site, "merge.verifySignatures=true")


def shallow_clone(site: SampleSite) -> None:
    """Let the checkout have no history before what is live."""
    site.push_commit("More", {"more.txt": "more\n"})
    site.releaser("rebuild", check=0)
    site.git("fetch", "--quiet", "--depth=1", f"file://{site.remote}", "main")
    site.git("reflog", "expire", "--expire=all", "--all")


def sparse_checkout(site: SampleSite) -> None:
    """Leave a directory out of the checkout."""
    site.push_commit("Docs", {"docs/index.txt": "docs\n", "docs/more.txt": "docs\n"})
    site.git("sparse-checkout", "set", "--no-cone", "/*", "!/docs/")
    assert not (site.path / "docs").exists()


def hooks_that_fail(site: SampleSite) -> None:
    for name in ("pre-commit", "commit-msg", "pre-push", "post-checkout", "post-merge", "reference-transaction"):
        make_hook(site.outer, name, "echo a hook speaks; exit 1")
    config(site, f"core.hooksPath={site.outer / 'hooks'}")


# In this order, a spread has those that set the most.
PUTS = [
    pytest.param(signatures_that_are_shown, marks=pytest.mark.story),
    pytest.param(other_line_ends, marks=pytest.mark.story),
    filters_that_are_allowed,
    signatures_that_are_verified,
    shallow_clone,
    sparse_checkout,
    hooks_that_fail,
    other_settings,
]


@pytest.mark.spread(2)
@pytest.mark.parametrize("put", PUTS)
def test_update_rollback_update(make_site: SiteFactory, put: Callable[[SampleSite], None]) -> None:
    site = make_site.adopted(dotenv=SERVICE)
    site.git("tag", "-m", "of a person", "mine")
    put(site)
    first, stops = site.live_id(), stopped(site)
    assert site.releaser("check").returncode == 0

    new = site.push_from_elsewhere({"news.txt": "new\n"})
    site.publish("alpha", "1.1.0")
    updated = site.json("update")
    assert (updated["problems"], site.live_version("alpha")) == ([], "1.1.0")
    assert new in site.git("-c", "log.showSignature=false", "log", "--format=%H").splitlines()
    assert site.remote_head() == site.head()
    assert edits(site) == []
    lock = site.git("cat-file", "blob", "HEAD:uv.lock")

    back = site.releaser("rollback", check=0)
    assert "had edits" not in back.stderr
    assert (site.live_id(), site.live_version("alpha")) == (first, "1.0.0")
    assert (site.git("cat-file", "blob", "HEAD:uv.lock") != lock, (site.path / "news.txt").exists()) == (True, False)
    assert edits(site) == []

    site.publish("beta", "1.1.0")
    again = site.json("update")
    assert (again["problems"], site.live_version("beta"), site.live_version("alpha")) == ([], "1.1.0", "1.0.0")
    assert edits(site) == []
    assert not [*site.state_dir.glob("uv.lock-*")]
    assert site._git(site.remote, "tag") == ""
    quiet = site.releaser("update", check=0)
    assert (quiet.stdout, quiet.stderr, stopped(site)) == ("", "", stops + 3)


def edits(site: SampleSite) -> list[str]:
    """Return what is not as committed, as git sees it without the configuration of status."""
    return site.git("status", "--porcelain=v2", "--untracked-files=no", "--no-show-stash").splitlines()


def stopped(site: SampleSite) -> int:
    """Return how often the service was stopped; each time it was started again."""
    with contextlib.suppress(FileNotFoundError):
        calls = (site.outer / "service").read_text(encoding="utf-8").split()
        assert calls == ["stop", "start"] * (len(calls) // 2)
        return calls.count("stop")
    return 0


def test_a_repository_that_is_read_only_is_refused_before_anything_is_stopped(make_site: SiteFactory) -> None:
    site = make_site.adopted(prepare=gone_forward, due="1.2.0", dotenv=SERVICE)
    site.push_from_elsewhere({"news.txt": "new\n"})
    live = site.live_id()
    with read_only(site.path / ".git"):
        for command in ("update", "rollback"):
            told = site.releaser(command, check=3).stderr
            assert f"this user cannot write to {site.path / '.git'}" in told
            assert ("--keep-code" in told) == (command == "rollback")
        assert (site.live_id(), stopped(site)) == (live, 0)
        site.releaser("rollback", "--keep-code")
    assert site.live_id() != live


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
