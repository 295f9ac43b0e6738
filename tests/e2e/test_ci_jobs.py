"""The GitHub Action and the GitLab template: their steps are run on a fresh checkout of a site, and linted."""

import os
import re
import shlex
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.commands import Finished, console_script, run, uv_executable
from tests.support.guards import require
from tests.support.sites import SampleSite, SiteFactory

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = REPOSITORY / "share" / "releaser"
ACTION, GITLAB, CONTAINERFILE = REPOSITORY / "action.yml", SHARED / "ci/gitlab.yml", SHARED / "container/Containerfile"
PACKAGES = SHARED / "ci/gitlab-packages.yml"
LINTERS = REPOSITORY / ".venv-fleet" / "bin"
# In place of `python3 -m venv`: an environment that has releaser, and whose pip notes its arguments. As in an
# installation by the launcher, `share` is a symlink, and uv lies next to the real directory alone.
VENV = """\
#!/bin/sh -e
rm -rf "$3/venv"
mkdir -p "$3/bin" "$3/venv/bin" "$3/venv/share"
ln -s {releaser} {uv} "$3/venv/bin"
cp -R {shared} "$3/venv/share/releaser"
ln -sfn venv/share "$3/share"
printf '#!/bin/sh\\necho "$@" >>{log}\\n' >"$3/bin/pip"
chmod +x "$3/bin/pip"
"""
PUBLIC = {"before_live": "touch ../acted", "after_live": "touch ../acted", "restart": "touch ../acted"}
Job = Callable[..., Finished]


def github(override: str) -> tuple[str, dict[str, str]]:
    """Return the commands of the action, and what GitHub and its inputs set."""
    content = read(ACTION)
    values = {name: one["default"] for name, one in content["inputs"].items()}
    values |= {"override": "" if override == "packages" else override}
    lines, env = [], {"GITHUB_ACTION_PATH": str(REPOSITORY)}
    for step in content["runs"]["steps"]:
        if "if" in step and override != "packages":
            continue
        for name, value in step.get("env", {}).items():
            env[name] = re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: values[found[1]], value)
        lines.append(f"(\n{step['run']})")
    return "\n".join(lines), env


def gitlab(override: str) -> tuple[str, dict[str, str]]:
    """Return the commands of the template, and what its variables set."""
    job = read(GITLAB)["releaser"]
    return "\n".join(job["script"]), {**job["variables"], "OVERRIDE": override}


def gitlab_packages(_: str) -> tuple[str, dict[str, str]]:
    """Return the commands of the first job of a pipeline, and what its variables set."""
    job = read(PACKAGES)["packages"]
    variables = {name: value for name, value in job["variables"].items() if not value.startswith("$CI_")}
    return "\n".join(job["script"]), variables


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    """A site whose settings are for the server, where alone its health check succeeds."""
    return make_site(settings={**PUBLIC, "health_check": "false"})


@pytest.fixture
def job(site: SampleSite, tmp_path: Path) -> Job:
    """Run the job of a service with packages to try, in a checkout like that of the service: shallow, on no branch."""
    place, programs = tmp_path / "job", tmp_path / "programs"
    clone: list[str | Path] = ["git", "clone", "--quiet", "--depth=1", site.remote.as_uri(), place / "site"]
    run(clone, cwd=tmp_path, env=site.env, check=0)
    run(["git", "checkout", "--quiet", "--detach"], cwd=place / "site", env=site.env, check=0)
    programs.mkdir()
    paths = {"releaser": console_script(), "uv": uv_executable(), "shared": SHARED, "log": tmp_path / "pip"}
    text = VENV.format(**{name: shlex.quote(str(path)) for name, path in paths.items()})
    (programs / "python3").write_text(text, encoding="utf-8")
    (programs / "python3").chmod(0o755)

    def start(service: Callable[[str], tuple[str, dict[str, str]]], override: str = "") -> Finished:
        shutil.copytree(site.index.path, place / "index", dirs_exist_ok=True)
        script, variables = service(override)
        env = {**site.env, **variables, "PATH": f"{programs}:/usr/bin:/bin", "RUNNER_TEMP": str(tmp_path / "temp")}
        finished = run(["bash", "-eo", "pipefail", "-c", script], cwd=place / "site", env=env)
        assert not (place / "acted").exists()
        return finished

    return start


def test_packages_are_tried_with_the_tests_of_the_site(site: SampleSite, job: Job, tmp_path: Path) -> None:
    site.publish("alpha", "1.1.0")
    site.publish("beta", "1.1.0")
    tried = job(github, "\n  alpha==1.1.0\nbeta==1.1.0\n")
    assert tried.returncode == 0, tried
    assert "everything is ready for an update" in tried.stderr
    assert "the tests pass with alpha==1.1.0, beta==1.1.0. Nothing went live" in tried.stderr
    installing = (tmp_path / "pip").read_text(encoding="utf-8").splitlines()
    pinned = "install --quiet --only-binary :all: --require-hashes --requirement constraints.txt"
    assert installing == [pinned, "install --quiet --no-deps ."]
    # On a machine that was used before: git has removed what it ignores, and nothing around the checkout.
    (tmp_path / "job" / "site" / ".venv").unlink()
    site.publish("alpha", "1.2.0", broken=True)
    assert job(gitlab, "alpha==1.2.0").returncode == 5
    installing = (tmp_path / "pip").read_text(encoding="utf-8").splitlines()[len(installing) :]
    assert installing == ["install --quiet --only-binary :all: venv-releaser"]


