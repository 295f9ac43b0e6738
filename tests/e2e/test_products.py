"""What a build writes beside its source moves with its release; what else lies in the checkout is the site's."""

import os
import shutil
import stat
import sysconfig
from pathlib import Path

import pytest

from tests.e2e.scenes import CODE, mostly_slow, says, silent
from tests.support import wheels
from tests.support.commands import require
from tests.support.sites import SampleSite, SiteFactory

EDITION = {"shop.py": "EDITION = 1\nBROKEN = False\n"}
BUILD = """\
git ls-files --error-unmatch bundle.txt 2>/dev/null && exit
mkdir -p -m 700 keys.ignored && (umask 077; cat shop.py > keys.ignored/key.pem)
echo built: $(head -n 1 shop.py) > bundle.txt
"""
TRACKED = {"bundle.txt": "by hand\n", ".gitignore": "__pycache__/\n*.ignored\n"}
BUILT = {".gitignore": "__pycache__/\n*.ignored\nbundle.txt\n"}
#: Byte code that Python takes for that of its source, whatever that says.
STALE = """\
import pathlib, py_compile
pathlib.Path("x.py").write_text("EDITION = 7")
for cached in ("shop", "other"):
    name = f"__pycache__/{cached}.cpython-311.pyc"
    py_compile.compile("x.py", name, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
pathlib.Path("x.py").unlink()
"""


def plant_byte_code(site: SampleSite) -> None:
    name = "__import__('importlib.util').util.cache_from_source(f'{cached}.py')"
    site.run(site.link / "bin" / "python", "-c", STALE.replace('f"__pycache__/{cached}.cpython-311.pyc"', name))


def shown(site: SampleSite) -> tuple[str, str, str]:
    """Return the edition that Python imports, the bundle, and the key, which only a build makes."""
    edition = site.run(site.link / "bin" / "python", "-c", "import shop; print(shop.EDITION)").stdout.strip()
    places = [site.path / name for name in ("bundle.txt", "keys.ignored/key.pem")]
    bundle, key = (place.read_text(encoding="utf-8").strip() if place.exists() else "absent" for place in places)
    return edition, bundle, key.partition("\n")[0]


@pytest.mark.slow
@pytest.mark.parametrize("way", mostly_slow(["becomes a product", "becomes tracked"], "becomes a product"))
def test_law_04_13_a_tracked_file_becomes_a_product_and_the_reverse(make_site: SiteFactory, way: str) -> None:
    is_built_later = way == "becomes a product"
    first, second = (TRACKED, BUILT) if is_built_later else (BUILT, TRACKED)
    site = make_site.live(settings={"before_build": ["sh", "build.sh"]}, files={"build.sh": BUILD, **EDITION, **first})
    states = [("1", "by hand", "absent"), ("2", "built: EDITION = 2", "EDITION = 2")]
    if not is_built_later:
        states = [("1", "built: EDITION = 1", "EDITION = 1"), ("2", "by hand", "absent")]
    site.push_from_elsewhere({**CODE, **second}, remove="bundle.txt" if is_built_later else "")
    live, ends = site.live(), [states[0]]
    plant_byte_code(site)
    site.write_dotenv(health_check=f"sh -c 'readlink .venv | grep -q {live}'", health_timeout="1s")
    site.releaser("update", check=6)  # the automatic rollback
    ends.append(shown(site))
    assert (site.live(), site.status()) == (live, "")
    site.write_dotenv(health_check="true")
    site.releaser("unhold", "--all", check=0)
    plant_byte_code(site)
    site.releaser("update", "--force", check=0)
    ends.append(shown(site))
    key = site.path / "keys.ignored"
    if is_built_later:
        assert [stat.S_IMODE(path.stat().st_mode) for path in (key, key / "key.pem")] == [0o700, 0o600]
    plant_byte_code(site)
    site.releaser("rollback", check=0)
    ends.append(shown(site))
    assert ends == [states[0], states[0], states[1], states[0]]
    assert (site.status(), os.listdir(site.path / "__pycache__").count("shop.cpython-311.pyc") < 2) == ("", True)
    assert any(name.startswith("other.") for name in os.listdir(site.path / "__pycache__")), "other byte code stays"


