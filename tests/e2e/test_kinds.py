"""The four kinds of uv project, where their packages come from, and what the live environment may be called."""

from pathlib import Path

import pytest

from tests.e2e.scenes import changed_files, edit_pyproject, states
from tests.support.images import mounted, used
from tests.support.layouts import SHARED_LIBRARY, common_library
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import Templates

SCRATCH = "releaser-staging"
# The modules of each kind of project that are imported as they lie in the live checkout.
KINDS = {
    "packaged": {"sample_site": "site/src/sample_site"},
    "workspace": {"one": "site/packages/one/src/one", "two": "site/packages/two/src/two"},
    "path": {"common_lib": f"{SHARED_LIBRARY}/src/common_lib"},
}


def file_of(site: SampleSite, module: str) -> Path:
    """Return the file from which the live environment imports a module."""
    return Path(site.python(f"import {module}; print({module}.__file__)"))


def files_that_mention(text: str, directory: Path) -> list[Path]:
    """Find files, whatever they are, with these bytes in them."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if text.encode() in path.read_bytes()]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_project_is_built_from_nothing_and_goes_there_and_back(make_site: SiteFactory, kind: str) -> None:
    site = make_site(kind=kind)
    site.releaser("init", check=0)
    first = site.live_id()
    assert site.live_version("alpha") == "1.0.0"
    site.publish("alpha", "1.1.0")
    report = site.json("update")
    assert (report["result"], report["previous"], report["release"]) == ("updated", first, site.live_id()), report
    assert site.live_version("alpha") == "1.1.0"
    assert (site.static_versions() or {})["alpha"] == "1.1.0"
    assert (site.git("status", "--porcelain"), site.remote_head()) == ("", site.head())
    assert changed_files(site) == {"uv.lock"}
    second = site.lock_text()
    report = site.json("rollback")
    assert (report["result"], report["release"], site.live_id()) == ("rolled-back", first, first), report
    assert site.live_version("alpha") == "1.0.0"
    assert site.lock_text() != second
    assert site.remote_head() == site.head()
    assert set(states(site).values()) == {"live", "rolled-back"}
    assert files_that_mention(SCRATCH, site.state_dir / "releases") == []
    assert not list(site.outer.glob(f"*{SCRATCH}*"))
    if kind == "workspace":  # of which a member needs another package now
        site.publish("gamma", "1.0.0")
        member = site.path / "packages/two/pyproject.toml"
        text = member.read_text(encoding="utf-8").replace('dependencies = ["one"]', 'dependencies = ["one", "gamma"]')
        site.edit("packages/two/pyproject.toml", text)
        site.push_commit("Need gamma", lock=True)
        site.releaser("update", check=0)
        assert site.live_version("gamma") == "1.0.0"
        assert site.git("status", "--porcelain") == ""
    for module, place in KINDS[kind].items():
        source = site.outer / place / "__init__.py"
        assert file_of(site, module) == source
        source.write_text("__version__ = 'edited'\n", encoding="utf-8")
        assert site.python(f"import {module}; print({module}.__version__)") == "edited"


def test_a_copied_path_dependency_is_in_the_next_release_as_it_is_then(make_site: SiteFactory) -> None:
    site = make_site(kind="path", editable=False)
    site.releaser("update", check=0)
    first = site.live_id()
    module = site.common_library / "src" / "common_lib" / "__init__.py"
    module.write_text("MARK = 'changed, under the same version'\n", encoding="utf-8")
    site.update_to("alpha", "1.1.0")
    assert file_of(site, "common_lib").is_relative_to(site.link.resolve())
    assert files_that_mention(SCRATCH, site.state_dir / "releases") == []
    assert site.python("import common_lib; print(common_lib.MARK)") == "changed, under the same version"
    site.releaser("rollback", check=0)
    assert site.live_id() == first
    assert site.python("import common_lib; print(hasattr(common_lib, 'MARK'))") == "False"
    for name, text in common_library("1.2.0").items():
        (site.common_library / name).write_text(text, encoding="utf-8")
    report = site.json("update")  # a new version is reason enough
    assert [(one["name"], one["old"], one["new"]) for one in report["changes"]] == [("common-lib", "1.0.0", "1.2.0")]
    assert site.live_version("common-lib") == "1.2.0"


def test_the_packages_may_lie_in_the_project_without_being_tracked(make_site: SiteFactory) -> None:
    site = make_site(index="inside", venv=True)
    flat = '[[tool.uv.index]]\nname = "wheels"\nurl = "wheels"\nformat = "flat"\ndefault = true\n'
    site.edit("pyproject.toml", edit_pyproject(site, '[tool.uv]\nno-index = true\nfind-links = ["wheels"]\n', flat))
    site.edit(".gitignore", "__pycache__/\nstatic_out/\n")
    site.uv("lock", "--quiet")
    site.git("add", "--update")
    site.git("commit", "--quiet", "--message", "Ignore less")
    site.push()
    assert site.git("status", "--porcelain", "--untracked-files=normal") == "?? wheels/"
    site.publish("alpha", "1.1.0")
    report = site.json("update")
    assert report["result"] == "updated", report
    assert site.live_version("alpha") == "1.1.0"
    assert changed_files(site) == {"uv.lock"}


# Releases on a file system on which copies can share blocks: uv clones what it installs, unless it is told to copy


BULK = 60_000_000  # of a package


def test_a_cloned_release_takes_what_differs_and_one_is_copied_where_that_is_set(
    tmp_path: Path, templates: Templates
) -> None:
    with mounted(tmp_path / "xfs", kind="xfs", size=480 * 1024 * 1024) as place:
        site = SiteFactory(place, templates)(packages={"alpha": "1.0.0", "beta": "1.0.0", "bulk": "1.0.0"})
        site.env["UV_CACHE_DIR"] = str(place / "cache")
        site.releaser("init", check=0)
        site.publish("bulk", "1.1.0", modules={"bulk/__init__.py": "", "bulk/data.txt": "x" * BULK})
        site.releaser("update", check=0)

        before, free = used(site.outer), site.json("status")["free_bytes"]
        site.update_to("alpha", "1.1.0")
        assert site.live_version("alpha") == "1.1.0"
        assert used(site.outer) - before < BULK / 2
        assert free - site.json("status")["free_bytes"] < BULK / 2
        live, earlier = site.json("list")[:2]
        assert site.json("show", live["id"])["link_mode"] == "clone"
        assert live["size_bytes"] == live["own_bytes"] > BULK
        # Whatever is shared, a change in one release changes no other one.
        data = next(Path(earlier["path"]).parent.glob("venv/lib/python3*/site-packages/bulk/data.txt"))
        with data.open("r+b") as file:
            file.write(b"y")
        assert site.json("verify")["ok"]
        assert not site.json("verify", earlier["id"], check=10)["ok"]

        site.publish("alpha", "1.2.0")
        site.releaser("update", check=0, env={"RELEASER_LINK_MODE": "copy"})
        assert site.json("show", site.live_id())["link_mode"] == "copy"
