"""Neither a commit nor code that ran as the owner makes git start a program."""

from pathlib import Path

import pytest

from tests.e2e.scenes import make_hook
from tests.support.sites import SampleSite, SiteFactory


@pytest.mark.parametrize("hooks", [".git/hooks", ".git/more"])
def test_no_program_of_the_configuration_runs(make_site: SiteFactory, tmp_path: Path, hooks: str) -> None:
    """Neither hooks, those of git 2.54 and later included, nor monitors, nor what lists references."""
    site = make_site.adopted(due="1.1.0")
    script, marker = tmp_path / "script", tmp_path / "started"
    script.write_text(f"#!/bin/sh\necho $0 $@ >>{marker}\n", encoding="utf-8")
    script.chmod(0o755)
    site.push_from_elsewhere({"news.txt": "new\n"})
    for name in ("pre-commit", "commit-msg", "post-commit", "pre-push", "reference-transaction", "post-checkout"):
        make_hook(site.path / ".git", name, str(script))
    if hooks != ".git/hooks":
        (site.path / ".git" / "hooks").rename(site.path / hooks)
        site.git("config", "core.hooksPath", hooks)
    site.git("config", "core.fsmonitor", script)
    site.git("config", "core.alternateRefsCommand", script)
    for event in ("pre-commit", "pre-push", "reference-transaction"):
        site.git("config", "--add", "hook.evil.event", event)
    site.git("config", "hook.evil.command", script)
    for words in (["check"], ["update", "--dry-run"], ["update"], ["status"], ["rebuild"]):
        site.releaser(*words, check=0)
        (site.path / "pyproject.toml").touch()  # which git has to read again
    assert site.remote_head() == site.head()
    assert not marker.exists(), marker.read_text(encoding="utf-8")


def test_a_filter_that_the_owner_has_configured_for_all_files_does_not_run(
    make_site: SiteFactory, tmp_path: Path
) -> None:
    site, marker, attributes = make_site.adopted(due="1.1.0"), tmp_path / "started", tmp_path / "attributes"
    attributes.write_text("* filter=evil\n", encoding="utf-8")
    for kind in ("clean", "smudge", "process"):
        site.git("config", f"filter.evil.{kind}", f"touch {marker}; cat")
    site.git("config", "filter.evil.required", "true")
    site.git("config", "core.attributesFile", attributes)
    for words in (["check"], ["update", "--dry-run"], ["update"], ["status"], ["rebuild"]):
        finished = site.releaser(*words, check=0 if words == ["status"] else 3)
        assert words == ["status"] or "has files for git's filter evil" in finished.stderr
        (site.path / "pyproject.toml").touch()
    assert not marker.exists()


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
