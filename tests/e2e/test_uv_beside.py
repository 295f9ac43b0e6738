"""uv in the checkout of a live site: with `uv_guard` it refuses; without, releaser names the change and repairs it."""

from collections.abc import Callable

import pytest

from releaser.releases.uv_guard import TEXT
from tests.support.commands import run, uv_executable
from tests.support.sites import SampleSite, SiteFactory

TO_SET = "`releaser setup --set uv_guard=true`"
RUN = ("run", "python", "-c", "0")
REFUSED = (
    ("sync",),
    RUN,
    ("add", "gamma"),
    ("remove", "beta"),
    ("pip", "install", "--upgrade", "alpha"),
    ("pip", "uninstall", "alpha"),
)


def in_venv(site: SampleSite) -> dict[str, bytes]:
    """Return the files of the live venv, without uv's empty lock."""
    venv = site.link.resolve()
    files = {str(path.relative_to(venv)): path.read_bytes() for path in venv.rglob("*") if path.is_file()}
    files.pop(".lock", None)
    return files


def test_uv_refuses_a_guarded_release_and_releaser_works_on(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0")
    site.write_dotenv({"RELEASER_UV_GUARD": "true"})
    site.update_to("alpha", "1.1.1")
    site.publish("gamma", "1.0.0")
    before = in_venv(site)
    for words in REFUSED:
        said = run([uv_executable(), *words], cwd=site.path, env=site.environment())
        assert said.returncode == 2, words
        for sentence in ("belongs to releaser", "`releaser update`", "`releaser run`", "UV_PROJECT_ENVIRONMENT"):
            assert sentence in said.stderr, words
        assert in_venv(site) == before, words
        site.git("checkout", "--quiet", ".")
    assert site.json("status")["problems"] == []
    site.releaser("verify", check=0)
    assert site.releaser("run", "--", "python", "-c", "import alpha; print(1)", check=0).stdout == "1\n"
    site.update_to("alpha", "1.1.2")
    site.releaser("uninstall", "--yes", check=0)
    assert TEXT.encode() not in in_venv(site).values()
    site.uv("sync", "--frozen", "--check", "--group", "local")


def sync_after_pull(site: SampleSite) -> None:
    lock = site.path / "uv.lock"
    site.uv("lock", "--quiet", "--upgrade-package", "alpha")
    changed = lock.read_text(encoding="utf-8")
    site.git("checkout", "--quiet", ".")
    site.push_from_elsewhere({"uv.lock": changed})
    site.git("pull", "--quiet")
    site.uv("sync", "--quiet", "--group", "local")


def run_with_changed_lock(site: SampleSite) -> None:
    site.uv("lock", "--quiet", "--upgrade-package", "alpha")
    site.uv(*RUN)


def pip_install(site: SampleSite) -> None:
    words = ("-m", "pip", "--python", site.link / "bin" / "python", "install", "--quiet", "--no-index", "--upgrade")
    run(["python3", *words, "--find-links", site.outer / "index", "alpha"], cwd=site.path, env=site.env, check=0)


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("change", "words", "is_clean"),
    [
        (sync_after_pull, "alpha 1.1.0 → 1.1.1; by uv as ", True),
        (run_with_changed_lock, "alpha 1.1.0 → 1.1.1; by uv as ", False),
        (lambda site: site.uv("add", "gamma"), "gamma 1.0.0 added; by uv as ", False),
        (pip_install, "alpha 1.1.0 → 1.1.1; by pip as ", True),
    ],
    ids=["uv sync after git pull", "uv run with a changed lock", "uv add", "pip install"],
)
def test_the_change_is_named_with_what_made_it_and_the_release_is_rebuilt(
    make_site: SiteFactory, change: Callable[[SampleSite], object], words: str, is_clean: bool
) -> None:
    site = make_site.adopted("1.1.0")
    for name, version in (("alpha", "1.1.1"), ("gamma", "1.0.0")):
        site.publish(name, version)
    damaged = site.live_id()
    change(site)
    (problem,) = site.json("status")["problems"]
    assert words in problem
    assert (TO_SET in problem) is ("by uv" in words)
    report = site.json("update", check=0 if is_clean else 3)
    (told,) = (one for one in report["problems"] if " is damaged" in one)
    assert words in told
    if not is_clean:
        assert site.live_id() == damaged
        site.git("checkout", "--quiet", ".")
        report = site.json("update")
    assert words in report["headline"]
    assert site.json("status")["problems"][1:] == []
    assert report["release"] == site.live_id() != damaged
