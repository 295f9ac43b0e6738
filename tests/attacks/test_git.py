"""Neither a commit nor code that ran as the owner gets git to start something."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.scenes import make_hook
from tests.support.sites import SampleSite, SiteFactory


def hooks(site: SampleSite, script: Path) -> None:
    for name in ("pre-commit", "commit-msg", "post-commit", "pre-push", "reference-transaction", "post-checkout"):
        make_hook(site.path / ".git", name, str(script))


def elsewhere(site: SampleSite, script: Path) -> None:
    hooks(site, script)
    (site.path / ".git" / "hooks").rename(site.path / ".git" / "more")
    site.git("config", "core.hooksPath", ".git/more")


def monitor(site: SampleSite, script: Path) -> None:
    site.git("config", "core.fsmonitor", script)


def configured_hooks(site: SampleSite, script: Path) -> None:
    """As of git 2.54; older ones take no notice."""
    for event in ("pre-commit", "pre-push", "reference-transaction"):
        site.git("config", "--add", "hook.evil.event", event)
    site.git("config", "hook.evil.command", script)


def filters(site: SampleSite, script: Path) -> None:
    for kind in ("clean", "smudge", "process"):
        site.git("config", f"filter.evil.{kind}", f"{script}; cat")
    site.git("config", "filter.evil.required", "true")
    place = site.outer / "attributes"
    place.write_text("* filter=evil\n", encoding="utf-8")
    site.git("config", "core.attributesFile", place)


def references(site: SampleSite, script: Path) -> None:
    site.git("config", "core.alternateRefsCommand", script)


KINDS = [hooks, elsewhere, monitor, configured_hooks, filters, references]


@pytest.mark.parametrize("put", KINDS)
def test_nothing_of_the_configuration_runs(
    make_site: SiteFactory, tmp_path: Path, put: Callable[[SampleSite, Path], None]
) -> None:
    site = make_site.adopted()
    script, marker = tmp_path / "script", tmp_path / "started"
    script.write_text(f"#!/bin/sh\necho $0 $@ >>{marker}\n", encoding="utf-8")
    script.chmod(0o755)
    site.push_from_elsewhere({"news.txt": "new\n"})
    site.publish("alpha", "1.1.0")
    put(site, script)
    refused = 3 if put is filters else 0
    for words in (["check"], ["update", "--dry-run"], ["update"], ["status"], ["rebuild"]):
        finished = site.releaser(*words, check=0 if words == ["status"] else refused)
        assert words == ["status"] or not refused or "has files for git's filter evil" in finished.stderr
        (site.path / "pyproject.toml").touch()  # which git has to read again
    assert refused or site.remote_head() == site.head()
    assert not marker.exists(), marker.read_text(encoding="utf-8")


def shouting(site: SampleSite) -> None:
    """Configure a filter, as `git lfs install` does."""
    site.git("config", "filter.shout.smudge", "tr a-z A-Z")
    site.git("config", "filter.shout.clean", "tr A-Z a-z")


def test_a_commit_cannot_send_files_through_a_filter_unless_that_is_allowed(make_site: SiteFactory) -> None:
    site = make_site.adopted(prepare=shouting)
    head, live = site.head(), site.live_id()
    pyproject = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    files = {"sub/.gitattributes": "*.bin -text filter=shout\n", "sub/a.bin": "quiet\n"}
    files["pyproject.toml"] = pyproject.replace("[tool.releaser]", "[tool.releaser]\ngit_hooks = true")
    commit = site.push_from_elsewhere(files)
    for words in (["update", "--dry-run"], ["update"]):
        finished = site.releaser(*words, check=3)
        assert f"commit {commit[:12]} has files for git's filter shout" in finished.stderr
        assert f"add RELEASER_GIT_HOOKS=true to {site.outer / '.env'}" in finished.stderr
        assert (site.head(), site.live_id()) == (head, live)
    site.write_dotenv({"RELEASER_GIT_HOOKS": "true"})
    site.releaser("update", check=0)
    assert (site.path / "sub" / "a.bin").read_text(encoding="utf-8") == "QUIET\n"
    site.write_dotenv({"RELEASER_GIT_HOOKS": "false"})
    assert "has files for git's filter shout" in site.releaser("check", check=3).stderr
