"""Nothing of a release that failed its tests is ever started, by whatever command."""

import os
import shutil
from pathlib import Path

import pytest

from tests.support.sites import SampleSite, SiteFactory

SECONDS = 120
# Python runs the line at each start in the venv; tests run it as well, before the mark is there.
HOOK = "import os; os.path.exists({mark!r}) and open({mark!r}, 'a').write(repr(__import__('sys').orig_argv))\n"
COMMANDS = (
    ["verify", "{failed}"], ["verify", "--all"], ["verify", "--all", "--check", "--tests"], ["list", "--verbose"],
    ["list", "--json"], ["show", "{failed}"], ["status"], ["history"], ["check"], ["diff", "{failed}"],
    ["rollback", "{failed}"], ["bundle create", "{failed}"], ["pin", "{failed}"], ["unpin", "{failed}"],
    ["update"], ["rebuild"], ["prune"], ["uninstall"],
)  # fmt: skip


@pytest.fixture
def failed(make_site: SiteFactory, tmp_path: Path) -> tuple[SampleSite, str, Path]:
    """A site, a release of it that failed its tests, and the mark that this leaves when it is started."""
    site, mark = make_site.adopted(), tmp_path / "mark"
    hook = HOOK.format(mark=str(mark))
    site.publish("alpha", "1.1.0", modules={"alpha/__init__.py": "raise ImportError", "planted.pth": hook})
    site.releaser("update", check=5)
    (name,) = (one["id"] for one in site.json("list") if one["state"] == "failed")
    assert [*(site.state_dir / "releases" / name / "venv").glob("lib/*/site-packages/planted.pth")]
    mark.touch()
    return site, name, mark


def test_no_command_starts_it(failed: tuple[SampleSite, str, Path]) -> None:
    site, name, mark = failed
    for words in COMMANDS:
        words = [word.format(failed=name) for word in words]
        finished = site.releaser(*words, timeout=SECONDS)
        assert mark.read_text(encoding="utf-8") == "", words
        assert "Traceback" not in finished.stderr
        assert "has no option" not in finished.stderr, finished


def test_verify_says_that_it_was_not_started(failed: tuple[SampleSite, str, Path]) -> None:
    site, name, mark = failed
    answer = site.json("verify", name)
    assert (answer["ok"], answer["started"]) == (True, False)
    assert site.json("verify")["started"]
    assert f"{name} is unchanged since it was sealed" in (said := site.releaser("verify", name, check=0).stderr)
    assert "it was not started, because it failed its tests" in said
    kinds = [
        (one["kind"], one["message"]) for one in site.json("verify", name, "--check", "--tests", check=10)["problems"]
    ]
    assert kinds == [(kind, "nothing of a release that failed its tests is started") for kind in ("check", "tests")]
    assert mark.read_text(encoding="utf-8") == ""


def test_it_is_not_started_once_the_symlink_leads_to_it(failed: tuple[SampleSite, str, Path]) -> None:
    site, name, mark = failed
    site.link.unlink()
    site.link.symlink_to(os.path.relpath(site.state_dir / "releases" / name / "venv", site.path))
    for words in (["run", "--", "python", "-c", ""], ["exec", "true"], ["status"], ["check"], ["verify"], ["init"]):
        finished = site.releaser(*words, timeout=SECONDS)
        assert mark.read_text(encoding="utf-8") == "", words
        assert f"{name} failed its tests" in " ".join(finished.stderr.split()) or words[0] not in ("run", "exec")


def test_a_python_that_its_tests_have_left_is_not_asked(make_site: SiteFactory, tmp_path: Path) -> None:
    site, mark = make_site.adopted(), tmp_path / "mark"
    program = f'#!/bin/sh\ntest -e {mark} && echo "$0 $@" >> {mark}\nexec {shutil.which("python3")} "$@"\n'
    code = (
        "import sys\nfrom pathlib import Path\ndef test_it(_):\n"
        "    if 'releases' not in sys.prefix: return\n"
        "    python = Path(sys.prefix, 'bin', 'python')\n    python.unlink()\n"
        f"    python.write_text({program!r})\n    python.chmod(0o755)\n    raise SystemExit(1)\n"
    )
    mark.touch()
    site.push_commit("tests", {"site_tests.py": code})
    site.publish("alpha", "1.1.0")
    site.releaser("update", env={"RELEASER_SANDBOX": "off"})
    for words in (["verify", "--all"], ["show", site.json("list")[0]["id"]], ["list", "-v"], ["status"]):
        site.releaser(*words, timeout=SECONDS)
        started = mark.read_text(encoding="utf-8").splitlines()
        assert [one for one in started if not one.endswith(" manage.py test --noinput")] == [], words
