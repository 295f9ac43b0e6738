"""A candidate is closed before its tests; and what a Python that was upgraded or removed means for releases.

`auto` stands for a shadow that is mounted, `off` for one at a path of its own; `user_site` belongs to an ordinary user.
"""

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.e2e.scenes import changes, mostly_slow, refused, says, silent
from tests.e2e.test_shadow import with_shadow
from tests.support import trees
from tests.support.sample import SITE_TESTS
from tests.support.sites import SampleSite, SiteFactory

#: Tests that write into a package which the live release shares, and into a new one, and beside both; none fails.
WRITING_TESTS = """\
import contextlib, os, alpha, beta
for path in (alpha.__file__, beta.__file__, os.path.join(alpha.__path__[0], "..", "parsetab.py")):
    with contextlib.suppress(OSError):
        os.path.exists(path) and os.chmod(path, 0o644)
        with open(path, "a") as file:
            file.write("# written by a test\\n")
"""
#: What a test may ask of uv; `probe` is not in the lock.
UV_COMMANDS = (
    "uv run python run_tests.py",
    "uv run --no-sync run_tests.py",
    "uv run --frozen --with probe python run_tests.py",
    "uv run --locked python run_tests.py",
    "uv pip check",
    "uv lock --check",
)


@pytest.mark.parametrize("case", mostly_slow(["auto user_site", "off user_site", "off site"], "off site"))
def test_law_01_18_tests_reach_neither_the_live_release_nor_the_cache(
    request: pytest.FixtureRequest, case: str
) -> None:
    """Where nothing is mounted, the tests change their own copy, and that is named and remembered as theirs."""
    mode, owner = case.split()
    site: SampleSite = with_shadow(request.getfixturevalue(owner), mode)
    live, seen = site.release(), site.release() / "venv"
    site.publish("alpha", "1.1.0")
    site.push_from_elsewhere({"site_tests.py": WRITING_TESTS + SITE_TESTS})
    earlier = trees.digest(seen)
    finished = site.releaser("update", check=0 if mode == "auto" else 5)
    assert trees.digest(seen) == earlier
    assert not any(b"by a test" in path.read_bytes() for path in (site.state / "cache").rglob("*.py"))
    if mode == "auto":
        assert site.version("alpha") == "1.1.0"
        site.releaser("verify", "live", check=0)
        return
    says(finished, "the tests changed the venv", "alpha/__init__.py", "beta/__init__.py", "parsetab.py", "$TMPDIR")
    releases = site.releases()
    second = site.releaser("update", check=5)
    assert (second.stdout, second.stderr, site.releases(), site.release()) == ("", "", releases, live)


@pytest.mark.met("the tests call uv", "uv #15934", "uv #17825", "uv #17521", "agent-factory #294")
@pytest.mark.slow
@pytest.mark.parametrize("mode", mostly_slow(["auto", "off"], "auto"))
def test_law_18_tests_may_call_uv(site: SampleSite, mode: str) -> None:
    """They run as they do outside, on a cache of their own."""
    site.publish("probe", "1.0.0")
    command = " && ".join(UV_COMMANDS)
    with_shadow(site, mode, test_command=f"sh -c '{command}'")
    cache = trees.contents(site.state / "cache")
    site.publish("alpha", "1.1.0")
    answer = site.json("update", env={"UV_INDEX_OWN_PASSWORD": "secret", "UV_OFFLINE": "1"})
    assert changes(answer) == {"alpha": ("1.0.0", "1.1.0")}
    seen = site.test_runs()[-1]["env"]
    assert (seen["UV_OFFLINE"], "UV_INDEX_OWN_PASSWORD" in seen) == ("1", False)
    added = trees.contents(site.state / "cache").keys() - cache.keys()
    assert not any("probe" in path for path in added), added


