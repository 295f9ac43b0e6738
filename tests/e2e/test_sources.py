"""Where packages come from: what uv or git says about configuration and lock, indexes, libraries, tags and groups."""

import re
import shutil
from collections.abc import Iterator

import pytest

from tests.e2e.scenes import refused, says, silent
from tests.support.index import serve_index
from tests.support.sites import SampleSite, SiteFactory, SiteOptions
from tests.support.wheels import build_wheel

#: A build backend of a project that needs no package; the version is a tag of git, if there is one.
BACKEND = """\
import pathlib, subprocess, zipfile
def build_wheel(directory, settings=None, metadata=None):
    words = ["git", "describe", "--tags", "--abbrev=0", "--dirty"]
    version = NAME == "shop" and subprocess.run(words, capture_output=True, text=True).stdout.strip() or "1"
    info = f"{NAME}-{version}.dist-info"
    files = {
        f"{MODULE}.py": pathlib.Path("content.py").read_text(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\\nName: {NAME}\\nVersion: {version}\\n{NEEDS}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(f"{directory}/{NAME}-{version}-py3-none-any.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return f"{NAME}-{version}-py3-none-any.whl"
build_editable = build_wheel
"""
LOCKS_THAT_ARE_NONE = ("uv #9671", "uv #11185", "datarobot-genai #246", "mcp-context-forge #5316", "anomalib #2964")
FORGOTTEN_LOCKS = ("adit #395", "MetaMask/core #9229", "uv #11530", "tox-uv #177", "cookiecutter-django #6018")
BUILD = '\n[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def make_library(name: str) -> dict[str, str]:
    """Return the files of a library, by their names."""
    project = f'[project]\nname = "{name}"\nversion = "1"\nrequires-python = ">=3.11"\n'
    needs = "Requires-Dist: alpha\nRequires-Dist: beta\nRequires-Dist: beside\n" if name == "shop" else ""
    backend = f"NAME, NEEDS, MODULE = {name!r}, {needs!r}, {name if name == 'beside' else 'of_shop'!r}\n{BACKEND}"
    return {"pyproject.toml": project + BUILD, "backend.py": backend, "content.py": "VALUE, BROKEN = 1, False\n"}


@pytest.mark.met("one wrong key in `[tool.uv]`")
def test_law_37_40_a_table_of_uv_that_uv_would_ignore_is_refused(site: SampleSite) -> None:
    """uv warns, ignores the whole table, its index included, and ends with 0: packages came from elsewhere."""
    site.publish("alpha", "1.1.0")
    good = (site.path / "pyproject.toml").read_text("utf-8")
    wrong = good.replace("no-index = true", 'no-index = true\nlink-mode = "hardlinks"')
    commit = site.push_from_elsewhere({"pyproject.toml": wrong})
    for arguments in ((), ("--dry-run",)):
        says(refused(site, "update", *arguments), commit[:12], "`pyproject.toml`", "line 14", "(`link-mode`)")
    says(site.releaser("check", check=3), commit[:12], "`hardlinks`")
    site.git("pull", "--quiet")
    says(site.releaser("check", check=3), "`hardlinks`", "line 14")
    site.push_commit("Correct it", {"pyproject.toml": good})
    site.edit("uv.toml", "index-ulr = []\n")
    says(refused(site, "update"), "uv.toml", "`index-ulr`")
    (site.path / "uv.toml").unlink()
    says(refused(site, "update", env={"UV_NO_CONFIG": "1"}), "`UV_NO_CONFIG`")


