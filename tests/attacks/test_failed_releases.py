"""No command starts a program of a release that failed its tests."""

import os
import shutil
from pathlib import Path

from tests.support.sites import SiteFactory

SECONDS = 120
# Python runs the line at each start in the venv; tests run it as well, before the mark is there.
HOOK = "import os; os.path.exists({mark!r}) and open({mark!r}, 'a').write(repr(__import__('sys').orig_argv))\n"
COMMANDS = (
    ["verify", "{failed}"], ["verify", "--all"], ["verify", "--all", "--check", "--tests"], ["list", "--verbose"],
    ["list", "--json"], ["show", "{failed}"], ["status"], ["history"], ["check"], ["diff", "{failed}"],
    ["rollback", "{failed}"], ["bundle create", "{failed}"], ["pin", "{failed}"], ["unpin", "{failed}"],
    ["update"], ["rebuild"], ["prune"], ["uninstall"],
)  # fmt: skip


def test_no_command_starts_it_and_each_says_so(make_site: SiteFactory, tmp_path: Path) -> None:
    site, mark = make_site.adopted(), tmp_path / "mark"
    hook = HOOK.format(mark=str(mark))
    site.publish("alpha", "1.1.0", modules={"alpha/__init__.py": "raise ImportError", "planted.pth": hook})
    name = site.json("update", check=5)["release"]
    venv, live = site.state_dir / "releases" / name / "venv", os.readlink(site.link)
    assert [*venv.glob("lib/*/site-packages/planted.pth")]
    mark.touch()

    def said(*words: str) -> str:
        finished = site.releaser(*words, timeout=SECONDS)
        assert mark.read_text(encoding="utf-8") == "", words
        assert "Traceback" not in finished.stderr
        assert "has no option" not in finished.stderr, finished
        return " ".join(finished.stderr.split())

    answer = site.json("verify", name)
    assert (answer["ok"], answer["started"]) == (True, False)
    assert site.json("verify")["started"]
    assert f"{name} is unchanged since it was sealed" in (text := said("verify", name))
    assert "it was not started, because it failed its tests" in text
    found = site.json("verify", name, "--check", "--tests", check=10)["problems"]
    reason = "releaser starts nothing from a release that failed its tests"
    assert [(one["kind"], one["message"]) for one in found] == [("check", reason), ("tests", reason)]

    site.link.unlink()
    site.link.symlink_to(os.path.relpath(venv, site.path))
    for words in (["run", "--", "python", "-c", ""], ["exec", "true"], ["status"], ["check"], ["verify"], ["init"]):
        assert f"{name} failed its tests" in said(*words) or words[0] not in ("run", "exec")
    site.link.unlink()
    site.link.symlink_to(live)
    for words in COMMANDS:
        said(*(word.format(failed=name) for word in words))


def test_a_python_that_its_tests_planted_is_not_started(make_site: SiteFactory, tmp_path: Path) -> None:
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
