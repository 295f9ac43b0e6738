"""Many sites: `--all` with a sites file."""

import json
import pwd
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import PreflightError
from releaser.fleet.sites import read_sites
from tests.support.commands import HOUSE, Finished, Identity, named_users, require, run
from tests.support.sites import SampleSite, SiteFactory, user_directory
from tests.support.smtp import MailServer, mail_server, read_mail

pytestmark = pytest.mark.slow

#: In place of a site's uv: a program of the site may do this to the releaser that has started it.
HOSTILE = {
    "hangs": "kill -STOP $PPID; sleep 600",
    "floods": "head -c 1000000000 /dev/zero >/proc/$PPID/fd/1",
    "dies": "kill -9 $PPID",
    "raves": "printf '[[[[[1e999' >/proc/$PPID/fd/1; kill -9 $PPID",
}


class Sites:
    """Sites with a live release, in one sites file, whose digests go to a mail server."""

    def __init__(self, base: Path, factory: SiteFactory, names: list[str], server: MailServer) -> None:
        self.site: dict[str, SampleSite] = {}
        self.server, self.file = server, base / "sites.toml"
        self.env = {"XDG_STATE_HOME": str(base / "state")}
        live = factory.live()
        for name in names:
            self.site[name] = live.copy(base / name)
            self.site[name].write_dotenv()
        self.owner = live.run("id", "-un").stdout.strip()
        self.first: set[str] = set()
        self.write()

    def write(self, limit: str = "2h", **owners: str) -> None:
        lines = [
            f"limit = '{limit}'",
            "[mail]",
            f"smtp_host = '{self.server.host}'",
            "updater_admins = 'ops@example.org'",
        ]
        for name, site in self.site.items():
            lines += ["[[site]]", f"path = '{site.path}'", f"owner = '{owners.get(name, self.owner)}'"]
            lines += ["first = true"] if name in self.first else []
        self.file.write_text("\n".join(lines) + "\n", "utf-8")

    def run(self, command: str, *words: str) -> Finished:
        site = next(iter(self.site.values()))
        words = ("--all", "--sites", str(self.file), *words)
        return site.releaser(command, *words, env=self.env, project=None)

    def answers(self, command: str, *words: str) -> dict[str, Any]:
        rows = json.loads(self.run(command, "--json", *words).stdout)
        return {Path(row["site"]).parts[-3]: row for row in rows}

    def digests(self) -> list[str]:
        mails = [f"{mail['Subject']}\n{read_mail(mail)}" for _, mail, _ in self.server.mails]
        self.server.mails.clear()
        return mails


@contextmanager
def sites(base: Path, factory: SiteFactory, *names: str) -> Iterator[Sites]:
    with mail_server() as server:
        yield Sites(base, factory, list(names), server)


def use_program(site: SampleSite, text: str) -> None:
    program = site.base / "hostile"
    program.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    program.chmod(0o755)
    site.write_dotenv(uv=str(program))


def test_law_42_a_site_that_hangs_floods_or_dies_harms_no_other(tmp_path: Path, make_site: SiteFactory) -> None:
    with sites(tmp_path, make_site, *HOSTILE, "broken", "well") as every:
        for name, text in HOSTILE.items():
            use_program(every.site[name], text)
        (every.site["broken"].path / "pyproject.toml").unlink()
        every.write(limit="10s")
        answers = every.answers("update", "--jobs", "2")
        digest = every.digests()
        finished = every.run("update")
    assert {name: answer["exit_code"] for name, answer in answers.items()} == {
        **dict.fromkeys(HOSTILE, 4),
        "broken": 3,
        "well": 0,
    }
    assert finished.returncode == 3, finished  # what does not pass by itself
    assert "printed more than 1 MiB" in answers["floods"]["reason"]
    assert "still running after" in answers["hangs"]["reason"]
    lines = finished.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        *(f"{name}/outer/site" for name in (*sorted(HOSTILE), "broken", "well"))
    ], finished
    assert len(digest) == 1, digest
    assert digest[0].startswith("Needs attention: 6 sites, 5 need attention"), digest[0]
    assert every.digests() == [], "the same trouble is one mail"


