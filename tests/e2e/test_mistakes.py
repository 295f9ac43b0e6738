"""Mistakes of people: a wrong directory, a project that is not adopted, a misspelt word; and what to do about them."""

from pathlib import Path

from releaser.site.settings import FIRST_FAILED_VARIABLE
from tests.support import snapshots
from tests.support.commands import console_script, run
from tests.support.sites import SampleSite, SiteFactory

INIT = "what to do: Run `releaser init` to adopt the project."
COMMANDS = (
    "update", "update --dry-run", "update --if-due", "update alpha", "init", "propose", "rollback", "rollback live",
    "rebuild", "prune", "pin live", "hold alpha", "unhold alpha", "accept alpha", "status", "list", "show live",
    "history", "check",
    "audit", "verify", "outdated", "packages", "diff live", "run true", "config restart",
    "test-mail", "setup --yes --no-mail --schedule none", "exec --refresh daily -- true", "export --requirements",
)  # fmt: skip


def in_directory(site: SampleSite, place: Path, command: str) -> str:
    """Run a command in a directory; return what it printed to stderr."""
    finished = run([console_script(), *command.split()], cwd=place, env=site.env)
    assert finished.returncode in (2, 3, 4, 9), finished
    return finished.stderr


def test_a_wrong_directory_is_named_and_nothing_is_written(make_site: SiteFactory, tmp_path: Path) -> None:
    site = make_site()
    for name in ("empty", "open", "no lock/project"):
        place = tmp_path / name
        place.mkdir(parents=True)
        if name == "open":  # such as /tmp: it has no project whose owner could matter
            place.chmod(0o777)
        if name == "no lock/project":
            (place / "pyproject.toml").write_text('[project]\nname = "other"\nversion = "1"\n', encoding="utf-8")
        before = snapshots.tree(tmp_path)
        for command in COMMANDS if name != "open" else ("update", "status", "run true"):
            said = in_directory(site, place, command) if (name, command) not in ALLOWED else ""
            if name != "no lock/project":
                assert f"there is no project here: neither {place} nor" in said, command
                assert "what to do: Change to the project with `cd`, or add `--project PATH` to the command." in said
            assert snapshots.tree(tmp_path) == before, command


#: Questions that a project without a lock answers.
ALLOWED = {("no lock/project", command) for command in ("status", "list", "history", "config restart")}


#: What a project without a release answers: the exit status, and what is said.
NOT_ADOPTED: dict[str, tuple[int, str]] = {
    "status": (0, "no release yet. Run `releaser init` to adopt the project."),
    "list": (0, "there are no releases yet. Run `releaser init` to adopt the project."),
    "history": (0, "there have been no runs yet"),
    "rollback": (9, f"the project has no release yet\n  {INIT}"),
    "rebuild": (3, INIT),
    "propose": (3, INIT),
    **dict.fromkeys(
        ("rollback --dry-run", "rollback live", "prune", "show live", "verify", "diff previous"), (9, INIT)
    ),
    **dict.fromkeys(("packages", "run true", "pin live"), (9, INIT)),
    "audit": (9, f"no release is live\n  {INIT}"),
    "hold alhpa": (2, "what to do: Did you mean `alpha`?"),
    "update alhpa": (2, "what to do: Did you mean `alpha`?"),
    "unhold alpha": (2, "alpha is not on hold"),
}


def test_a_project_that_is_not_adopted(make_site: SiteFactory) -> None:
    site = make_site()
    for command, (status, words) in NOT_ADOPTED.items():
        finished = site.releaser(command, check=status)
        assert words in finished.stdout + finished.stderr, command
    asked = site.json("status")
    assert (asked["live"], asked["last_run"]) == (None, None)
    assert site.json("list") == site.json("history") == []
    assert not site.state_dir.parent.exists()
    said = in_directory(site, site.outer, "status")
    assert f"what to do: Did you mean the project in `{site.path.name}`? Run `cd {site.path.name}`, or" in said