@pytest.mark.met("`git clean` deletes what a build has made", "uv #17897")
@pytest.mark.slow
def test_law_20_27_a_deleted_product_is_put_back_by_the_next_update(make_site: SiteFactory) -> None:
    site = make_site.live(settings={"before_build": ["sh", "build.sh"]}, files={"build.sh": BUILD, **EDITION, **BUILT})
    before, restarted = shown(site), site.restarted_at()
    (site.path / "bundle.txt").unlink()
    for command in ("status", "verify"):
        assert "bundle.txt is missing; the build has made it" in str(site.json(command, check=10)["problems"])
    (site.path / "keys.ignored" / "key.pem").write_text("mine\n")
    says(site.releaser("update", "--dry-run", check=0), "bundle.txt is missing in the checkout")
    says(site.releaser("update", "-v", check=0), "bundle.txt is missing in the checkout")
    assert shown(site) == (*before[:2], "mine"), "an edit stays"
    assert site.restarted_at() != restarted
    silent(site.releaser("update"))
    site.publish("alpha", "1.1.0")
    says(site.releaser("update", check=0), "keys.ignored/key.pem is changed")


@pytest.mark.slow
def test_law_13_27_a_product_that_the_site_deletes_itself_is_not_built_each_night(make_site: SiteFactory) -> None:
    site = make_site.live(settings={"before_build": ["sh", "build.sh"]}, files={"build.sh": BUILD, **EDITION, **BUILT})
    site.write_dotenv(restart="rm bundle.txt")
    for _ in range(3):
        (site.path / "bundle.txt").unlink(missing_ok=True)
        site.releaser("update", check=0)
    live = site.live()
    silent(site.releaser("update"))
    assert site.live() == live


@pytest.mark.slow
def test_law_03_06_code_that_a_person_has_put_back_leaves_no_products_of_the_other(make_site: SiteFactory) -> None:
    """And what a rollback leaves is on hold; a product that becomes executable is another one."""
    build = "grep EDITION shop.py > tool.ignored; grep -q 'EDITION = 2' shop.py && chmod 755 tool.ignored || true"
    files = {**EDITION, ".gitignore": BUILT[".gitignore"]}
    site = make_site.live(settings={"before_build": ["sh", "-c", build]}, files=files)
    first, head, tool = site.live(), site.head(), site.path / "tool.ignored"
    site.push_from_elsewhere(CODE)
    site.releaser("update", check=0)
    assert (tool.read_text(), os.access(tool, os.X_OK)) == ("EDITION = 2\n", True)
    site.git("reset", "--quiet", "--hard", head)
    says(site.releaser("rollback", check=0), "Updates will skip: commit")
    assert (site.live(), tool.read_text(), os.access(tool, os.X_OK)) == (first, "EDITION = 1\n", False)
    silent(site.releaser("update"))


@pytest.mark.slow
def test_law_13_a_product_that_a_person_has_changed_is_refused_by_name(make_site: SiteFactory) -> None:
    site = make_site.live(settings={"before_build": ["sh", "build.sh"]}, files={"build.sh": BUILD, **EDITION, **BUILT})
    site.push_from_elsewhere(CODE)
    site.edit("bundle.txt", "mine\n")
    live, before = site.live(), site.snapshot()
    says(site.releaser("update", check=3), site.path / "bundle.txt")
    tests = len(site.test_runs())
    for command in ("update --dry-run", "update"):
        says(site.releaser(command, check=3), site.path / "bundle.txt")
    assert (site.snapshot(), site.live(), len(site.test_runs())) == (before, live, tests), "the release stays ready"
    (site.path / "bundle.txt").unlink()
    site.releaser("update", check=0)
    assert shown(site)[:2] == ("2", "built: EDITION = 2")
    site.edit("bundle.txt", "mine\n")
    says(site.releaser("rollback", check=3), site.path / "bundle.txt")


#: A build backend that writes a module beside the source, as hatch's hooks do.
BACKEND = """\
import pathlib, wheels
def build_editable(directory, config_settings=None, metadata_directory=None):
    pathlib.Path("made.py").write_text(pathlib.Path("shop.py").read_text())
    return wheels.build_wheel(pathlib.Path(directory), "shop", "1.0").name
"""