def test_law_27_a_quiet_night_of_all_sites_is_silent_and_news_is_one_digest(
    tmp_path: Path, make_site: SiteFactory
) -> None:
    with sites(tmp_path, make_site, "one", "two", "three") as every:
        every.site["two"].write_dotenv({"ADMINS_JSON": '[["Ada", "ada@example.org"]]'}, smtp_host=every.server.host)
        quiet = every.run("update", "--jobs", "2")
        assert (quiet.returncode, quiet.stdout, quiet.stderr, every.digests()) == (0, "", "", [])
        every.site["two"].publish("alpha", "1.1.0")
        every.site["three"].publish("alpha", "1.1.0", broken=True)
        news = every.run("update", "beta", "alpha")
        recipients = [to for to, _, _ in every.server.mails]
        digest = every.digests()[-1]
        assert (news.returncode, every.site["two"].version("alpha")) == (5, "1.1.0"), news
        assert recipients == [["ada@example.org"], ["ops@example.org"]], "the admins of a site have their own mail"
        assert digest.startswith("Needs attention: 3 sites, 1 needs attention, 1 updated"), digest
        assert digest.index("three/outer/site  ") < digest.index("two/outer/site  "), digest
        assert f"releaser status --project {every.site['three'].path}" in digest
        again = every.run("update")
        assert (again.returncode, again.stdout, every.digests()) == (5, "", []), again
        every.server.unknown.add("ops@example.org")
        every.site["one"].publish("alpha", "1.1.0")
        refused = every.run("update")
        assert "hint: It waits in" in refused.stderr, refused
        every.server.unknown.clear()
        every.run("update")
        assert ["2 updated" in text or "1 updated" in text for text in every.digests()] == [True], "it waited"


def test_sites_that_go_first_hold_the_others_back(tmp_path: Path, make_site: SiteFactory) -> None:
    with sites(tmp_path, make_site, "one", "canary") as every:
        every.first = {"canary"}
        every.write()
        for site in every.site.values():
            site.publish("alpha", "1.1.0")
        every.site["canary"].publish("alpha", "1.2.0", broken=True)
        answers = every.answers("update")
        assert {name: (each["exit_code"], each["waits"]) for name, each in answers.items()} == {
            "canary": (5, False),
            "one": (0, True),
        }
        assert every.site["one"].version("alpha") == "1.0.0"
        assert "1 waiting" in every.digests()[0]
        every.site["canary"].publish("alpha", "1.3.0")
        assert every.run("update").returncode == 0
        assert every.site["one"].version("alpha") == "1.1.0"


def test_law_37_status_check_and_outdated_say_of_all_sites_what_they_say_of_each(
    tmp_path: Path, make_site: SiteFactory
) -> None:
    with sites(tmp_path, make_site, "one", "two") as every:
        every.site["two"].publish("alpha", "1.1.0")
        for command in ("status", "outdated", "check"):
            answers = every.answers(command, "--jobs", "2")
            for name, site in every.site.items():
                assert answers[name]["answer"]["headline"] == site.json(command)["headline"], (command, name)
        table = every.run("outdated").stdout
        assert "1 package is outdated" in table, table
        assert every.run("status", "--project", str(every.site["one"].path)).returncode == 2
        assert every.site["one"].releaser("status", "--jobs", "2").returncode == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "required field `site`"),
        ("[[site]]\npath = '/srv/a'", "required field `owner`"),
        ("[[site]]\npath = 'a'\nowner = 'root'", "absolute"),
        ("[[site]]\npath = '/srv/a'\nownr = 'root'\nowner = 'x'", "unknown field `ownr`"),
        ("[[site]]\npath = '/srv/a'\nowner = 'x'\nfirst = 1", "Expected `bool`"),
        ("[[site]]\npath = '/srv/a'\nowner = 'x'\n[[site]]\npath = '/srv/a/'\nowner = 'x'", "each once"),
        ("limit = 'soon'\n[[site]]\npath = '/srv/a'\nowner = 'x'", "a time such as"),
        ("[[site]]\npath = '/srv/a'\nowner = 'x'\n[mail]\nsmtp_hots = 'x'", "Did you mean `smtp_host`?"),
        ("[[site]]\npath = '/srv/a'\nowner = 'x'\n[mail]\nadmins = 'a@example.org'", "`admins` is no setting"),
        ("[[site]]\npath = '/srv/a'\nowner = \"x\\u0000\"", "without NUL"),
        ("limit = 0\n[[site]]\npath = '/srv/a'\nowner = 'x'", "more than 0"),
        ("site = 3", "Expected `array`"),
        ("[[site]", "sites.toml: "),
        ("mail = 1\n[[site]]\npath = '/srv/a'\nowner = 'x'", "Expected `object`"),
    ],
)
def test_law_28_a_mistake_in_the_sites_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "sites.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(PreflightError) as error:
        read_sites(path, {})
    assert words in " ".join(f"{each.message} {each.advice}" for each in error.value.problems)