@pytest.mark.met("conflict markers in uv.lock", *LOCKS_THAT_ARE_NONE)
@pytest.mark.slow
def test_law_40_a_commit_whose_lock_is_none_is_named(site: SampleSite) -> None:
    texts = {
        f"<<<<<<< HEAD\n{site.lock()}": "line 1 is a conflict marker",
        site.lock().replace("version = ", "version = 1\nversion = ", 1): "(at line 2, ",
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n": "it is a pointer of git-lfs",
        "": "it is empty",
    }
    for text, reason in texts.items():
        commit = site.push_from_elsewhere({"uv.lock": text})
        for command in ("update", "check"):
            says(site.releaser(command, check=3), f"uv.lock of commit {commit[:12]} is not a lock of uv: ", reason)
    commit = site.push_from_elsewhere({}, remove="uv.lock")
    says(refused(site, "update"), f"uv.lock of commit {commit[:12]} does not exist")
    assert len(site.releases()) == 1, "nothing is built"


@pytest.mark.met("pyproject.toml is raised, the lock forgotten", *FORGOTTEN_LOCKS)
@pytest.mark.slow
def test_law_37_40_a_lock_that_does_not_fit_is_refused_where_it_is_deployed(make_site: SiteFactory) -> None:
    site = make_site.live(settings={"upgrade": "none"})
    site.publish("alpha", "1.1.0")
    site.publish("gamma", "1.0.0")
    packages = {"alpha": "1.0.0", "beta": "1.0.0"}
    wanted = SiteOptions(packages={**packages, "gamma": "1"}, settings={"upgrade": "none"}).pyproject()
    site.push_from_elsewhere({"pyproject.toml": wanted.replace('"alpha"', '"alpha>=1.1"', 1)})
    says(refused(site, "update"), "uv.lock does not fit pyproject.toml", "gamma 1.0.0 (new)", "alpha 1.0.0 → 1.1.0")
    site.git("pull", "--quiet")
    says(site.releaser("check", check=3), "uv.lock does not fit pyproject.toml")
    site.uv("lock", "--quiet", "--exclude-newer", "2100-01-01")  # an option of another host fits as well
    site.commit("Lock")
    site.push()
    site.releaser("update", check=0)
    assert (site.version("alpha"), site.version("gamma")) == ("1.1.0", "1.0.0")


CONSTRAINT = '[tool.uv]\nconstraint-dependencies = ["alpha<1.1"]'
ALPHA = 'name = "alpha"\nversion = "1.0.0"'


BOUNDS = {"dependencies": ('"alpha"', '"alpha<1.1"'), "constraint": ("[tool.uv]", CONSTRAINT)}
BOUNDS["override"] = ("[tool.uv]", CONSTRAINT.replace("constraint", "override"))


@pytest.mark.slow
@pytest.mark.parametrize(("bound", "upgrade"), [("constraint", "none"), ("override", "all"), ("dependencies", "all")])
def test_law_40_a_lock_that_its_own_project_excludes_is_refused(
    make_site: SiteFactory, bound: str, upgrade: str
) -> None:
    """One branch brings the bound, another one the version, and git merges both without a conflict."""
    site = make_site.live(settings={"upgrade": upgrade})
    site.replace("pyproject.toml", *BOUNDS[bound])
    site.push_commit("A bound", lock=True)
    site.publish("alpha", "1.1.0")
    newer = site.lock().replace("alpha-1.0.0-", "alpha-1.1.0-").replace(ALPHA, ALPHA.replace("1.0.0", "1.1.0"))
    site.push_from_elsewhere({"uv.lock": newer})
    says(refused(site, "update"), "uv.lock has alpha 1.1.0, but pyproject.toml wants <1.1", "uv lock -P alpha")


