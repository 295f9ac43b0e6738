"""A night without news costs little: it imports, compiles and parses only what it needs."""

import json
import sys

from tests.support.commands import run
from tests.support.sites import SiteFactory

#: Prints what an update imported, the expressions that its modules compiled, and how often it parsed a lock.
COUNTING = """\
import atexit, json, re, sys, tomli
compiled, locks, compile_it, loads = [], [], re.compile, tomli.loads

def compiling(text, flags=0):
    caller = sys._getframe(1)
    if caller.f_code.co_name == "<module>" and caller.f_globals["__name__"].startswith("releaser."):
        compiled.append(caller.f_globals["__name__"])
    return compile_it(text, flags)

def loading(text, **options):
    locks.extend(["a lock"] if "[[package]]" in text else [])
    return loads(text, **options)

re.compile, tomli.loads = compiling, loading
atexit.register(lambda: print(json.dumps([[*sys.modules], compiled, len(locks)]), file=sys.stderr))
from releaser.__main__ import main
main()
"""
# Each of these costs as much as much of what is really needed.
OTHERS = {
    "asyncio", "click", "concurrent.futures", "dataclasses", "email", "filelock", "http", "inspect", "jinja2",
    "msgspec", "packaging", "rich", "socket", "ssl", "uuid",
}  # fmt: skip
# Packages and modules of releaser for a build, a flip, a mail, a person, or a site with other settings.
OWN = (
    "actions", "bundles", "candidate.build", "candidate.build_and_test", "candidate.build_limits", "candidate.culprits",
    "candidate.git_sources", "candidate.install", "candidate.partial_locks", "candidate.reuse", "candidate.sandbox",
    "candidate.sandbox_install", "candidate.testing", "candidate.trials", "checkout.leftovers", "commands.command",
    "commands.operations", "core.action", "gates", "locks.installed", "pipelines.deploy", "pipelines.dry_run",
    "pipelines.init", "pipelines.requests", "releases.channels", "releases.earlier_blocks", "releases.requests",
    "releases.retention", "releases.startup", "reporting.changes", "reporting.lock_alert", "reporting.mail",
    "reporting.outbox", "resolution.aside", "resolution.kept_versions", "sandbox.bubblewrap", "sandbox.choice",
    "sandbox.layers", "sandbox.sockets", "serving.health", "serving.restarts.command", "serving.restarts.gunicorn",
    "serving.restarts.passenger", "serving.restarts.systemd", "serving.servers", "serving.static_files", "site.shadow",
    "system.own_code", "tools.certificates", "tools.django", "tools.in_the_way", "tools.osv", "tools.web",
)  # fmt: skip
MOST = 194  # modules of releaser, of some 400


def test_a_night_without_news_imports_compiles_and_parses_little(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0")
    site.releaser("update", check=0)
    finished = run([sys.executable, "-c", COUNTING, "update"], cwd=site.path, env=site.env, check=0)
    modules, compiled, locks = json.loads(finished.stderr.splitlines()[-1])
    assert OTHERS.isdisjoint(modules)
    own = [name.removeprefix("releaser.") for name in modules if name.startswith("releaser.")]
    assert [name for name in own if any(f"{name}.".startswith(f"{one}.") for one in OWN)] == []
    assert len(own) <= MOST, len(own)
    assert compiled == []
    assert locks == 1