def test_law_30_a_sites_file_that_others_could_write_is_refused(tmp_path: Path, site: SampleSite) -> None:
    path = tmp_path / "etc" / "sites.toml"
    path.parent.mkdir()
    path.write_text(f"[[site]]\npath = '{site.path}'\nowner = 'root'\n", "utf-8")
    for place in (path, path.parent):
        mode = place.stat().st_mode
        place.chmod(0o777)
        finished = site.releaser("update", "--all", "--sites", path, project=None)
        assert (finished.returncode, finished.stdout) == (3, ""), finished
        assert f"may write `{place}`" in finished.stderr, finished
        place.chmod(mode)
    missing = site.releaser("status", "--all", "--sites", tmp_path / "no.toml", project=None, check=3)
    assert "[[site]]" in missing.stderr


def test_law_31_root_runs_each_site_as_its_owner_and_keeps_its_secrets(
    make_site: SiteFactory, ordinary_user: Identity | None
) -> None:
    require(ordinary_user, "only root can run as others")
    assert ordinary_user is not None
    program = f'{{ id -un; env; }} >>$(dirname $0)/seen; exec {ordinary_user.programs}/uv "$@"'
    with named_users(ordinary_user.programs, "ada", "bob") as users, ExitStack() as stack:
        found = {}
        for user in users:
            base = stack.enter_context(user_directory())
            found[pwd.getpwuid(user.user).pw_name] = made = make_site.of_user(user, base)
            use_program(made, program)
            user.own(base)
        (ada, one), (bob, other) = found.items()
        base = stack.enter_context(user_directory())
        text = "".join(f"[[site]]\npath = '{made.path}'\nowner = '{name}'\n" for name, made in found.items())
        (base / "sites.toml").write_text(text, "utf-8")
        words: list[str | Path] = [
            ordinary_user.programs / "releaser",
            "update",
            "--all",
            "--json",
            "--sites",
            base / "sites.toml",
        ]
        env = one.env | {"TOKEN": "hush-hush", "RELEASER_SMTP_PASSWORD": "hush-hush", "XDG_STATE_HOME": str(base)}
        one.publish("alpha", "1.1.0")
        rows = json.loads(run(words, cwd=base, env=env).stdout)
        assert [(row["owner"], row["exit_code"]) for row in rows] == [(ada, 0), (bob, 0)], rows
        assert one.version("alpha") == "1.1.0"
        for name, made in found.items():
            seen = (made.base / "seen").read_text("utf-8")
            assert seen.startswith(f"{name}\n"), seen
            assert "hush" not in seen, seen
            (made.base / "seen").unlink()
        (base / "sites.toml").write_text(text.replace(ada, "root"), "utf-8")
        refused = run(words, cwd=base, env=env, check=3)
        assert "belongs to user" in refused.stdout + refused.stderr, refused
        assert [(made.base / "seen").exists() for made in found.values()] == [False, False], "nothing is run"
        (base / "sites.toml").write_text(text, "utf-8")
        one.path.rename(one.path.with_name("moved"))
        one.path.symlink_to(other.path)
        rows = json.loads(run(words, cwd=base, env=env, check=3).stdout)
        assert "belongs to user" in rows[0]["reason"], rows
        assert (rows[1]["exit_code"], (one.base / "seen").exists()) == (0, False), "it is refused, and no other is"


def read_blocks(page: str, kind: str) -> list[str]:
    """Return the lines of the blocks of a kind in a guide."""
    text = (HOUSE / "docs" / page).read_text("utf-8")
    blocks = re.findall(rf"^ *```{kind}\b[^\n]*\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines()]


def test_the_guides_to_many_sites_and_to_an_upgrade_of_the_os_do_what_they_say(
    tmp_path: Path, make_site: SiteFactory
) -> None:
    example = tmp_path / "example.toml"
    example.write_text("\n".join(read_blocks("many-sites.md", "toml")), "utf-8-sig")  # as of Windows
    assert [site.owner for site in read_sites(example, {}).sites] == ["staging", "shop", "wiki"]
    lines = [line for page in ("many-sites.md", "os-upgrade.md") for line in read_blocks(page, "(?:sh|crontab)")]
    commands = [line.partition("releaser ")[2] for line in lines if "releaser " in line and "--from-venv" not in line]
    with sites(tmp_path, make_site, "shop") as every:
        for command in dict.fromkeys(commands):
            name, *words = command.split()
            words = [word.replace("/srv/shop/site", str(every.site["shop"].path)) for word in words]
            words += ["--sites", str(every.file)] if "--all" in words else []
            finished = every.site["shop"].releaser(name, *words, env=every.env, project=None)
            assert finished.returncode == 0, (command, finished)
        exported = next(line for line in lines if line.startswith("uv export"))
        words = exported.replace("/srv/shop/site", str(every.site["shop"].path)).split()[1:]
        assert "alpha==1.0.0" in every.site["shop"].uv(*words).stdout
    assert len(commands) > 5
