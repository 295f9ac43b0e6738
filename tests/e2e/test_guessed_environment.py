"""Which environment, dependency group and test command a site gets, and that it is said where each comes from."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Finished, console_script, run
from tests.support.sites import SampleSite, SiteFactory


def chosen(answer: dict[str, Any]) -> dict[str, tuple[str | None, str]]:
    return {one["what"]: (one["value"], one["source"]) for one in answer["chosen"]}


def test_a_setting_is_named_with_its_file(make_site: SiteFactory) -> None:
    site = make_site(settings={"group": "prod", "test_command": "python -m site_tests"})
    said = site.releaser("check", check=0).stderr
    assert f"environment: local ({site.outer / '.env'}: RELEASER_ENVIRONMENT)" in said
    assert f"dependency group: prod ({site.path / 'pyproject.toml'}: tool.releaser.group)" in said
    assert f"test command: python -m site_tests ({site.path / 'pyproject.toml'}: tool.releaser.test_command)" in said


def test_init_says_the_same_in_words_and_in_json(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    planned = site.releaser("init", "--dry-run", check=0).stdout
    said = site.releaser("init", check=0).stderr
    for words in (planned, said):
        assert f"environment: local ({site.outer / '.env'}: RELEASER_ENVIRONMENT)" in words
        assert "dependency group: local (environment local)" in words
        assert "test command: python manage.py test --noinput (manage.py exists)" in words
    again = site.json("init")
    assert chosen(again)["dependency group"] == ("local", "environment local")
    assert "test command:" in site.releaser("init", check=0).stderr, "also when it is adopted already"


# In a directory of the project every command finds the project, as git does; outside of any, it says so


QUESTIONS = [["list"], ["list", "--json"], ["status"], ["check"], ["history"], ["prune", "--dry-run"]]
COMMANDS = [
    *QUESTIONS, ["update"], ["rollback"], ["rebuild"], ["init"], ["run", "--", "true"], ["test-mail"], ["verify"],
]  # fmt: skip


def inside(site: SampleSite, place: Path, *words: str | Path, check: int | None = None) -> Finished:
    """Run releaser as somebody does who has changed to a directory."""
    return run([console_script(), *words], cwd=place, env=site.env, check=check)


def test_every_question_is_answered_in_a_subdirectory_and_outside_of_any_project_it_says_so(
    make_site: SiteFactory,
) -> None:
    site = make_site.adopted()
    (site.path / "config" / "deep").mkdir()
    for words in QUESTIONS:
        here = inside(site, site.path, *words, check=0)
        for place in (site.path / "config", site.path / "config" / "deep"):
            there = inside(site, place, *words, check=0)
            if words != ["status"]:  # which tells ages and free room
                assert there.stdout == here.stdout
            assert "no releases yet" not in there.stderr
    finished = inside(site, site.outer, "list", "--project", site.path / "config")
    assert site.live_id() in finished.stdout
    env = {**site.env, "RELEASER_PROJECT": str(site.path / "config" / "deep")}
    assert site.live_id() in run([console_script(), "list", "--json"], cwd=site.outer, env=env, check=0).stdout
    (site.path / "uv.lock").unlink()  # the state is there
    finished = inside(site, site.path / "config", "check", check=3)
    assert f"{site.path / 'uv.lock'} does not exist" in finished.stderr
    place = site.outer.parent / "elsewhere"
    place.mkdir()
    for words in COMMANDS:
        finished = inside(site, place, *words, check=3)
        assert f"there is no project here: neither {place} nor" in finished.stderr
        assert "--project" in finished.stderr
        assert "no releases yet" not in finished.stderr
    assert list(place.iterdir()) == []


@pytest.mark.story
def test_an_update_in_a_subdirectory(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.publish("alpha", "1.1.0")
    assert "updated to" in inside(site, site.path / "config", "update", check=0).stderr
    assert site.live_version("alpha") == "1.1.0"
    assert "rolled back" in inside(site, site.path / "config", "rollback", check=0).stderr
    assert not (site.path / ".releaser").exists()
