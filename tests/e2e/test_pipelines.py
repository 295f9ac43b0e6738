"""The guide to pipelines: the lines of its jobs run as a runner of GitLab or GitHub runs them, in a shell."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.test_override import make_branch
from tests.support.commands import HOUSE, Finished, run
from tests.support.sites import SampleSite, SiteFactory

PAGE = (HOUSE / "docs/pipelines.md").read_text(encoding="utf-8")
#: Stands in for pytest, which this index does not have: it says with which Python and packages it runs.
PYTEST = """\
#!python
import sys, unittest, alpha
sys.path.insert(0, "")
print(sys.prefix, alpha.__version__)
unittest.main(module="site_tests", argv=["pytest"])
"""


def read_jobs(title: str) -> tuple[dict[str, str], list[list[str]]]:
    """Return the variables of a definition, and the lines of each of its jobs."""
    found = re.search(rf'^```yaml title="{re.escape(title)}"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
    assert found
    content: dict[str, Any] = yaml.safe_load(found[1])
    if "jobs" in content:
        steps = [job["steps"] for job in content["jobs"].values()]
        lines = [[line for step in job for line in step.get("run", "").splitlines()] for job in steps]
        return content["env"], lines
    return content["variables"], [job["script"] for job in content.values() if "script" in job]


def run_job(site: SampleSite, place: Path, lines: list[str], variables: dict[str, str], code: int = 0) -> Finished:
    """Run the lines of a job in a directory; `pip` has nothing to install."""
    programs = place.parent / "programs"
    programs.mkdir(parents=True, exist_ok=True)
    (programs / "pip").write_text("#!/bin/sh\n", encoding="utf-8")
    (programs / "pip").chmod(0o755)
    env = {**site.env, **variables, "TMPDIR": str(place.parent), "RELEASER_AUDIT": "off"}
    env["PATH"] = f"{programs}:{env['PATH']}"
    return run(["bash", "-euc", "\n".join(lines)], cwd=place, env=env, check=code)


@pytest.mark.slow
@pytest.mark.parametrize("title", [".gitlab-ci.yml", ".github/workflows/tests.yml"])
def test_law_3_all_jobs_of_a_pipeline_run_in_the_same_bundle(make_site: SiteFactory, title: str) -> None:
    site = make_site(packages={"alpha": "1.0.0", "pytest": "8.0"})
    site.publish("pytest", "8.0", modules={"pytest.py": "", "pytest-8.0.data/scripts/pytest": PYTEST})
    variables, (first, second) = read_jobs(title)
    checkout, other = site.base / "runner" / "shop", site.base / "other-runner" / "shop"
    (site.base / "runner").mkdir()
    (site.base / "runner" / "index").symlink_to(site.index)
    site.git("clone", "--quiet", site.remote, checkout)
    site.git("switch", "--quiet", "--detach", cwd=checkout)
    other.mkdir(parents=True)
    run_job(site, checkout, first, variables)
    (checkout / "shop.bundle").rename(other / "shop.bundle")
    site.index.rename(site.base / "away")  # the second job has no index
    answers = [run_job(site, other, second, variables) for _ in range(2)]
    prefixes = {answer.stdout.split()[0] for answer in answers}
    assert len(prefixes) == 1
    assert prefixes.pop().startswith(str(other.parent))
    assert {answer.stdout.split()[1] for answer in answers} == {"1.0.0"}


@pytest.mark.slow
def test_law_1_32_each_job_gets_the_package_of_a_branch_and_no_site_does(site: SampleSite) -> None:
    make_branch(site, "good", is_broken=False)
    make_branch(site, "bad", is_broken=True)
    bundle, url = site.base / "shop.bundle", f"alpha @ git+file://{site.base / 'alpha'}"
    live = site.live()
    site.releaser("bundle create", "-o", bundle, "--override", f"{url}@bad", check=5)
    assert not bundle.exists()
    site.releaser("bundle create", "-o", bundle, "--override", f"{url}@good", check=0)
    code = "import alpha; print(alpha.__version__)"
    words: list[str | Path] = ["python3", bundle, "run", "--", "python", "-c", code]
    shown = run(words, cwd=site.base, env={**site.env, "TMPDIR": str(site.base)}, check=0)
    assert shown.stdout == "of good\n"
    assert "/alpha@good" in site.releaser("bundle show", bundle, check=0).stdout
    refusal = site.releaser("bundle install", bundle, "--unsigned", check=3)
    assert "made with `--override`" in refusal.stderr
    assert site.live() == live
    env = {**site.env, "TMPDIR": str(site.base / "jobs")}
    Path(env["TMPDIR"]).mkdir()
    words[-1] = "import alpha, os; print(alpha.__version__, os.stat(alpha.__file__).st_ino, os.getcwd())"
    with ThreadPoolExecutor(20) as pool:
        jobs = list(pool.map(lambda _: run(words, cwd=site.base, env=env, check=0), range(20)))
    assert len({job.stdout for job in jobs}) == 1, "it is unpacked once"
    assert not [job.stderr for job in jobs if job.stderr]
    assert len([*site.base.glob("jobs/releaser-run-*/*/venv")]) == 1
