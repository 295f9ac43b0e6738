"""The shell examples of the documentation are run, each on a site of its own, and must end as the page shows it."""

import os
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import clean_environment, console_script, run, uv_executable
from tests.support.markdown import Block, Page
from tests.support.osv import VulnerabilityService
from tests.support.serving import kept_port
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import Templates

ROOT = Path(__file__).parent.parent.parent
TUTORIAL = Page(path=ROOT / "docs" / "tutorial.md")
SHELLS = {"sh", "console", "crontab", "yaml"}
PAGES = [
    page
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if path != TUTORIAL.path
    for page in [Page(path=path)]
    if any(block.language in SHELLS for block in page.blocks)
]

# What a block holds that is not run, and why.
NOT_RUN = {
    r"releaser\.launcher|opt/releaser/build|sudo releaser --version": "tests/e2e/test_debian.py installs it so",
    r"pip install|pipx|uv tool install": "tests/e2e/test_dist.py installs it without the network",
    r"^make ": "it takes minutes, and CI runs it in its own right",
    r"pytest|strace": "it takes minutes, and `make faults-spread` does it",
    r"update --all( --now)?$|report --all ": "tests/e2e/test_many_sites.py has several sites",
    r"verify-tag": "it needs a tag that is signed",
    r"git\+https": "it needs a repository in the network; tests/e2e/test_override.py has one at hand",
    r"--from-(venv|requirements)": "it needs a project without a lock; tests/e2e/test_moving.py has some",
    r"^python3 tool\.py|releaser-environments": "it needs a package of that name; tests/tools/test_starter.py has one",
    r"releaser accept": "it needs an update that was refused; tests/attacks/test_origins.py has one",
    r"releaser setup$": "it asks at a terminal; tests/e2e/test_setup.py answers",
    r"releaser uninstall$": "it asks at a terminal; tests/e2e/test_uninstall.py says yes",
    r"manage\.py shell$": "it asks at a terminal",
    r"uv auth": "it asks for a password",
    r"releaser-page|releaser serve|page\.toml": "tests/e2e/test_serve.py has such a user, and a browser",
    r"zsh_source": "it is for zsh",
    r"versions\.cfg": "it needs a buildout",
    r"--base previous|tries\.bundle": "tests/e2e/test_bundles.py types the one, and has the other",
    r"python3 \S+\.bundle|releaser bundle (install|show|verify|diff)": "tests/e2e/test_bundles.py has some",
    r"releaser channel|update .*--from": "it needs a bundle that was published; tests/e2e/test_channels.py has some",
}
# What must have happened before a command makes sense, in words of the sample site.
BEFORE = {
    r"releaser unhold (\S+)": r"releaser hold \1",
    r"releaser unpin (\S+)": r"releaser pin \1",
    r"^releaser init$": r"releaser uninstall --yes",
    r"Move to Python": r"echo >> pyproject.toml",  # stands for another range in it
    r"--nagios": r"releaser update",  # which sends the mails that wait, of which it warns
    r"(?:^|&& )\. (\S+)": r"touch \1",
    r"--sign (\S+)": r"mkdir -p ~/.ssh; ssh-keygen -q -t ed25519 -N '' -f \1",
}
# Programs that this machine may lack, or with which a test would change it. They do nothing, except for crontab, which
# keeps what it is given.
STAND_INS = ("apt", "apt-get", "celery", "loginctl", "mutt", "sendmail", "sudo", "systemctl")
NOTHING = "#!/bin/sh\ncat > /dev/null\n"
CRONTAB = """\
#!/bin/sh
case "$1" in
-l) cat "$HOME/crontab" 2> /dev/null || { echo no crontab for me >&2; exit 1; } ;;
-r) rm "$HOME/crontab" ;;
*) cat > "$HOME/crontab" ;;
esac
"""
# They run here what would run there.
ELSEWHERE = {"docker": 'while [ "$1" != shop ]; do shift; done\nshift\nexec "$@"', "ssh": 'shift\nexec sh -c "$*"'}
# Cron, for the tutorial: once the site is adopted, what the crontab has in that moment is started.
CRON = r"""
trap 'kill $(jobs -p) 2> /dev/null || true' EXIT
(
    {
        for _ in {1..200}; do releaser history --project ~/tea_stuff/tea | grep --quiet init && break; sleep 0.5; done
        sed 's/^\([0-9*]* \)\{5\}//' ~/crontab | sh
    } > /dev/null 2>&1 &
)
"""
# What stands in the documentation, and what in the sample site.
NAMES = {
    r"/opt/releaser/bin/releaser\b": "releaser", r"\bdjango\b": "alpha", r"\bpillow\b": "beta",
    r"(?<=--python )[\d.]+": "{}.{}".format(*sys.version_info),
}  # fmt: skip
PLACES = re.compile(r"(?<![\w.~/}])/(?=(?:srv|opt|etc|var|usr/local|usr/share)/)")
RELEASE = re.compile(r"\b20\d{6}T\d{6}Z(?:-\d+)?\b")
COMMIT = re.compile(r"\b[0-9a-f]{12}\b")
SETTINGS = "INSTALLED_APPS = []\nDATABASE = 'db'\nMIGRATIONS = ()\n"
SHOP: dict[str, Any] = {"outer": "shop_stuff", "name": "shop", "files": {"site_settings.py": SETTINGS, "db": ""}}


