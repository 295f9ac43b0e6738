"""The crontab: one line for a site, and all others byte for byte."""

import shlex
from pathlib import Path

import pytest

from releaser.errors import PreflightError
from releaser.system.process import Runner
from releaser.tools.crontab import Crontab, find_variables, format_line, with_job, without_job

SITE = Path("/srv/shop_stuff/shop")
WORDS = ("/opt/releaser/bin/releaser", "update", "--project", str(SITE))
LINE = "12 3 * * * /opt/releaser/bin/releaser update --project /srv/shop_stuff/shop"
OTHERS = [
    "",
    "# mine\n\n  MAILTO = ada@example.org\r\n\t*/5 * * * *  date +\\%s  \n\n",
    "@daily /opt/releaser/bin/releaser update --project /srv/shop_stuff/shop2\n",
    "0 4 * * * /opt/releaser/bin/releaser prune --project /srv/shop_stuff/shop\n# 1 1 * * * " + LINE + "\n",
    "0 4 * * * echo 'no end\n5 3 * * 1",
]


@pytest.mark.parametrize("others", OTHERS)
def test_a_line_comes_and_goes_and_all_others_stay(others: str) -> None:
    written = with_job(others, SITE, WORDS, None, "12 3 * * *")
    ended = others if not others or others.endswith("\n") else others + "\n"
    assert written == f"{ended}{LINE}\n"
    assert with_job(written, SITE, WORDS, None, "59 3 * * *") == written
    assert with_job(written, SITE, WORDS, "7 4 * * *", "59 3 * * *") == f"{ended}7 4{LINE[4:]}\n"
    assert without_job(written, SITE) == ended


def test_another_program_takes_the_place_of_the_one_before_at_its_time() -> None:
    crontab = f"# a\n@daily /old/python  -m releaser update --project '{SITE}'\n# b\n"
    assert with_job(crontab, SITE, WORDS, None, "1 1 * * *") == f"# a\n@daily {LINE[11:]}\n# b\n"


@pytest.mark.parametrize("line", [f"{LINE} --if-due", LINE.replace("update", "update --if-due")])
def test_a_line_may_update_only_what_is_due(line: str) -> None:
    assert with_job(f"{line}\n", SITE, WORDS, None, "1 1 * * *") == f"{line}\n"
    assert with_job(f"{line}\n", SITE, WORDS, "7 4 * * *", "1 1 * * *") == f"7 4{LINE[4:]} --if-due\n"
    assert without_job(f"# a\n{line}\n", SITE) == "# a\n"


@pytest.mark.parametrize(
    "line",
    [
        f"{LINE} --if-due --if-due",
        f"0 5 * * * releaser update --if-due --project={SITE}",
        f"0 5 * * * /usr/bin/releaser update {SITE}",
        f"{LINE} --if-due --force",
        f"{LINE} >> /var/log/releaser.log",
        f"{LINE} --wait 60",
        f"0 5 * * * cd {SITE} && releaser update",
        f"0 5 * * * nice releaser update --project={SITE}",
        f"{LINE}\n0 15{LINE[4:]}",
    ],
)
def test_a_line_of_somebodys_own_is_left_alone(line: str) -> None:
    with pytest.raises(PreflightError, match="by a line that releaser did not write"):
        with_job(f"{line}\n", SITE, WORDS, None, "12 3 * * *")
    if "\n" not in line:
        assert without_job(f"{line}\n", SITE) == f"{line}\n"


@pytest.mark.parametrize("name", ["sh op", "it's 100%", 'a"b$HOME', "a\\%b"])
def test_any_path_is_one_word_for_cron_and_the_shell(name: str) -> None:
    words = ("/opt/releaser/bin/releaser", "update", "--project", f"/srv/{name}")
    line = format_line("12 3 * * *", words)
    command = line.removeprefix("12 3 * * * ")
    assert "%" not in command.replace("\\%", "")
    assert tuple(shlex.split(command.replace("\\%", "%"))) == words
    assert with_job(f"{line}\n", Path(f"/srv/{name}"), words, None, "1 1 * * *") == f"{line}\n"


def test_a_crontab_that_somebody_changes_meanwhile_or_that_is_not_utf_8_is_left_alone(tmp_path: Path) -> None:
    file, program = tmp_path / "kept", tmp_path / "crontab"
    file.write_text("# a\n")
    program.write_text(f'#!/bin/sh\n[ "$1" = -l ] && cat {file} && echo "# b" >> {file} || cat > {file}\n')
    program.chmod(0o755)
    crontab = Crontab(runner=Runner(environ={"PATH": f"{tmp_path}:/usr/bin:/bin"}))
    before = crontab.read()
    with pytest.raises(PreflightError, match="the crontab was changed at the same time"):
        crontab.replace(before, f"{before}{LINE}\n")
    assert LINE not in file.read_text()
    file.write_bytes(b"# \xe4\n")
    with pytest.raises(PreflightError, match="is not UTF-8"):
        crontab.read()


MOVABLE = ("RELEASER_SMTP_HOST", "RELEASER_SMTP_PASSWORD")


@pytest.mark.parametrize("start", ["", "env ", "/usr/bin/env "])
def test_the_variables_that_may_move_are_those_of_the_line_and_those_above(start: str) -> None:
    variables = "RELEASER_SMTP_HOST=mail.example.org RELEASER_SMTP_PASSWORD='a \\% b'"
    above = "MAILTO = \"ada\"\n'RELEASER_MAIL_FROM'='ops@example.org'\nRELEASER_SMTP_HOST=other\n"
    below = "# RELEASER_SMTP_PORT=1\nRELEASER_KEEP=9\n"
    crontab = f"{above}12 3 * * * {start}{variables} {' '.join(WORDS)} --if-due\n{below}"
    assert find_variables(crontab, SITE) == {
        "MAILTO": "ada",
        "RELEASER_MAIL_FROM": "ops@example.org",
        "RELEASER_SMTP_HOST": "mail.example.org",
        "RELEASER_SMTP_PASSWORD": "a % b",
    }
    written = with_job(crontab, SITE, WORDS, None, "1 1 * * *", MOVABLE)
    assert written == f"{above}{LINE} --if-due\n{below}"
    assert without_job(crontab, SITE) == crontab


@pytest.mark.parametrize("variable", ["RELEASER_KEEP=3", "RELEASER_SMTP_HOST=$HOST", "RELEASER_SMTP_HOST=`hostname`"])
def test_a_line_with_other_variables_is_left_to_who_wrote_it(variable: str) -> None:
    crontab = f"12 3 * * * {variable} {' '.join(WORDS)}\n"
    with pytest.raises(PreflightError):
        with_job(crontab, SITE, WORDS, None, "1 1 * * *", MOVABLE)
