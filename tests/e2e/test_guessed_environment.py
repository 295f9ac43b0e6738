"""Which environment, dependency groups and test command a site gets, and from where it is found."""

from pathlib import Path
from typing import Any

import pytest

from releaser.site.conventions import find_conventions
from releaser.site.site import open_site
from tests.support.commands import Finished, console_script, run
from tests.support.sites import SampleSite, SiteFactory, variables

SET = {"group": "prod", "test_command": "python -m site_tests"}
DEV = {"local": ["localtools"], "dev": ["tool", "extra"]}


TESTS_OF_DEV = variables(test_groups=["dev"])


@pytest.mark.spread(4)
@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "environment: local ({outer}/.env: RELEASER_ENVIRONMENT)"),
        ({}, "dependency group: local (environment local)"),
        ({"settings": SET}, "dependency group: prod ({site}/pyproject.toml: tool.releaser.group)"),
        ({}, "test command: python manage.py test --noinput (manage.py exists)"),
        ({"settings": SET}, "test command: python -m site_tests ({site}/pyproject.toml: tool.releaser.test_command)"),
        ({}, "default groups that go live: none (pyproject.toml has no group dev)"),
        ({"groups": DEV}, "default groups that go live: dev (uv installs it by default; list it in `test_groups`"),
        ({"groups": DEV, "dotenv": TESTS_OF_DEV}, "default groups that go live: none (`test_groups` names dev)"),
        ({}, "groups only for tests: none (the default)"),
        ({"dotenv": TESTS_OF_DEV}, "groups only for tests: dev ({outer}/.env: RELEASER_TEST_GROUPS)"),
    ],
)
def test_each_choice_is_named_with_its_reason(make_site: SiteFactory, options: dict[str, Any], line: str) -> None:
    site = make_site(**options)
    found = [str(one) for one in find_conventions(open_site(site.path, site.env))]
    assert any(one.startswith(line.format(outer=site.outer, site=site.path)) for one in found), found


def test_init_and_check_say_them_in_words_and_in_json(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    planned, done = site.releaser("init", "--dry-run", check=0).stdout, site.releaser("init", check=0).stderr
    for said in (planned, done, site.releaser("init", check=0).stderr, site.releaser("check", check=0).stderr):
        assert "test command: python manage.py test --noinput (manage.py exists)" in said
    for command in ("init", "check"):
        chosen = {one["what"]: (one["value"], one["source"]) for one in site.json(command)["chosen"]}
        assert chosen["dependency group"] == ("local", "environment local")


# In a directory of the project every command finds the project, as git does; outside of any, it says so

QUESTIONS = [["list"], ["list", "--json"], ["status"], ["check"], ["history"], ["prune", "--dry-run"]]


def inside(site: SampleSite, place: Path, *words: str | Path, check: int | None = None) -> Finished:
    """Run releaser as somebody does who has changed to a directory."""
    return run([console_script(), *words], cwd=place, env=site.env, check=check)


def test_questions_are_answered_in_a_subdirectory_and_not_outside(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    deep = site.path / "config" / "deep"
    deep.mkdir()
    for words in QUESTIONS:
        here, there = (inside(site, place, *words, check=0) for place in (site.path, deep))
        assert there.stdout == here.stdout or words == ["status"]  # which tells ages and free room
        assert "no releases yet" not in there.stderr
    assert site.live_id() in inside(site, site.outer, "list", "--project", deep, check=0).stdout
    env = {**site.env, "RELEASER_PROJECT": str(deep)}
    assert site.live_id() in run([console_script(), "list", "--json"], cwd=site.outer, env=env, check=0).stdout
    (site.path / "uv.lock").unlink()  # the state is there
    assert f"{site.path / 'uv.lock'} does not exist" in inside(site, deep, "check", check=3).stderr
    place = site.outer.parent / "elsewhere"
    place.mkdir()
    for words in (["list", "--json"], ["update"], ["init"], ["run", "--", "true"], ["test-mail"]):
        finished = inside(site, place, *words, check=3)
        assert f"there is no project here: neither {place} nor" in finished.stderr
        assert "--project" in finished.stderr
    assert list(place.iterdir()) == []


@pytest.mark.story
def test_an_update_in_a_subdirectory(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.publish("alpha", "1.1.0")
    assert "updated to" in inside(site, site.path / "config", "update", check=0).stderr
    assert site.live_version("alpha") == "1.1.0"
    assert "rolled back" in inside(site, site.path / "config", "rollback", check=0).stderr
    assert not (site.path / ".releaser").exists()