@dataclass(frozen=True, kw_only=True)
class Command:
    """Lines for a shell, and whether the page shows that they end with an error."""

    text: str
    fails: bool = False


def commands(block: Block) -> Iterator[Command]:
    """Find what is typed: all of a script; in a console what stands behind `$ `, as far as its output.

    Of a crontab, what cron starts; of the configuration of CI, the items of its script.
    """
    if block.language in ("sh", "crontab"):
        yield Command(text=re.sub(r"(?m)^([\d*/]+ ){5}", "", block.text))
        return
    if block.language == "yaml":
        script = block.text.partition("script:\n")[2]
        yield Command(text="\n".join(re.findall(r"(?m)^ +- (.+)$", script)))
        return
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        found = re.match(r"(?:.*\\\n)*.*\n", part)
        assert found
        yield Command(text=found[0], fails=re.search(r"^(?:releaser|problem): ", part, re.MULTILINE) is not None)


def reason_not_to_run(block: Block) -> str | None:
    """Return why a block is not run."""
    typed = "".join(command.text for command in commands(block))
    return next((why for what, why in NOT_RUN.items() if re.search(what, typed, re.MULTILINE)), None)


def translated(text: str, site: SampleSite, page: Page) -> str:
    """Return what is typed with the names and places of the sample site."""
    older, *_, newer = site.releases()
    newest = max(RELEASE.findall(page.path.read_text(encoding="utf-8")), default="")
    text = RELEASE.sub(lambda release: newer if release[0] == newest else older, text)
    text = COMMIT.sub(site.head()[:12], text)
    for name, here in NAMES.items():
        text = re.sub(name, here, text)
    return PLACES.sub(f"{site.outer.parent.parent}/", text)


def make_places(text: str, base: Path) -> None:
    """Make the directories that a command reads or writes below `base`, except for what it makes itself."""
    for word in shlex.split(text.replace("$", ""), comments=True):
        if word.startswith(f"{base}/") and "*" not in word:
            Path(word if word.endswith("/") else Path(word).parent).mkdir(parents=True, exist_ok=True)


