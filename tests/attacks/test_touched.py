"""What goes live is what was installed, whatever the tests of a candidate have changed in its venv."""

import pytest

from tests.support.sites import SiteFactory

# While it is tested, alpha changes what another package has installed.
ALPHA = """\
import os, pathlib, py_compile, sys
__version__ = "1.1.0"
there = pathlib.Path(__file__).parents[1]
beta = there / "beta" / "__init__.py"
before = beta.stat()
if pathlib.Path("site_tests.py").exists() and "releaser-" in os.getcwd():
    {harm}
"""
HARM = {
    "contents": "beta.write_text(beta.read_text() + '# harm')",
    "contents of the same look": (
        "beta.write_bytes(beta.read_bytes()[:-2] + b' ' + beta.read_bytes()[-1:]); "
        "os.utime(beta, ns=(before.st_atime_ns, before.st_mtime_ns))"
    ),
    "RECORD": "next(there.glob('beta-*/RECORD')).write_text('')",
    "deletion": "[one.unlink() for one in there.glob('beta-*/WHEEL')]",
    "module": "beta.with_name('planted.py').touch()",
    "hook": "there.joinpath('planted.pth').touch()",
    "symlink": "there.joinpath('planted').is_symlink() or there.joinpath('planted').symlink_to('/tmp')",
    "program": "pathlib.Path(sys.prefix, 'bin', 'planted').touch()",
}


@pytest.mark.parametrize(("what", "sandbox"), [*((what, "auto") for what in HARM), ("contents", "off")])
def test_what_tests_change_of_what_was_installed_does_not_go_live(
    make_site: SiteFactory, what: str, sandbox: str
) -> None:
    site = make_site.adopted()
    site.publish("alpha", "1.1.0", modules={"alpha/__init__.py": ALPHA.format(harm=HARM[what])})
    live = site.live_id()
    report = site.json("update", check=5, env={"RELEASER_SANDBOX": sandbox})
    assert (report["blame"], site.live_id()) == ("update", live)
    assert "changed installed files: " in report["headline"]
    held = [(one["name"], one["version"]) for one in site.json("status")["on_hold"]]
    assert held == [("alpha", "1.1.0")]


def test_byte_code_that_tests_have_written_does_not_go_live(make_site: SiteFactory) -> None:
    """Python would take it for that of its source, as it has its time and size."""
    site = make_site.adopted()
    harm = (
        "import importlib.util; other = pathlib.Path('other.py'); "
        "other.write_bytes(b'HARM = 1'.ljust(before.st_size)); os.utime(other, ns=(0, before.st_mtime_ns)); "
        "py_compile.compile('other.py', importlib.util.cache_from_source(str(beta)))"
    )
    site.publish("alpha", "1.1.0", modules={"alpha/__init__.py": ALPHA.format(harm=harm)})
    site.releaser("update", check=0)
    assert site.live_version("alpha") == "1.1.0"
    assert [*site.link.glob("lib/*/site-packages/alpha/__pycache__/*.pyc")]
    for file in site.link.glob("lib/*/site-packages/beta/__pycache__/*.pyc"):
        assert b"HARM" not in file.read_bytes()
