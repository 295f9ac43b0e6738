"""The guide for hosts without a network: its shell lines, on two hosts of which one has no route."""

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.support.commands import HOUSE, releaser_command, require, run
from tests.support.sites import SampleSite

_FENCE = re.compile(r'^```sh title="([^"\n]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_guide_for_hosts_without_a_network_does_what_it_says(site: SampleSite, tmp_path: Path) -> None:
    require(os.geteuid() == 0 and shutil.which("unshare"), "root makes a network namespace")
    page, home = (HOUSE / "docs/hosts-without-network.md").read_text(encoding="utf-8"), Path(site.env["HOME"])
    ours = {**site.env, "PATH": f"{Path(releaser_command()[0]).parent}:{site.env['PATH']}"}
    theirs = {"HOME": str(home), "PATH": f"{home}/.local/bin:{site.env['PATH']}", "RELEASER_ENVIRONMENT": "local"}
    theirs |= {"TMPDIR": str(tmp_path), "UV_PYTHON_DOWNLOADS": "never"}
    said, second = "", False
    for title, text in _FENCE.findall(page):
        if title == "where the release is":
            if second:
                site.update_to("1.1.0")
            run(["sh", "-ec", text], cwd=site.path, env=ours, check=0)
            second = True
        else:
            place = home / "sites/site" if title == "the host" else home
            said += run(["unshare", "--net", "sh", "-ec", text], cwd=place, env=theirs, check=0).stdout
    assert 'Good "releaser-bundle" signature for ada@example.org' in said
    assert "alpha 1.0.0 → 1.1.0" in said
    assert "releaser-run-0" in said

    assert list((home / "sites/site/.venv/lib").glob("python*/site-packages/alpha-1.0.0.dist-info"))