@pytest.fixture
def index(make_site: SiteFactory) -> Iterator[tuple[SampleSite, str, list[str]]]:
    """A site on an index with a password, which is in `.env`, beside a public one; the index and whom it lets in."""
    site, passwords = make_site(), ["Basic Ym90Omh1bnRlcjJzZWNyZXQ="]  # bot:hunter2secret
    with serve_index(site.outer, lambda authorization: not passwords or authorization in passwords) as served:
        before = 'no-index = true\nfind-links = ["../index"]\n'
        indexes = [
            f'{{ name = "own", url = "{served.server}/index/simple" }}',
            f'{{ url = "{served.server}/public/simple", default = true }}',
        ]
        text = SiteOptions().pyproject().replace(before, f"index = [{', '.join(indexes)}]\n")
        site.edit("pyproject.toml", text)
        site.env |= {"UV_INDEX_OWN_USERNAME": "bot", "UV_INDEX_OWN_PASSWORD": "hunter2secret"}
        (site.outer / "public").mkdir()
        site.uv("lock", "--quiet")
        site.commit("Use an index", {})
        site.push()
        site.releaser("init", check=0)
        del site.env["UV_INDEX_OWN_USERNAME"], site.env["UV_INDEX_OWN_PASSWORD"]
        site.write_dotenv({"UV_INDEX_OWN_USERNAME": "bot", "UV_INDEX_OWN_PASSWORD": "hunter2secret"})
        yield site, served.server, passwords


@pytest.mark.met("an index refuses the credentials", "uv #8862", "uv #9775", "uv #13059", "uv #19817")
@pytest.mark.slow
def test_law_32_38_a_package_from_elsewhere_is_refused_until_it_is_accepted(
    index: tuple[SampleSite, str, list[str]],
) -> None:
    """The password of `.env` is used; a refusal of the index, another hash, and another index are named."""
    site, url, passwords = index
    site.update_to("1.1.0")
    allowed = passwords.pop()
    passwords.append("none")
    finished = refused(site, "update", code=4)
    says(finished, f"The index {url}/index/simple refused (401) to give ", "UV_INDEX_NAME_PASSWORD")
    assert "No versions fit" not in finished.stderr
    assert "hunter2" not in finished.stderr
    passwords[:] = [allowed]
    site.publish("beta", "1.0.0", broken=False, modules={"beta/__init__.py": "BROKEN = False\nOTHER = 1\n"})
    says(refused(site, "update"), "beta 1.0.0 would have other files", "releaser update --accept beta")
    says(site.releaser("update", "--dry-run", "--accept", "beta", check=0), "beta from another source")
    site.releaser("update", "--accept", "beta", check=0)
    assert site.python("import beta; print(beta.OTHER)") == "1"
    assert site.git("show", "origin/main:uv.lock") + "\n" == (site.release() / "uv.lock").read_text("utf-8")
    silent(site.releaser("update"))
    for wheel in site.index.glob("alpha*"):
        wheel.unlink()
    build_wheel(site.outer / "public", "alpha", "9.0.0")
    finished = refused(site, "update")
    says(finished, "alpha 9.0.0 would come from", f"{url}/public/simple", f"{url}/index/simple", "--accept alpha")


@pytest.mark.slow
def test_law_38_a_mirror_of_the_host_is_used_and_never_pushed(index: tuple[SampleSite, str, list[str]]) -> None:
    site, url, passwords = index
    passwords.clear()
    text = (site.path / "pyproject.toml").read_text("utf-8")
    text = re.sub(r'\{ name = "own".*?\}, (.*)/public/', r"\1/index/", text)
    site.push_commit("One index", {"pyproject.toml": text}, lock=True)
    shutil.copytree(site.index, site.outer / "mirror")
    build_wheel(site.outer / "mirror", "alpha", "1.1.0")
    mirror = f"{url}/mirror/simple"
    site.releaser("update", "--accept", "alpha", "--accept", "beta", check=0)
    answer = site.json("update", env={"UV_DEFAULT_INDEX": mirror}, check=7)
    assert site.version("alpha") == "1.1.0"
    assert any(mirror in note for note in answer["notes"]), answer["notes"]
    assert [problem["code"] for problem in answer["problems"]] == ["not-published"]
    assert mirror not in site.git("show", "origin/main:uv.lock")
    site.releaser("rollback", check=0)
    assert mirror not in site.git("show", "origin/main:uv.lock")


