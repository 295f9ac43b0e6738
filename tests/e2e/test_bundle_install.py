"""bundle install: a release of another host is tested and goes live on a host without network, index and remote."""

import copy
import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.e2e.scenes import NEW_IS_SICK, says, step_names
from tests.e2e.test_environments import share
from tests.support import trees
from tests.support.bundles import make_bundle, read_manifest
from tests.support.commands import Finished, Identity, named_users, releaser_command, require
from tests.support.commands import run as start
from tests.support.sites import SampleSite, SiteFactory, user_directory


def new_host(base: Path, user: Identity | None = None) -> SampleSite:
    """Return a site on an empty host: no index, no remote, no checkout."""
    host = SampleSite(base, uv_cache=base / "no-cache", outer="host", user=user)
    host._make(host.outer)
    host.write_dotenv()
    return host


def installed(host: SampleSite, bundle: Path, *, code: int = 0) -> str:
    """Install a bundle of which nobody asks who signed it, and return what was said."""
    into: list[str | Path] = [] if host.path.exists() else ["--into", host.path]
    project = "" if host.path.exists() else None
    return host.releaser("bundle install", bundle, *into, "--unsigned", project=project, check=code).stderr


@pytest.fixture
def bundles(site: SampleSite, tmp_path: Path) -> tuple[Path, Path]:
    """A bundle of a release, and the delta to the next one, which has another package and other code."""
    return make_two(site, tmp_path)


def make_two(site: SampleSite, place: Path, *, broken: bool = False, edition: int = 2) -> tuple[Path, Path]:
    """Make a bundle of what is live, and the delta to the next release; its tests pass where it is made alone."""
    first = make_bundle(site, place / "first.rb")
    tests = "import os\nBROKEN = os.path.exists('../host-only')\n" if broken else "BROKEN = False\n"
    site.push_commit("Next", {"shop.py": f"EDITION = {edition}\n{tests}"})
    site.update_to("1.1.0")
    return first, make_bundle(site, place / "second.rb", base=first)