def pretend_old_python(release: Path, *, is_known: bool) -> None:
    """Let the venv of a release be of 3.11.1, as an upgrade in place leaves it: this host may have one Python alone.

    Unless the manifest knows of it, the release has no seal, as in an earlier version.
    """
    manifest, config = release / "manifest.json", release / "venv" / "pyvenv.cfg"
    text = re.sub(r"(?m)^version_info = .*", "version_info = 3.11.1", config.read_text(encoding="utf-8"))
    config.chmod(0o644)
    config.write_text(text, encoding="utf-8")
    facts = json.loads(manifest.read_text(encoding="utf-8"))
    if is_known:
        facts["key"]["python"] = facts["sealed"]["python"] = "3.11.1"
        facts["sealed"]["files"]["pyvenv.cfg"] = hashlib.sha256(text.encode()).hexdigest()
    else:
        del facts["sealed"]
    manifest.write_text(json.dumps(facts), encoding="utf-8")


def messages(site: SampleSite, command: str, code: int) -> str:
    """Return what a command says of problems, or as hints."""
    answer = site.json(command, check=code)
    return str([answer.get("problems"), answer.get("hints")])


@pytest.mark.slow
@pytest.mark.parametrize("is_known", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_law_11_python_upgraded_in_place_builds_everything_again(site: SampleSite, is_known: bool) -> None:
    """uv would replace a clone by a plain venv without the start-up module, whose copies run its packages."""
    earlier = site.release()
    pretend_old_python(earlier, is_known=is_known)
    if is_known:
        assert "and was 3.11.1" in messages(site, "status", 10)
        assert "and was 3.11.1" in messages(site, "check", 0)
        says(site.releaser("update", "--dry-run", check=0), "and was 3.11.1")
        answer = site.json("update")
        assert "and was 3.11.1" in str(answer["notes"])
        assert "everything is built again: Python 3.11.1 became" in str(answer["steps"])
    else:
        site.update_to("1.1.0")
    assert site.release() != earlier
    assert "relocatable = true" in (site.link / "pyvenv.cfg").read_text(encoding="utf-8")
    assert list(site.link.glob("lib/python*/site-packages/_releaser.pth"))
    silent(site.releaser("update"))
    site.releaser("status", check=0)


@pytest.mark.slow
def test_law_05_11_release_without_its_python_is_named_and_passed_over(make_site: SiteFactory) -> None:
    """Neither a rollback nor `run` ends on a Python that is not that of a release."""
    site = make_site.live("1.1.0", "1.2.0")
    first, second, third = site.releases()[-3:]
    for release in (second, third):
        python = site.release(release) / "venv" / "bin" / "python"
        python.unlink()
        python.symlink_to("/opt/python-that-was-removed")
    for command, code in (("status", 10), ("check", 0)):
        assert "its Python does not start" in messages(site, command, code)
    refused(site, "run", "--", "python", "-V")
    says(site.releaser("rollback", check=0), f"Release {second} was skipped", f"Release {first} is live")
    assert site.live() == first
    site.releaser("run", "--", "python", "-c", "import alpha", check=0)


@pytest.mark.slow
def test_law_11_live_release_without_its_python_is_built_again(site: SampleSite) -> None:
    python = site.link / "bin" / "python"
    python.unlink()
    python.symlink_to("/opt/python-that-was-removed")
    site.releaser("update", check=0)
    assert site.python("import alpha; print(alpha.__version__)") == "1.0.0"


@pytest.mark.slow
def test_law_01_build_writes_into_the_packages_of_its_candidate_alone(user_site: SampleSite) -> None:
    """What `before_build` appends to a file that other releases and the cache share is appended once."""
    site, earlier = user_site, user_site.release()
    script = 'echo "# by the build" >> $(python -c "import beta; print(beta.__file__)")'
    site.commit("Append", {"append.sh": script})
    site.push()
    site.write_dotenv(before_build="sh append.sh")
    before = trees.digest(earlier / "venv")
    for version in ("1.1.0", "1.2.0"):
        site.update_to(version)
        (beta,) = site.link.glob("lib/python*/site-packages/beta/__init__.py")
        assert beta.read_text(encoding="utf-8").count("# by the build") == 1
        site.releaser("verify", "live", check=0)
    assert trees.digest(earlier / "venv") == before
    assert not any(b"by the build" in path.read_bytes() for path in (site.state / "cache").rglob("*.py"))
    silent(site.releaser("update"))
