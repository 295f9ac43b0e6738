"""Mistakes of people: a wrong directory or call, a project that is not adopted, a misspelt word; what to do."""

import json
import re
import sys
from pathlib import Path

import pytest

from releaser.site.settings import FIRST_FAILED_VARIABLE
from tests.e2e.refusals import everything, refused, seem_no_bug
from tests.support import snapshots
from tests.support.commands import Finished, console_script, run
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import MailServer

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
        assert f"{site.link} is not a symlink now, but releaser last made {live} live" in said
        assert f"To go back to {live}, run `releaser rollback {live}`: the directory becomes a release, too." in said
        assert "To keep the directory live, run `releaser init`." in said
    assert "not a symlink now" in site.releaser("audit", check=9).stderr
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


# Wrong calls


WRONG_USAGE: list[tuple[tuple[str, ...], str]] = [
    (("updaet",), "updaet"),
    (("update", "--colour"), "--colour"),
    (("update", "now"), "now"),
    (("update", "--project"), "--project"),
    (("update", "--project", ""), "--project"),
    (("list", "--project="), "--project"),
    (("update", "--wait", "-1"), "--wait"),
    (("update", "--wait", "soon"), "soon"),
    (("update", "--from", ""), "is not a valid channel name"),
    (("update", "--from", "/srv/shop", "alpha"), "NAME cannot be combined with --from"),
    (("update", "-v", "-q"), "--verbose cannot be combined with --quiet"),
    (("show",), "RELEASE"),
    (("diff",), "A"),
    (("pin",), "RELEASE"),
    (("run",), "COMMAND"),
    (("history", "-n", "0"), "-n"),
    (("init", "--with", "alpha==1.0.0"), "--with needs --from-venv or --from-requirements"),
    (("init", "--from-venv", ".venv", "--with", "alpha>=1.0.0"), "names no version"),
    (("init", "--from-venv", "~nobody-of-that-name/venv"), "does not exist"),
    (
        ("init", "--from-venv", ".venv", "--with", "a @ git+https://kitty:s3cret@example.org/a.git"),
        "git would store",
    ),
]


def test_wrong_usage(make_site: SiteFactory) -> None:
    site = make_site()
    before = everything(site)
    for words, shown in WRONG_USAGE:
        finished = run([console_script(), *words], cwd=site.path, env=site.env, check=2)
        assert finished.stdout == ""
        assert shown in finished.stderr
        assert re.match(r"releaser: [^\n]+\n  what to do: [^\n]+\n\Z", finished.stderr)
        assert "s3cret" not in finished.stderr
        seem_no_bug(finished)
    assert not site.state_dir.exists()
    assert everything(site) == before


def test_a_directory_that_is_gone_or_of_nobody(make_site: SiteFactory) -> None:
    """The whole path of the project is all that is needed then."""
    site = make_site()
    begin = "import os, sys; os.mkdir('x'); os.chdir('x'); os.rmdir('../x'); os.execv(sys.argv[1], sys.argv[1:])"
    nowhere: list[str | Path] = [sys.executable, "-c", begin, console_script()]
    for words in (["status"], ["list"], ["list", "--json"], ["run", "true"], ["update", "--project", "site"]):
        finished = run([*nowhere, *words], cwd=site.outer, env=site.env, check=3)
        assert finished.stdout == ""
        assert "the current directory was deleted, so releaser cannot find the project" in finished.stderr
        seem_no_bug(finished)
    run([*nowhere, "list", "--project", site.path], cwd=site.outer, env=site.env, check=0)
    unknown: list[str | Path] = [console_script(), "status", "--project", "~nobody-of-that-name/site"]
    assert "home directory" in run(unknown, cwd=site.outer, env=site.env, check=3).stderr