@pytest.fixture
def host(tmp_path: Path) -> SampleSite:
    """An empty host."""
    return new_host(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("who", ["root", "an ordinary user"])
def test_law_05_a_host_without_any_route_installs_a_delta_and_goes_back(
    who: str, site: SampleSite, bundles: tuple[Path, Path], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    require(os.geteuid() == 0 and shutil.which("unshare"), "root makes a network namespace")
    user = request.getfixturevalue("ordinary_user") if who != "root" else None
    with user_directory() as base:
        base.chmod(0o755)
        if user is not None:
            user.own(base)
        host = new_host(base, user)
        first, second = (Path(shutil.copy(bundle, base)) for bundle in bundles)
        alone = ["unshare", "--net", *(user.prefix if user else ())]
        program = str(user.programs / "releaser") if user else releaser_command()[0]

        def run(*words: str | Path, check: int = 0) -> str:
            project: list[str | Path] = ["--project", host.path] if "--into" not in words else []
            return start([*alone, program, *words, *project], cwd=base, env=host.env, check=check).stderr

        run("bundle", "install", first, "--into", host.path, "--unsigned")
        assert (host.version("alpha"), host.status()) == ("1.0.0", "")
        older = host.live()
        run("bundle", "install", second, "--unsigned")
        assert (host.version("alpha"), host.head(), host.status()) == ("1.1.0", site.head(), "")
        assert "EDITION = 2" in (host.path / "shop.py").read_text("utf-8")
        assert run("check")
        assert run("status") == ""
        run("rollback")
        assert (host.live(), host.version("alpha"), host.status()) == (older, "1.0.0", "")
        assert "EDITION = 1" in (host.path / "shop.py").read_text("utf-8")
        says_held = run("bundle", "install", second, "--unsigned", check=3)
        assert "releaser unhold" in says_held
        if user is not None:
            theirs = base / "of-root" / "site"
            theirs.mkdir(parents=True)
            user.own(theirs)
            says_where = run("bundle", "install", first, "--into", theirs, "--unsigned", check=3)
            assert f"You may not write to `{theirs.parent}`." in says_where
            # a clone by hard links
            package = next((host.state / "releases").glob("*/venv/lib/*/site-packages/beta/__init__.py"))
            assert package.stat().st_nlink > 2


@pytest.mark.slow
def test_law_14_a_bundle_drops_no_commit_and_no_edit_of_people(
    site: SampleSite, host: SampleSite, bundles: tuple[Path, Path]
) -> None:
    first, second = bundles
    installed(host, first)
    host.edit("shop.py", "EDITION = 7\nBROKEN = False\n")
    says(refused_install(host, second), "shop.py")
    host.commit("A commit of a person")
    says(refused_install(host, second), host.head()[:12], "does not have")
    host.git("reset", "--quiet", "--hard", "HEAD~")
    host.edit("more.py", "")
    installed(host, second)
    assert (host.head(), host.status()) == (site.head(), "?? more.py")
    says(refused_install(host, first), "newer than the bundle", "releaser rollback")


@pytest.mark.slow
def test_law_13_what_lies_untracked_is_the_sites_whatever_a_bundle_brings(
    make_site: SiteFactory, host: SampleSite, tmp_path: Path
) -> None:
    build = "sh -c 'mkdir -p out.ignored && cp shop.py out.ignored/asset'"
    site = make_site.live(settings={"before_build": build})
    first, _ = make_two(site, tmp_path)
    site.push_commit("New files", {"new.txt": "theirs", "place/new.txt": "theirs"})
    site.update_to("1.2.0")
    third = make_bundle(site, tmp_path / "third.rb", base=first)
    installed(host, first)
    older = (host.path / "out.ignored/asset").read_text("utf-8")
    for path, place in {"new.txt": "new.txt", "place": "place", "out.ignored/asset": "out.ignored/asset"}.items():
        host.edit(path, "mine")
        says(refused_install(host, third), place, "Move them away")
        (host.path / path).unlink()
    (host.path / "out.ignored/asset").write_text(older, "utf-8")
    host.edit("out.ignored/mine", "mine")
    installed(host, third)
    host.releaser("rollback", check=0)
    assert (host.path / "out.ignored/asset").read_text("utf-8") == older
    assert (host.path / "out.ignored/mine").read_text("utf-8") == "mine"
    assert not (host.path / "place").exists()


def refused_install(host: SampleSite, bundle: Path, *words: str | Path, code: int = 3) -> Finished:
    """Install a bundle that must be refused, and change nothing."""
    earlier = {**trees.tree(host.path, skip=(".git", ".venv")), "live": host.live(), "head": host.head()}
    finished = host.releaser("bundle install", bundle, "--unsigned", *words, check=code)
    assert earlier == {**trees.tree(host.path, skip=(".git", ".venv")), "live": host.live(), "head": host.head()}
    return finished


@pytest.mark.slow
def test_law_03_a_bundle_whose_tests_fail_here_leaves_live_as_it_was(
    site: SampleSite, host: SampleSite, tmp_path: Path
) -> None:
    first, second = make_two(site, tmp_path, broken=True)
    installed(host, first)
    (host.outer / "host-only").touch()
    older = host.live()
    finished = refused_install(host, second, code=5)
    says(finished, "failed its tests", f"releaser bundle install {second}")
    assert (host.live(), host.version("alpha")) == (older, "1.0.0")
    (host.outer / "host-only").unlink()
    installed(host, second)
    assert host.version("alpha") == "1.1.0"


@pytest.mark.slow
def test_law_09_an_empty_host_may_fail_before_its_first_release_is_live(
    site: SampleSite, host: SampleSite, tmp_path: Path
) -> None:
    site.push_commit("Next", {"shop.py": "import os\nEDITION = 2\nBROKEN = os.path.exists('../host-only')\n"})
    site.update_to("1.1.0")
    bundle = make_bundle(site, tmp_path / "first.rb")
    (host.outer / "host-only").touch()
    for _ in range(2):
        installed(host, bundle, code=5)
    (host.outer / "host-only").unlink()
    installed(host, bundle)
    assert (host.version("alpha"), host.status()) == ("1.1.0", "")


@pytest.mark.slow
def test_law_04_an_ill_bundle_goes_back_by_itself(make_site: SiteFactory, tmp_path: Path) -> None:
    site = make_site.live(settings={"health_check": NEW_IS_SICK, "health_timeout": "0s"})
    host = new_host(tmp_path)
    first, second = make_two(site, tmp_path)
    installed(host, first)
    (host.outer / "sick").touch()
    older, head = host.live(), host.head()
    answer = json.loads(host.releaser("bundle install", second, "--unsigned", "--json", check=6).stdout)
    assert (answer["result"], answer["release"]) == ("rolled-back", older)
    assert (host.live(), host.head(), host.version("alpha"), host.status()) == (older, head, "1.0.0", "")
    assert "health" in step_names(answer)


@pytest.mark.slow
def test_law_01_a_bundle_changes_nothing_before_its_checkout(host: SampleSite, bundles: tuple[Path, Path]) -> None:
    first, second = bundles
    installed(host, first)
    before = trees.digest(host.link.resolve())
    installed(host, second)
    release = host.state / "releases" / json.loads(host.releaser("list", "--json").stdout)[1]["id"]
    assert trees.digest(release / "venv") == before
    assert host.releaser("bundle install", second, "--unsigned", check=0).stderr.startswith("Release")  # live already


@pytest.mark.slow
def test_law_10_a_second_installation_changes_nothing(host: SampleSite, bundles: tuple[Path, Path]) -> None:
    first, second = bundles
    installed(host, first)
    with host.starting("bundle install", second, "--unsigned") as process:
        while not (host.state / "journal.json").exists():
            assert process.poll() is None
        says(host.releaser("bundle install", second, "--unsigned", check=8), "bundle install")
        process.communicate(timeout=60)
    assert host.version("alpha") == "1.1.0"


def test_another_python_or_platform_is_named_before_anything_is_built(
    site: SampleSite, host: SampleSite, tmp_path: Path
) -> None:
    bundle = make_bundle(site, tmp_path / "other.rb", python="3.7.1", tags=("cp37", "linux_x86_64", "glibc-2.36"))
    says(host.releaser("bundle install", bundle, "--into", host.path, "--unsigned", project=None, check=3), "3.7.1")
    assert not host.link.is_symlink()
    assert not list((host.state / "releases").iterdir())


def test_a_directory_of_something_else_is_left_alone(site: SampleSite, host: SampleSite, tmp_path: Path) -> None:
    bundle = make_bundle(site, tmp_path / "first.rb")
    host.path.mkdir()
    (host.path / "letter.txt").write_text("Dear", "utf-8")
    options = ("--into", host.path, "--unsigned")
    says(host.releaser("bundle install", bundle, *options, project=None, check=3), "is not empty")
    assert [path.name for path in host.path.iterdir()] == ["letter.txt"]
    host.edit("pyproject.toml", "[project]\nname = 'a'\n")
    host.git("init", "--quiet")
    host.git("add", ".")
    host.git("commit", "--quiet", "--message", "Another project")
    before = trees.tree(host.path)
    says(host.releaser("bundle install", bundle, *options, project=None, check=3))
    assert trees.tree(host.path) == before
    assert not host.state.exists()


def test_law_30_31_a_place_of_somebody_else_is_refused_before_anything_is_made(
    site: SampleSite, ordinary_user: Identity | None, tmp_path: Path
) -> None:
    """A checkout of root would stay there for ever, and git would read a stranger's settings."""
    require(ordinary_user, "root and another user are needed")
    assert ordinary_user is not None
    bundle, host = make_bundle(site, tmp_path / "first.rb"), new_host(tmp_path)
    words = ("bundle install", bundle, "--into", host.path, "--unsigned")
    home = tmp_path / "of-ada"
    (home / ".config/git").mkdir(parents=True)
    (home / ".config/git/config").touch()
    ordinary_user.own(home)
    says(host.releaser(*words, project=None, env={"HOME": str(home)}, check=3), "git and uv read settings there")
    ordinary_user.own(host.outer)
    says(host.releaser(*words, project=None, check=3), f"`{host.outer}` belongs to", "sudo -u")
    assert os.listdir(host.outer) == [".env"]


def test_law_19_a_bundle_of_another_choice_of_groups_is_refused(
    site: SampleSite, host: SampleSite, tmp_path: Path
) -> None:
    """Else its packages would be live, `well`, and leave with the next update without a word."""
    bundle = make_bundle(site, tmp_path / "first.rb", selection="--group prod --extra api")
    assert "--group prod --extra api" in site.releaser("bundle show", bundle, check=0).stdout
    finished = host.releaser("bundle install", bundle, "--into", host.path, "--unsigned", project=None, check=3)
    says(finished, "`--group prod --extra api`", "`--group local`", f"{host.outer}/.env")
    assert not host.link.is_symlink()


def test_a_delta_without_its_base_is_refused_with_what_is_needed(host: SampleSite, bundles: tuple[Path, Path]) -> None:
    _, second = bundles
    assert {"wheels/beta-1.0.0-py3-none-any.whl"} <= {*read_manifest(second).omitted}
    options = ("--into", host.path, "--unsigned")
    says(host.releaser("bundle install", second, *options, project=None, check=3), "full bundle")
    assert not host.path.exists()


@pytest.mark.slow
def test_a_delta_needs_no_wheel_of_what_a_clone_has(host: SampleSite, bundles: tuple[Path, Path]) -> None:
    first, second = bundles
    installed(host, first)
    shutil.rmtree(host.state / "bundled")
    installed(host, second)
    assert (host.version("alpha"), host.version("beta")) == ("1.1.0", "1.0.0")


@pytest.mark.slow
def test_law_08_30_a_colleague_clears_away_what_a_killed_installation_has_left(
    make_site: SiteFactory, ordinary_user: Identity | None, tmp_path: Path
) -> None:
    require(ordinary_user, "only root can make users")
    assert ordinary_user is not None
    with named_users(ordinary_user.programs, "ada", "bob") as (ada, bob), user_directory() as base:
        site = make_site.of_user(ada, base, share)
        colleague, maker = copy.copy(site), site.copy(tmp_path)
        colleague.user, colleague.env = bob, site.env | {"HOME": str(base), "SITE_RECORD": ""}
        maker.user = None
        maker.git("config", "user.email", "ada@example.org")
        maker.commit("Next", {"shop.py": "EDITION = 2\nBROKEN = False\n"})
        bundle = Path(shutil.copy(make_bundle(maker, tmp_path / "first.rb"), base))
        bundle.chmod(0o644)
        with site.starting("bundle install", bundle, "--unsigned", "-v") as process:
            assert process.stderr is not None
            assert any("✓ fetch" in line for line in process.stderr)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        colleague.releaser("bundle install", bundle, "--unsigned", check=0)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["fetch", "build", "checkout", "flip", "publish"])
def test_law_08_a_killed_installation_leaves_one_whole_release(
    step: str, site: SampleSite, host: SampleSite, bundles: tuple[Path, Path]
) -> None:
    first, second = bundles
    installed(host, first)
    older = host.live()
    with host.starting("bundle install", second, "--unsigned", "-v") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if f"✓ {step}" in line:
                break
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert (host.live() == older) == (host.version("alpha") == "1.0.0")
    host.releaser("prune", check=0)
    assert not [path for path in host.state.iterdir() if path.name.endswith(".new")]
    installed(host, second)
    assert (host.version("alpha"), host.head(), host.status()) == ("1.1.0", site.head(), "")
    host.releaser("verify", check=0)