def make_ready(site: SampleSite) -> None:
    """Make a release that waits for approval."""
    site.publish("alpha", "1.2.0")
    site.write_dotenv({"RELEASER_APPROVE_AFTER": "2d"})
    site.releaser("update", check=0)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a directory with releaser, and with programs that do nothing."""
    place = tmp_path / "programs"
    place.mkdir()
    (place / "releaser").symlink_to(console_script())
    (place / "uv").symlink_to(uv_executable())
    others = {name: f"#!/bin/sh\n{script}\n" for name, script in ELSEWHERE.items()}
    for name, script in {**dict.fromkeys(STAND_INS, NOTHING), "crontab": CRONTAB, **others}.items():
        (place / name).write_text(script, encoding="utf-8")
        (place / name).chmod(0o755)
    return place


@pytest.fixture(scope="module")
def vulnerabilities() -> Iterator[str]:
    with VulnerabilityService().serving() as service:
        yield service.url


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.path.relative_to(ROOT)))
def test_each_shell_example_runs(
    page: Page, templates: Templates, programs: Path, vulnerabilities: str, tmp_path: Path
) -> None:
    wrong = []
    asking = {"RELEASER_VULNERABILITY_SERVICE": vulnerabilities, "RELEASER_SENDMAIL": str(programs / "sendmail")}
    for block in page.blocks:
        if block.language not in SHELLS or reason_not_to_run(block):
            continue
        base = tmp_path / str(block.line)
        site = SiteFactory(base / "srv", templates).adopted("1.1.0", **SHOP)
        site.write_dotenv(asking)
        env = site.environment({"PATH": f"{programs}:{site.env['PATH']}"})
        env |= {"UV_PROJECT_ENVIRONMENT": str(base / "ci")} if block.language == "yaml" else {}
        if "releaser approve" in block.text:
            make_ready(site)
        for command in commands(block):
            text = re.sub(r"(?<=releaser approve )\S+", site.releases()[-1], translated(command.text, site, page))
            make_places(text, base)
            first = [found.expand(before) for what, before in BEFORE.items() if (found := re.search(what, text))]
            finished = run(["bash", "-euo", "pipefail", "-c", "\n".join([*first, text])], cwd=site.path, env=env)
            if finished.returncode == 2 or (finished.returncode != 0) > command.fails:
                where = f"{page.path.relative_to(ROOT)}:{block.line}"
                wrong.append(f"{where}: {command.text}ended so: {finished}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.network
def test_the_tutorial_leads_to_an_update_by_cron_and_to_a_mail(programs: Path, uv_cache: Path, tmp_path: Path) -> None:
    """All of its blocks in one shell, except for the installation; tests/e2e/test_dist.py has that."""
    home = tmp_path / "home"
    env = {**os.environ, **clean_environment(home, uv_cache)}
    (home / "releaser-env" / "bin").mkdir(parents=True)
    for program in (console_script(), uv_executable()):
        (home / "releaser-env" / "bin" / program.name).symlink_to(program)
    installing, *blocks, cleaning = [block.text for block in TUTORIAL.blocks if block.language == "sh"]
    installed = "\n".join(line for line in installing.splitlines() if not re.search("venv |pip ", line))
    keeper, port = kept_port()
    lines = ["set -eo pipefail", installed, CRON, *blocks, "cp -r ~/tea_stuff/mail ~/mails", cleaning]
    listens = f"until (: < /dev/tcp/127.0.0.1/{port}) 2> /dev/null; do sleep 0.1; done"
    text = "\n".join(lines)
    assert text.count("8025") == 2 * text.count("mail & sleep 2\n") == 2
    script = text.replace("8025", str(port)).replace("mail & sleep 2\n", f"mail & {listens}\n")
    with keeper:
        env["PATH"] = f"{programs}:{env['PATH']}"
        finished = run(["bash", "-c", script], cwd=home, env=env, timeout=600, check=0)
    assert re.search(r"update +updated +0 ", finished.stdout), finished
    mails = [message_from_bytes(path.read_bytes(), policy=default) for path in (home / "mails" / "new").iterdir()]
    assert any("updated" in mail["Subject"] for mail in mails)
    assert not (home / "crontab").exists() or not (home / "crontab").read_text(encoding="utf-8")