@pytest.mark.met("a library beside the checkout changes", "uv #13685", "uv #15224")
@pytest.mark.met("the version comes from tags of git")
@pytest.mark.met("a tag alone, or on an empty commit")
@pytest.mark.slow
def test_law_38_a_library_beside_the_checkout_and_a_tag_are_news(site: SampleSite) -> None:
    for name, text in make_library("beside").items():
        site.edit(f"../beside/{name}", text)
    text = SiteOptions(packages={"alpha": "1", "beta": "1", "beside": "1"}).pyproject()
    text = text.replace('version = "1.0"', 'dynamic = ["version"]') + BUILD
    text += '[tool.setuptools_scm]\n[tool.uv.sources]\nbeside = { path = "../beside" }\n'
    files = {**make_library("shop"), "pyproject.toml": text}
    site.push_commit("Take a library from beside", files, lock=True)
    site.releaser("update", check=0)
    site.edit("../beside/content.py", "VALUE, BROKEN = 2, False\n")
    says(site.releaser("update", "--dry-run", check=0), "next to the checkout: beside")
    site.releaser("update", check=0)
    show = "import beside; from importlib.metadata import version; print(beside.VALUE, version('shop'))"
    assert site.python(show) == "2 1"
    clone = site.elsewhere()
    for version, is_empty_commit in (("2.0", False), ("3.0", True)):
        if is_empty_commit:
            site.git("commit", "--quiet", "--allow-empty", "--message", "Release", cwd=clone)
        site.git("tag", version, cwd=clone)
        site.git("push", "--quiet", "origin", "main", version, cwd=clone)
        site.publish("alpha", f"1.{version}")  # a lock that is not committed yet is no edit of the code
        site.releaser("update", check=0)
        assert site.python(show) == f"2 {version}"
        silent(site.releaser("update"))
        site.git("pull", "--quiet", cwd=clone)
    site.releaser("rollback", check=0)
    silent(site.releaser("update"))
    assert site.python(show) == "2 2.0"
    site.edit("../beside/content.py", "VALUE, BROKEN = 3, False\n")
    site.update_to("1.4")
    assert site.python(show) == "3 2.0"
    site.releaser("rollback", check=0)
    silent(site.releaser("update"))
    assert site.python(show) == "2 2.0", "neither the package nor the library comes back"


@pytest.mark.met(
    "a server without the default groups", "uv #16071", "uv #9368", "ansys/actions #1572", "uv-docker-example #36"
)
@pytest.mark.slow
def test_law_41_default_groups_are_named_at_adoption_and_can_be_left_out(make_site: SiteFactory) -> None:
    site = make_site(toml='\n[tool.releaser]\ngroup = "prod"\n')
    text = (site.path / "pyproject.toml").read_text("utf-8")
    site.push_commit("Add dev", {"pyproject.toml": text.replace("staging = []", 'dev = ["localtools"]')}, lock=True)
    site.uv("sync", "--quiet", "--frozen", "--no-default-groups", "--group", "prod")
    hint = "adds localtools 1.0.0 to the venv"
    says(site.releaser("check", check=0, env={"UV_NO_DEV": "1"}), hint, "Not used: `UV_NO_DEV`")
    assert any(hint in note for note in site.json("init")["notes"])
    site.write_dotenv(default_groups="off")
    silent(site.releaser("update"))
    site.update_to("1.1.0")
    assert "localtools" not in site.versions()
    assert "prodtools" in site.versions()

    text = (site.path / "pyproject.toml").read_text("utf-8")
    conflict = '[tool.uv]\nconflicts = [[{ group = "dev" }, { group = "prod" }]]'
    site = make_site(outer="conflicting", toml='\n[tool.releaser]\ngroup = "prod"\n')
    site.push_commit("Dev conflicts", {"pyproject.toml": text.replace("[tool.uv]", conflict)}, lock=True)
    site.uv("sync", "--quiet", "--frozen", "--no-default-groups", "--group", "prod")
    for command in ("check", "init"):
        says(refused(site, command), "`dev` (enabled by default)", "`default_groups = false`")
    site.write_dotenv(default_groups="off")
    site.releaser("init", check=0)
    site.update_to("1.1.0")