def test_a_typo_leaves_no_log_and_no_line_in_the_history(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0")
    live = site.live_id()
    logs, history = sorted((site.state_dir / "logs").iterdir()), site.json("history")
    for command, status, words in (
        ("hold alhpa", 2, "Did you mean `alpha`?"),
        ("unhold alpha", 2, "Nothing is on hold."),
        ("accept alpha", 2, "Run `releaser update` first"),
        ("rollback liev", 9, "Did you mean `live`?"),
        ("show previuos", 9, "Did you mean `previous`?"),
        (f"pin {live}x", 9, f"Did you mean `{live}`?"),
        ("rollback 2020", 9, "See `releaser list`."),
        ("config test_timout", 2, "Did you mean `test_timeout`?"),
        ("update alhpa", 2, "Did you mean `alpha`?"),
        ("udpate", 2, "Did you mean `update`?"),
        ("bundle creat", 2, "Did you mean `bundle create`?"),
        ("create", 2, "Did you mean `bundle create`?"),
        ("update --forse", 2, "Did you mean `--force`?"),
        ("schedule cran", 2, "Did you mean `cron`?"),
        ("status", 0, live),
        ("list", 0, live),
        ("outdated", 0, ""),
        ("check", 0, "everything is ready"),
    ):
        finished = site.releaser(command, check=status)
        assert words in finished.stdout + finished.stderr, finished
        assert sorted((site.state_dir / "logs").iterdir()) == logs, command
    assert site.json("history") == history
    finished = run([console_script(), "--json", "status"], cwd=site.path, env=site.env, check=2)
    assert "Options follow the name of a command: `releaser COMMAND --json`." in finished.stderr


#: What was meant by values of settings that nothing reads as they are.
MEANT = {
    "UPGRADE": ("minr", "minor"),
    "GIT_PULL": ("yes", "true"),
    "KEEP_WITHIN": ("30 days", "30d"),
    "VULNERABILITY_SERVICE": ("osv.example.org", "https://osv.example.org"),
    "HEALTH_CHECK": ("www.example.org/health", "https://www.example.org/health"),
    "RESTART": ("autoo", "auto"),
    "GROUP": ("locl", "local"),
}


def test_wrong_values_get_a_guess_and_a_command(make_site: SiteFactory) -> None:
    site = make_site(dotenv={f"RELEASER_{name}": wrong for name, (wrong, _) in MEANT.items()}, venv=True)
    said = site.releaser("check", check=3).stderr
    for name, (_, meant) in MEANT.items():
        assert f"Did you mean `{meant}`?" in said
        assert f"releaser setup --set {name.lower()}=" in said


def test_a_venv_in_the_place_of_the_symlink(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0")
    live = site.live_id()
    site.link.unlink()
    site.make_venv()
    for command in ("update", "rollback", "check"):
        said = site.releaser(command, check=3).stderr
        assert f"{site.link} is no symlink now, but releaser made {live} live last" in said
        assert f"To go back to {live}, run `releaser rollback {live}`: the directory becomes a release, too." in said
        assert "To keep the directory live, run `releaser init`." in said
    assert "no symlink now" in site.releaser("audit", check=9).stderr
    site.releaser(f"rollback {live}", check=0)
    assert site.live_id() == live
    assert len(site.releases()) == 3, "that of the directory"


def test_no_temporary_directory_is_no_bug(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    for command in ("verify --tests", "check --tests"):  # uv does not start under such a limit
        words: list[str | Path] = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", console_script(), *command.split()]
        finished = run(words, cwd=site.path, env=site.env, check=4)
        assert "Traceback" not in finished.stderr
        assert "No usable temporary directory" in finished.stderr
        assert "TMPDIR" in finished.stderr


def test_a_system_error_leaves_no_half_built_release(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.publish("alpha", "1.1.0", modules={"alpha/__init__.py": "", "_releaser_pin.py/x.py": ""})
    before = site.releases()
    assert "the candidate could not be built: [Errno" in site.releaser("update", check=4).stderr
    assert site.releases() == before


def test_no_tests_is_said_with_the_setting(make_site: SiteFactory) -> None:
    site = make_site.adopted(files={"site_tests.py": ""}, due="1.1.0")
    advice = "Add a test, or set `test_command` in `../.env`: `RELEASER_TEST_COMMAND=COMMAND`, or run `releaser setup"
    report = site.json("update", check=5)
    assert report["headline"] == "no tests ran, and none ran on the live release"
    assert report["advice"].startswith(advice)
    finished = site.releaser("check --tests", check=3)
    assert "does not pass: no tests ran\n" in finished.stderr
    assert advice in finished.stderr


def test_what_a_setting_forbids_is_said_with_that_setting(make_site: SiteFactory) -> None:
    site = make_site.adopted(dotenv={"RELEASER_SENDMAIL": "none"})
    said = site.releaser("audit", check=4).stderr
    assert "was not audited: the setting `vulnerability_service` is `none`" in said
    assert "what to do: Remove that setting. `releaser config vulnerability_service`" in said
    env: dict[str, str | None] = {"RELEASER_UV_TIMEOUT": "0.001s"}  # copying has that limit, too
    said = site.releaser("verify --tests", env=env, check=4).stderr
    assert f"release {site.live_id()} cannot be copied for testing: " in said
    site.releaser("verify", env=env, check=0)
    assert "Run `releaser setup --smtp-host HOST`" in site.releaser("test-mail", check=3).stderr
    site.write_dotenv({"RELEASER_SENDMAIL": "none", "ADMINS_JSON": None})
    advice = f"Set `ADMINS_JSON=ada@example.org` in {site.outer}/.env, or run `releaser setup --admin ada@example.org`."
    assert advice in site.releaser("test-mail", check=3).stderr


def test_a_dry_run_says_that_a_release_would_wait(make_site: SiteFactory) -> None:
    site = make_site.adopted(due="1.1.0")
    env: dict[str, str | None] = {FIRST_FAILED_VARIABLE: "/srv/first did not end well"}
    said = site.releaser("update --dry-run", env=env, check=0).stdout
    assert "would wait once it is built: /srv/first did not end well" in said
    assert "would wait" not in site.releaser("update --dry-run --force", env=env, check=0).stdout