@pytest.mark.story
def test_a_project_that_is_not_there_is_mailed_to_the_admins_of_releaser_unless_its_path_was_typed(
    make_site: SiteFactory, tmp_path: Path, smtp_server: MailServer, dead_port: int
) -> None:
    site, gone, people = make_site(), tmp_path / "gone" / "shop", "AUTO_UPDTR__SYS_ADMIN_RECIPIENTS_JSON"
    server = {"AUTO_UPDTR__EMAIL_FROM": "updater@example.org", "AUTO_UPDTR__EMAIL_HOST": smtp_server.host}
    root = {people: '[["Root","root@example.org"]]'}

    def call(command: str, project: Path, **env: str) -> Finished:
        words: list[str | Path] = [console_script(), *command.split(), "--project", project]
        finished = run(words, cwd=site.path, env=site.environment(server | env), check=3)
        assert "\x1b" not in finished.stderr
        assert "does not exist\n  what to do: Correct --project or RELEASER_PROJECT." in finished.stderr
        seem_no_bug(finished)
        return finished

    port = str(smtp_server.port)
    for command in ("init", "prune", "check", "list", "status"):
        assert call(command, gone, AUTO_UPDTR__EMAIL_HOST_PORT=port, **root).stdout == ""
    call("update", tmp_path / "\x1b[2Jsite")
    assert smtp_server.messages == []
    assert "mail: sent to root@example.org" in call("update", gone, AUTO_UPDTR__EMAIL_HOST_PORT=port, **root).stderr
    (mail,) = smtp_server.messages
    assert (mail.recipients, mail.sender) == (("root@example.org",), "updater@example.org")
    assert "shop" in mail.message["Subject"]
    body = mail.message.get_body(("plain",))
    assert body is not None
    assert str(gone) in body.get_content()
    assert not gone.parent.exists()
    # Neither wrong settings nor a dead mail server change what is wrong first of all.
    nobody = {people: "root"}
    for env, said in ((nobody, people), (root | {"AUTO_UPDTR__EMAIL_HOST_PORT": str(dead_port)}, str(dead_port))):
        finished = call("update --json", tmp_path / "shop", **env)
        assert said in finished.stderr
        report = json.loads(finished.stdout)
        assert (report["result"], report["exit_code"], report["live_changed"]) == ("refused", 3, False)
        missing = f"project {tmp_path / 'shop'} does not exist. Correct --project or RELEASER_PROJECT."
        assert any(one.startswith(missing) for one in report["problems"])
        assert (tmp_path / ".releaser").exists() == (env is not nobody), "a mail that could not be sent is kept"


def make_everything_wrong(site: SampleSite) -> None:
    site.git("switch", "--quiet", "--create", "feature/main")
    site.git("remote", "set-url", "origin", "../gone.git")
    site.edit("uv.lock", "garbage\n")
    site.edit("notes.txt", "mine\n")
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    text = text.replace('requires-python = ">=3.11"\n', "").replace('prod = ["prodtools"]', "prod = 3")
    site.edit("pyproject.toml", text + "[tool.releaser]\nkep = 3\nuv = '/nowhere/uv'\n")
    site.write_dotenv({"ADMINS_JSON": "Ada", "RELEASER_ENVIRONMENT": "production"})


@pytest.mark.story
def test_all_problems_are_in_one_report(make_site: SiteFactory) -> None:
    site = make_site()
    make_everything_wrong(site)
    for command in ("check", "update"):
        refusal = refused(site, command=command, env={"RELEASER_UNIX_GROUP": "nobody-of-that-name"})
        refusal.says(site.path / "pyproject.toml", "tool.releaser.kep")
        refusal.says(site.outer / ".env", "ADMINS_JSON")
        refusal.says(site.path / "pyproject.toml", "requires-python")
        refusal.says(site.path / "uv.lock", "not a valid lock")
        refusal.says("/nowhere/uv", "`uv`")
        refusal.says("`prod`", "is not a list")
        refusal.says("nobody-of-that-name")
        refusal.says("the checkout is on feature/main, not main")
        refusal.says("not clean", "notes.txt", "pyproject.toml", "uv.lock")
        refusal.says("origin", "does not appear to be a git repository")
        assert len(refusal.problems) == 10