@pytest.mark.met("a module that a build generates is missing or old", "uv #17897")
@pytest.mark.slow
def test_law_13_code_of_an_adopted_site_comes_back_and_its_settings_stay(make_site: SiteFactory) -> None:
    source = Path(wheels.__file__).read_text(encoding="utf-8")
    files = {
        **EDITION,
        "backend.py": BACKEND,
        "wheels.py": source,
        ".gitignore": "__pycache__/\nmade.py\nlocal_settings.py\n",
    }
    toml = '\n[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    site = make_site(files=files, toml=toml, settings={"before_build": ["sh", "-c", "echo 8 > local_settings.py"]})
    site.edit("local_settings.py", "PASSWORD = 1\n")
    site.make_venv()
    site.releaser("init", check=0)

    def lie() -> tuple[str, str]:
        return (site.path / "made.py").read_text()[:11], (site.path / "local_settings.py").read_text()

    assert lie() == ("EDITION = 1", "PASSWORD = 1\n")
    (site.path / "made.py").unlink()
    site.update_to("1.1.0")
    assert lie() == ("EDITION = 1", "PASSWORD = 1\n")
    site.push_from_elsewhere(CODE)
    says(site.releaser("update", check=0), site.path / "local_settings.py")
    assert lie() == ("EDITION = 2", "PASSWORD = 1\n")
    site.releaser("rollback", check=0)
    assert lie() == ("EDITION = 1", "PASSWORD = 1\n")


#: A build backend that compiles an extension module beside its source, as `uv sync` lets setuptools do.
COMPILER = """\
import pathlib, subprocess, sysconfig, wheels
def compile_fast():
    words = ["gcc", "-shared", "-fPIC", f"-I{sysconfig.get_path('include')}", "-o"]
    subprocess.run([*words, "fast" + sysconfig.get_config_var("EXT_SUFFIX"), "fast.c"], check=True)
def build_editable(directory, config_settings=None, metadata_directory=None):
    compile_fast()
    return wheels.build_wheel(pathlib.Path(directory), "shop", "1.0").name
"""
COMPILE = "import backend; backend.compile_fast()"
FAST = """\
#include <Python.h>
static struct PyModuleDef fast = {PyModuleDef_HEAD_INIT, "fast", 0, -1, 0};
PyMODINIT_FUNC PyInit_fast(void) {
    PyObject *module = PyModule_Create(&fast);
    PyModule_AddIntConstant(module, "edition", EDITION);
    return module;
}
"""


def write_extension(edition: int) -> dict[str, str]:
    """Return C code, and Python code that needs that edition of it."""
    shop = f"import fast\nEDITION = {edition}\nBROKEN = fast.edition != EDITION\n"
    return {"fast.c": f"#define EDITION {edition}\n{FAST}", "shop.py": shop}


@pytest.mark.met("a C extension beside its source", "uv #12399", "iceberg-python #2869", "uv #17897")
@pytest.mark.slow
@pytest.mark.parametrize("by", ["uv", "before_build"])
def test_law_03_04_an_extension_module_is_tested_goes_live_and_goes_back_with_its_code(
    make_site: SiteFactory, by: str
) -> None:
    """Also where a person has compiled it before the adoption."""
    require(shutil.which("gcc") and Path(sysconfig.get_path("include"), "Python.h").exists(), "gcc and Python.h")
    files = {"backend.py": COMPILER, "wheels.py": Path(wheels.__file__).read_text("utf-8"), **write_extension(1)}
    toml = '\n[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    settings = {"before_build": ["python", "-c", COMPILE]} if by == "before_build" else {}
    files[".gitignore"] = "__pycache__/\n*.so\n"
    site = make_site(files=files, toml=toml if by == "uv" else "", settings=settings)
    site.make_venv()
    if by == "before_build":
        site.run(site.link / "bin" / "python", "-c", COMPILE)
    site.releaser("init", check=0)

    def edition() -> str:
        code = "import fast, shop; print(fast.edition, shop.EDITION, shop.BROKEN)"
        return site.run(site.link / "bin" / "python", "-c", code).stdout.strip()

    site.push_from_elsewhere(write_extension(2))
    site.releaser("update", check=0)
    assert (edition(), site.status()) == ("2 2 False", "")
    silent(site.releaser("update"))
    site.releaser("rollback", check=0)
    assert edition() == "1 1 False"
