"""Where settings come from, which wins, and everything that is wrong with them at once."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from releaser.capabilities import gather
from releaser.releases.retention_settings import RetentionSettings
from releaser.site.addresses import Address, MailSettings
from releaser.site.loading import Loaded, load, read_variables
from releaser.site.settings import SPECS, AllSettings
from tests.site.test_values import WRONG, form

PYPROJECT = Path("/srv/site/pyproject.toml")


def loaded(
    tmp_path: Path, table: Any = None, dotenv: str | bytes = "", environ: Mapping[str, str] | None = None
) -> Loaded:
    env_file = tmp_path / ".env"
    env_file.write_bytes(dotenv.encode() if isinstance(dotenv, str) else dotenv)
    return load(table={} if table is None else table, pyproject=PYPROJECT, env_file=env_file, environ=environ or {})


def messages(found: Loaded) -> list[str]:
    return [problem.message for problem in found.problems]


def test_without_any_source_there_are_the_defaults(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    assert found.settings == AllSettings()
    assert (found.problems, found.sources) == ((), {})
    assert (RetentionSettings.of(found).keep, found.settings.branch, found.settings.test_timeout) == (5, "main", 1800.0)


TABLE, ENVIRONMENT = f"{PYPROJECT}: tool.releaser", "environment: RELEASER"


@pytest.mark.parametrize(
    ("name", "table", "dotenv", "environ", "expected", "source"),
    [
        ("keep", 1, "", {}, 1, f"{TABLE}.keep"),
        ("keep", None, "RELEASER_KEEP=2", {}, 2, ".env: RELEASER_KEEP"),
        ("keep", None, "", {"RELEASER_KEEP": "3"}, 3, f"{ENVIRONMENT}_KEEP"),
        ("keep", 1, "RELEASER_KEEP=2", {}, 2, ".env: RELEASER_KEEP"),
        ("keep", 1, "RELEASER_KEEP=2", {"RELEASER_KEEP": "3"}, 3, f"{ENVIRONMENT}_KEEP"),
        ("keep", 1, "RELEASER_KEEP=\n", {"RELEASER_KEEP": "2"}, 2, f"{ENVIRONMENT}_KEEP"),
        # An empty variable in the file unsets what pyproject.toml says.
        ("unix_group", "one", "RELEASER_UNIX_GROUP=\n", {}, None, None),
        ("unix_group", "one", "RELEASER_UNIX_GROUP=''\n", {}, None, None),
        ("unix_group", "one", "export RELEASER_UNIX_GROUP=   # none here\n", {}, None, None),
        ("unix_group", "one", "RELEASER_UNIX_GROUP=two\n", {}, "two", ".env: RELEASER_UNIX_GROUP"),
        ("admins", [["Ada", "ada@example.org"]], "ADMINS_JSON=\n", {}, (), None),
        # In the same place, a name of its own wins over an alias.
        ("smtp_host", None, "AUTO_UPDTR__EMAIL_HOST=old\nRELEASER_SMTP_HOST=new\n", {}, "new", "RELEASER_SMTP_HOST"),
        ("smtp_host", None, "RELEASER_SMTP_HOST=new\nAUTO_UPDTR__EMAIL_HOST=old\n", {}, "new", "RELEASER_SMTP_HOST"),
        ("smtp_host", None, "", {"AUTO_UPDTR__EMAIL_HOST": "old", "RELEASER_SMTP_HOST": "new"}, "new", "_SMTP_HOST"),
        ("smtp_host", None, "RELEASER_SMTP_HOST=a\n", {"AUTO_UPDTR__EMAIL_HOST": "b"}, "b", "AUTO_UPDTR__EMAIL_HOST"),
    ],
)
def test_the_stronger_source_wins(
    tmp_path: Path, name: str, table: Any, dotenv: str, environ: dict[str, str], expected: object, source: str | None
) -> None:
    found = loaded(tmp_path, {name: table} if table else {}, dotenv, environ)
    assert (getattr(found.settings, name), messages(found)) == (expected, [])
    assert found.sources.get(name, "").endswith(source or "")
    assert (name in found.sources) == (source is not None)


ADA = Address(name="", address="ada@example.org")
ALIASES: dict[str, tuple[str, str, object]] = {
    "AUTO_UPDTR__EMAIL_FROM": ("mail_from", "site@example.org", "site@example.org"),
    "AUTO_UPDTR__EMAIL_HOST": ("smtp_host", "mail.example.org", "mail.example.org"),
    "AUTO_UPDTR__EMAIL_HOST_PORT": ("smtp_port", "587", 587),
    "AUTO_UPDTR__SYS_ADMIN_RECIPIENTS_JSON": ("updater_admins", '[["", "ada@example.org"]]', (ADA,)),
    "AUTO_UPDTR__UV_PATH": ("uv", "/opt/uv", "/opt/uv"),
    "ADMINS_JSON": ("admins", '["ada@example.org"]', (ADA,)),
}


def test_the_names_of_the_older_updater_hold(tmp_path: Path) -> None:
    for alias, (name, text, expected) in ALIASES.items():
        assert getattr(loaded(tmp_path, {}, f"{alias}='{text}'\n").settings, name) == expected
        assert getattr(loaded(tmp_path, {}, "", {alias: text}).settings, name) == expected
    assert {alias for spec in SPECS.values() for alias in spec.aliases} == {*ALIASES}


def test_a_file_of_the_older_updater_is_read_as_it_stands(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        {},
        "## comments stay\n"
        "export SECRET_KEY='a b'   # of the site\n"
        'DATABASES_JSON=\'{\n  "default": {"PASSWORD": "x"}\n}\'\n'
        'ADMINS_JSON=\'[ ["Ada", "ada@example.org"],\n ["Bob", "bob@example.org"] ]\'\n'
        "AUTO_UPDTR__EMAIL_HOST=\n",
    )
    assert messages(found) == []
    assert [admin.name for admin in MailSettings.of(found).admins] == ["Ada", "Bob"]
    assert MailSettings.of(found).smtp_host is None


# What is wrong


#: By parser, the first text of those that it refuses.
REFUSED = {form(parse): text for parse, _, wrong in WRONG[::-1] for text in wrong[::-1] if isinstance(text, str)}


def test_a_wrong_value_is_named_with_its_key(tmp_path: Path) -> None:
    """If a KeyError tells that a parser is missing here: add what it refuses to WRONG in test_values.py."""
    for name, spec in SPECS.items():
        variable = f"RELEASER_{name.upper()}"
        found = loaded(tmp_path, {}, "", {variable: REFUSED[form(spec.kind)]})
        (problem,) = found.problems
        assert problem.message.startswith(f"environment: {variable} ")
        assert problem.advice == f"Correct {variable} in environment."
        assert (found.settings, found.sources) == (AllSettings(), {})
        (message,) = messages(loaded(tmp_path, {name: {"a": object()}} if "admins" not in name else {name: [{}]}))
        assert message.startswith(f"{PYPROJECT}: tool.releaser.{name} ")


def test_a_wrong_value_in_a_file_is_named_with_the_file_and_cut(tmp_path: Path) -> None:
    admins, number = messages(loaded(tmp_path, {}, "RELEASER_KEEP=many\nADMINS_JSON=ada\n"))
    assert number == f"{tmp_path / '.env'}: RELEASER_KEEP must be a whole number, 0 or more (it is 'many')"
    assert admins.startswith(f"{tmp_path / '.env'}: ADMINS_JSON has a wrong item 1: the address 'ada' has no @")
    found = loaded(tmp_path, {"keep": 1}, "", {"RELEASER_KEEP": "x" * 5000})
    (message,) = messages(found)
    assert len(message) < 200
    assert RetentionSettings.of(found).keep == 1, "the weaker one stays in force"


def test_everything_is_said_at_once(tmp_path: Path) -> None:
    found = loaded(
        tmp_path, {"keep": -1, "kep": 2}, "RELEASER_GIT_PULL=maybe\nnonsense\n=\n", {"RELEASER_SMTP_PORT": "many"}
    )
    assert len(found.problems) == 5
    assert {message.partition(":")[0] for message in messages(found)} >= {str(PYPROJECT), "environment"}


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    secret = "hunter22\nhunter22"
    for found in (
        loaded(tmp_path, {"smtp_password": secret}),
        loaded(tmp_path, {}, f'RELEASER_SMTP_PASSWORD="{secret}"'),
        loaded(tmp_path, {}, "", {"RELEASER_SMTP_PASSWORD": secret}),
    ):
        (problem,) = found.problems
        assert "hunter" not in problem.message + problem.advice
        assert problem.message.endswith("must be one line")
    found = loaded(tmp_path, {}, "RELEASER_SMTP_PASSWORD=hunter22\n")
    assert MailSettings.of(found).smtp_password == "hunter22"
    assert "hunter22" not in repr(found)


@pytest.mark.parametrize(
    ("table", "environ", "message", "advice"),
    [
        ({"kep": 1}, {}, f"{PYPROJECT}: tool.releaser.kep is not a setting of releaser", "Did you mean `keep`?"),
        ({"unixgroup": 1}, {}, f"{PYPROJECT}: tool.releaser.unixgroup is not", "Did you mean `unix_group`?"),
        ({"state-dir": 1}, {}, f"{PYPROJECT}: tool.releaser.state-dir is not", "Did you mean `state_dir`?"),
        ({"colour": 1}, {}, f"{PYPROJECT}: tool.releaser.colour is not", "Remove it"),
        ({"test_jobs": 2}, {}, f"{PYPROJECT}: tool.releaser.test_jobs is 2, but releaser no longer has", "Remove it: "),
        ({}, {"RELEASER_TEST_JOBS": "1"}, "environment: RELEASER_TEST_JOBS is '1', but", "one after the other"),
        ({}, {"RELEASER_KEP": "1"}, "environment: RELEASER_KEP is not", "Did you mean `RELEASER_KEEP`?"),
        ({"pin": False}, {}, f"{PYPROJECT}: tool.releaser.pin is False, but the setting is", "`pin_processes` in"),
        ({}, {"RELEASER_PIN": "x"}, "environment: RELEASER_PIN is 'x', but", "Write `RELEASER_PIN_PROCESSES` in its"),
        ({}, {"RELEASER_FOO": "1"}, "environment: RELEASER_FOO is not", "`releaser config` lists all settings"),
        ({}, {"RELEASER_SMTP_PASWORD": "x"}, "environment: RELEASER_SMTP_PASWORD is", "`RELEASER_SMTP_PASSWORD`?"),
        ({}, {"RELEASER_ADMINS_JSON": "[]"}, "environment: RELEASER_ADMINS_JSON is", "RELEASER_"),
    ],
)
def test_an_unknown_name_is_refused_with_a_guess(
    tmp_path: Path, table: dict[str, Any], environ: dict[str, str], message: str, advice: str
) -> None:
    (problem,) = loaded(tmp_path, table, "", environ).problems
    assert problem.message.startswith(message)
    assert advice in problem.advice


def test_variables_of_others_are_nobodys_business(tmp_path: Path) -> None:
    environ = {"PATH": "/bin", "KEEP": "x", "releaser_keep": "x", "RELEASER_PROJECT": "/srv", "AUTO_UPDTR__OTHER": "x"}
    assert messages(loaded(tmp_path, {}, "SECRET=x\nDEBUG\nRELEASER_PROJECT=y\n", environ)) == []


@pytest.mark.parametrize("table", [5, "keep", [{"keep": 1}], None])
def test_what_is_no_table_is_refused(tmp_path: Path, table: object) -> None:
    found = load(table=table, pyproject=PYPROJECT, env_file=tmp_path / ".env", environ={})
    assert messages(found) == [f"{PYPROJECT}: [tool.releaser] must be a table"]


@pytest.mark.parametrize(
    ("dotenv", "words"),
    [
        (b"RELEASER_KEEP=2\nA='open\n", "line 2: not of the form NAME=value"),
        (b"RELEASER_KEEP=2\n=x\n", "line 2: not of the form NAME=value"),
        (b"RELEASER_KEEP=2\nRELEASER_GROUP\n", "RELEASER_GROUP has no value"),
        (b"RELEASER_KEEP=2\nADMINS_JSON\n", "ADMINS_JSON has no value"),
    ],
)
def test_one_bad_line_does_not_cost_the_others(tmp_path: Path, dotenv: bytes, words: str) -> None:
    found = loaded(tmp_path, {}, dotenv)
    (message,) = messages(found)
    assert message.startswith(str(tmp_path / ".env"))
    assert words in message
    assert "open" not in message.removeprefix(str(tmp_path)), "what the line says may be a secret"
    assert RetentionSettings.of(found).keep == 2


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "no text").write_bytes(b"\xff\xfeA=1\n")
    for file in (tmp_path / "directory", tmp_path / "no text"):
        (message,) = messages(load(table={}, pyproject=PYPROJECT, env_file=file, environ={}))
        assert message.startswith(f"{file} cannot be read")


@pytest.mark.attack
@pytest.mark.parametrize("way", ["setting", "environment", "systemd"])
def test_the_password_for_mails_may_be_in_a_file(tmp_path: Path, way: str) -> None:
    (tmp_path / "smtp_password").write_text("hunter 22\n", encoding="utf-8")
    table = {"smtp_password_file": str(tmp_path / "smtp_password")} if way == "setting" else {}
    variable = {"RELEASER_SMTP_PASSWORD_FILE": str(tmp_path / "smtp_password")} if way == "environment" else {}
    systemd = {"CREDENTIALS_DIRECTORY": str(tmp_path)} if way == "systemd" else {}
    found = loaded(tmp_path, table, environ=variable | systemd)
    assert (MailSettings.of(found).smtp_password, found.problems) == ("hunter 22", ())
    assert "hunter" not in repr(found)


def test_a_password_that_cannot_be_read_is_a_problem_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a pipe")
    (tmp_path / "two lines").write_bytes(b"hunter\n22\n")
    (tmp_path / "no text").write_bytes(b"hunter\xff")
    (tmp_path / "a directory").mkdir()
    for name in ("missing", "a pipe", "two lines", "no text", "a directory"):
        (message,) = messages(loaded(tmp_path, {"smtp_password_file": str(tmp_path / name)}))
        assert message.startswith(f"smtp_password_file {tmp_path / name} cannot be used: ")
        assert "hunter" not in message


def test_two_passwords_are_one_too_many(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter22", encoding="utf-8")
    file = str(tmp_path / "password")
    (message,) = messages(loaded(tmp_path, {"smtp_password_file": file}, "RELEASER_SMTP_PASSWORD=hunter33\n"))
    assert message == f"the password is in {tmp_path}/.env: RELEASER_SMTP_PASSWORD, and in smtp_password_file {file}"


# The file that `environment_file` names


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("A=1", {"A": "1"}),
        ("A=", {"A": ""}),
        ("export A=1", {"A": "1"}),
        ("A='b c'", {"A": "b c"}),
        ('A="b \\"c\\""', {"A": 'b "c"'}),
        ("A='two\nlines'", {"A": "two\nlines"}),
        ("A=$HOME/${B}", {"A": "$HOME/${B}"}),
        ("  # A=1\n;B=2\n ; C=3\n", {}),
        ("A=b;c", {"A": "b;c"}),
        ("\ufeffA=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
    ],
)
def test_lines_are_read_much_as_systemd_reads_them(tmp_path: Path, line: str, expected: dict[str, str]) -> None:
    (tmp_path / "env").write_text(line, encoding="utf-8", newline="")
    found = read_variables(tmp_path / "env", setting="environment_file")
    assert (dict(found.values), found.findings) == (expected, ())


def test_no_two_capabilities_give_their_settings_one_name() -> None:
    """All of them are bases of one class, in which a name of one would hide that of another."""
    owners = [(name, part) for part in gather("settings") for name in vars(part) if not name.startswith("_")]
    names = Counter(name for name, _ in owners)
    assert {name: count for name, count in names.items() if count > 1 and name != "extra"} == {}