@pytest.mark.parametrize(("service", "word"), [(github, "packages"), (gitlab_packages, "")])
def test_the_first_job_installs_the_packages_and_the_others_unpack_them(
    site: SampleSite, job: Job, tmp_path: Path, service: Any, word: str
) -> None:
    place, made = tmp_path / "job" / "site", tmp_path / "made"
    assert job(service, word).returncode == 0
    (place / "releaser-packages").rename(made)
    live = os.readlink(place / ".venv")
    for left in (place, tmp_path / "job" / ".releaser"):
        shutil.rmtree(left)
    clone: list[str | Path] = ["git", "clone", "--quiet", "--depth=1", site.remote.as_uri(), place]
    run(clone, cwd=tmp_path, env=site.env, check=0)
    shutil.copytree(made, place / "releaser-packages")
    other = [
        *read(PACKAGES)[".with-packages"]["before_script"],
        '.venv/bin/python -c "import alpha, sys; print(sys.prefix)"',
    ]
    words = ["bash", "-eo", "pipefail", "-c", "\n".join(other)]
    env = {"PATH": "/usr/bin:/bin", "SITE": "."}

    def unpack(*, cwd: Path = place) -> Finished:
        return run(words, cwd=cwd, env=env)

    releases = (place / live).parents[1]
    for name in ("earlier/unpacked", "other/manifest.json"):
        (releases / name).parent.mkdir(parents=True)
        (releases / name).touch()
    for _ in range(2):  # on a machine that was used before, too
        unpacked = unpack()
        assert (unpacked.returncode, unpacked.stdout.strip()) == (0, str((place / live).resolve())), unpacked
    assert {one.name for one in releases.resolve().iterdir()} == {Path(live).parent.name, "other"}
    before, lock = os.readlink(place / ".venv"), (place / "uv.lock").read_text(encoding="utf-8")
    (place / "uv.lock").write_text(lock + "\n", encoding="utf-8")
    assert "made from another uv.lock" in refused(unpack())
    (place / "uv.lock").write_text(lock, encoding="utf-8")
    facts = (made / "made-for").read_text(encoding="utf-8")
    for right, wrong in (("Python 3", "Python 4"), ("/python3", "/missing/python3")):
        (place / "releaser-packages" / "made-for").write_text(facts.replace(right, wrong, 1), encoding="utf-8")
        assert "which this job does not have" in refused(unpack())
    (place / "releaser-packages" / "made-for").write_text(facts, encoding="utf-8")
    assert os.readlink(place / ".venv") == before
    (place / ".venv").unlink()
    (place / ".venv").mkdir()
    (place / ".venv" / "mine").touch()
    assert "replaces only a symlink" in refused(unpack())
    assert (place / ".venv" / "mine").exists()
    shutil.copytree(place, elsewhere := tmp_path / "elsewhere")
    assert f"but this job runs in {elsewhere}" in refused(unpack(cwd=elsewhere))


def test_a_checkout_that_an_earlier_pipeline_used_gets_the_packages_of_its_own_lock(
    site: SampleSite, job: Job, tmp_path: Path
) -> None:
    """Some runners keep the files that git ignores, so the symlink to the packages of another lock."""
    place = tmp_path / "job" / "site"
    (place / ".git" / "info").mkdir(exist_ok=True)
    (place / ".git" / "info" / "exclude").write_text("/releaser-packages/\n/.venv\n", encoding="utf-8")
    assert job(gitlab_packages).returncode == 0
    shutil.copytree(site.publish("alpha", "1.1.0").parent, place.parent / "index", dirs_exist_ok=True)
    run([uv_executable(), "lock", "--upgrade"], cwd=place, env=site.env, check=0)
    ada = ("-c", "user.name=ada", "-c", "user.email=ada@example.org")
    run(["git", *ada, "commit", "--quiet", "--all", "--message=News"], cwd=place, env=site.env, check=0)
    assert job(gitlab_packages).returncode == 0
    with tarfile.open(place / "releaser-packages" / "packages.tar.gz") as archive:
        found = {Path(name).name for name in archive.getnames() if name.endswith(".dist-info")}
    assert {name for name in found if name.startswith("alpha")} == {"alpha-1.1.0.dist-info"}


def refused(finished: Finished) -> str:
    assert (finished.returncode, finished.stdout) == (3, ""), finished
    return finished.stderr


def test_without_packages_the_site_is_checked_alone(job: Job, tmp_path: Path) -> None:
    assert job(gitlab).returncode == 0
    assert not (tmp_path / "job" / ".releaser").exists()
    (tmp_path / "job" / "site" / "uv.lock").unlink()
    assert job(github).returncode == 3


@pytest.mark.parametrize(
    "words",
    [
        ("check-jsonschema", "--builtin-schema", "vendor.github-actions", ACTION),
        ("check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci", GITLAB),
        ("check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci", PACKAGES),
        ("hadolint", CONTAINERFILE),
    ],
    ids=lambda words: words[-1].name,
)
def test_they_are_what_their_readers_expect(words: tuple[str | Path, ...]) -> None:
    require(LINTERS.is_dir(), "check-jsonschema and hadolint are needed: `make .venv-fleet/.ready`")
    run([LINTERS / words[0], *words[1:]], cwd=REPOSITORY, env=os.environ, check=0)
