"""Which environment, dependency group and test command a site gets, and that it is said where each comes from."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from tests.support.commands import console_script, run
from tests.support.guards import require

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.commands import Finished
    from tests.support.sites import SampleSite, SiteFactory

NO_ENVIRONMENT = {"RELEASER_ENVIRONMENT": None}


def on_host(name: str, site: SampleSite, *words: str, check: int = 0) -> Finished:
    """Run releaser on a host of this name."""
    require(os.geteuid() == 0 and shutil.which("unshare"), "only root can give a host another name")
    script = 'hostname "$0" && exec "$@"'
    argv: list[str | Path] = ["unshare", "--uts", "sh", "-c", script, name, console_script(), *words]
    argv += ["--project", site.path]
    return run(argv, cwd=site.outer, env=site.env, check=check)


def chosen(answer: dict[str, Any]) -> dict[str, tuple[str | None, str]]:
    return {one["what"]: (one["value"], one["source"]) for one in answer["chosen"]}


def test_a_host_called_debian_is_not_staging_where_there_is_no_such_group(make_site: SiteFactory) -> None:
    site = make_site(groups={"prod": ["prodtools"]}, dotenv=NO_ENVIRONMENT)
    finished = on_host("debian", site, "check", "--json")
    found = chosen(json.loads(finished.stdout))
    assert found["environment"] == (
        "local",
        "the host name debian stands for staging, but pyproject.toml has no group staging",
    )
    assert found["dependency group"] == (None, "pyproject.toml has no group local")
    assert "environment: local (the host name debian" in on_host("debian", site, "check").stderr


def test_the_host_name_counts_where_its_group_exists(make_site: SiteFactory) -> None:
    site = make_site(dotenv=NO_ENVIRONMENT)
    found = chosen(json.loads(on_host("quality1", site, "check", "--json").stdout))
    assert found["environment"] == ("staging", "the host name quality1")
    assert found["dependency group"] == ("staging", "environment staging")
    assert found["test command"] == ("python manage.py test --noinput", "manage.py is there")


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
        assert "test command: python manage.py test --noinput (manage.py is there)" in words
    again = site.json("init")
    assert chosen(again)["dependency group"] == ("local", "environment local")
    assert "test command:" in site.releaser("init", check=0).stderr, "also when it is adopted already"


def test_it_is_said_as_well_where_something_else_is_wrong(make_site: SiteFactory) -> None:
    site = make_site(settings={"branch": "other"})
    answer = site.json("check", check=3)
    assert chosen(answer)["environment"][0] == "local"
    assert "dependency group: local (environment local)" in site.releaser("init", check=3).stderr
