"""The command `check`: every reason why an update would be refused, and, if asked, one run of the tests."""

from __future__ import annotations

import msgspec

from releaser.candidate.namespace import describe_shadow
from releaser.candidate.tests import TestResult
from releaser.candidate.trial import run_live_tests, run_tests_alone
from releaser.errors import (
    BuildError,
    GateError,
    LockedError,
    PreflightError,
    Problem,
    ToolError,
    explain_error,
    refuse,
    require,
)
from releaser.live.django import describe_django
from releaser.live.health import find_illness
from releaser.live.outlook import foresee
from releaser.live.programs import find_forbidden
from releaser.live.restart import find_failed, recommend
from releaser.packages.hand_made import EDITED, describe_new_packages, describe_patches
from releaser.packages.holds import Pause
from releaser.packages.lock import read_lock
from releaser.packages.sources import copy_sources
from releaser.pipelines.checks import Look, list_hints, look
from releaser.pipelines.decide import UpdateOptions, decide, make_workplace, require_installable
from releaser.releases.store import SiteRun, Store
from releaser.releases.verify import has_its_python
from releaser.report.decision import Refused
from releaser.report.outcomes import Outcome, Payload, make_unchanged
from releaser.report.status import find_damage
from releaser.report.tell import Delivery, send_test_mail
from releaser.site.site import Site
from releaser.system.run import CHECK, Run, make_id, now
from releaser.system.text import clip_end

_HEADLINES = {
    0: "The site is fit for updates.",
    3: "An update would be refused.",
    4: "An update would fail.",
    10: "The site is ill.",
}


class Check(msgspec.Struct, frozen=True):
    """The answer of `check`: where the tests run, hints about what could be better, and the test mail, if one went.

    `exit_code` is 3 if an update would be refused, 4 if it would fail since something cannot be resolved or reached.
    """

    problems: tuple[Problem, ...]
    shadow: str
    hints: tuple[str, ...]
    mail: Delivery | None
    exit_code: int = 0

    @property
    def headline(self) -> str:
        """The answer in a sentence."""
        return _HEADLINES[self.exit_code]


def check(site: Site, *, sends_mail: bool, asks_live: bool = False) -> Check:
    """Return every reason why an update would be refused, and, if asked, what applies live. Nothing is changed."""
    store = Store(site.paths)
    is_first = is_before_init(store)
    view = look(site, store, is_first=is_first)
    problems, failures, hints = list(view.problems), tuple[Problem, ...](), list_hints(site)
    if not problems and view.repository.follows_bundles(site.settings.site.branch):
        hints.append("New releases come by `releaser bundle install FILE`; what an update would do was not asked.")
    elif not problems:
        try:
            is_adopted = is_first and store.link.kind != "missing"
            problems = find_stale_lock(site, store, view) if is_adopted else _ask_update(site, store)
        except LockedError as error:
            hints.append(f"What the next update would do was not asked: {error.message}")
        except (BuildError, ToolError) as error:
            failures = error.problems
        except OSError as error:
            failures = (Problem(BuildError.name, explain_error(error), "Run it again."),)
    damage = find_damage(site, store)
    if hotfixes := [problem for problem in damage if problem.name == EDITED]:
        problems = [*(problem for problem in problems if problem.name != EDITED), *hotfixes]
    shadow, delivery = "" if problems or failures else describe_shadow(site), None
    if sends_mail:
        try:
            delivery = send_test_mail(site)
        except PreflightError as error:
            problems += error.problems
    if store.link.kind == "foreign" and not store.link.is_symlink:
        hints.append(describe_patches(site.paths.link))
        hints.append("" if problems else describe_new_packages(site, mark="check"))
    hints += [f"{problem.message} {problem.advice}" for problem in damage if problem.name != EDITED]
    hints += describe_django(site) if asks_live else ()
    hints.append(recommend(site))
    failures += (*find_forbidden(site), *find_failed(site)) if asks_live else ()
    code = PreflightError.exit_code if problems else BuildError.exit_code if failures else 0
    if asks_live and site.settings.live.health_check:
        illness = find_illness(site)
        hints += [] if illness else ["The site passes its health check."]
        failures += (Problem("unhealthy", illness, "Correct the site or `health_check`."),) if illness else ()
        code = code or (10 if illness else 0)
    return Check((*problems, *failures), shadow, tuple(filter(None, hints)), delivery, code)


def _ask_update(site: Site, store: Store) -> list[Problem]:
    """Return why the next update would be refused, also in a pause, and for a commit that is not here yet.

    Raises LockedError, BuildError, ToolError and OSError.
    """
    run = SiteRun("check", CHECK)
    run.store = store
    outlook = foresee(site, store)
    holds = tuple(hold for hold in outlook.holds if not isinstance(hold, Pause))
    decision = decide(site, run, UpdateOptions(dry_run=True), msgspec.structs.replace(outlook, holds=holds))
    return list(decision.problems) if isinstance(decision, Refused) else []


def find_stale_lock(site: Site, store: Store, view: Look) -> list[Problem]:
    """Return a problem if the committed lock does not fit pyproject.toml, where it is deployed as it is.

    That is by the setting `upgrade`, and by the first release, if that is built. Raises BuildError, also if that one
    cannot be installed here, ToolError and OSError.
    """
    levels = {site.settings.versions.upgrade, *site.settings.versions.upgrade_packages.values()}
    if levels != {"none"} and store.link.kind != "missing":
        return []
    head = view.require_fit().checkout.head
    try:
        run = Run("check", CHECK)
        with make_workplace(site, view.repository, run, is_dry=True) as (site, source, directory):
            copy_sources(site, run)
            # Else the next update asks what can be installed, with the adopted venv.
            is_new = store.link.kind == "missing"
            require_installable(site, source, directory, head, is_new=is_new, mark="check")
    except PreflightError as error:
        return list(error.problems)
    return []


def check_tests(site: Site, run: SiteRun) -> Outcome:
    """Run the tests of the project once, with the live release and the commit of the checkout; nothing is changed."""
    view = look(site, run.store, mark=run.id)
    head, live = view.require_fit().checkout.head, run.store.find("live")
    if not has_its_python(site, live):
        message = f"The Python of the live release, {live.manifest.key.python}, is gone: its tests cannot run."
        raise refuse("no-python", message, "Run `releaser update`, which builds it on another one.")
    result = run_live_tests(site, run, view.repository, head, live)
    return _explain_tests(result, f"the live release, {live.id}", live.id)


def is_before_init(store: Store) -> bool:
    """Return True if no release has ever been live: the next update makes the first one, or adopts a venv."""
    if store.link.kind == "missing":
        return not any(release.state.order for release in store.releases)
    return store.link.kind != "release" and not store.releases


def check_first_tests(site: Site) -> Outcome:
    """Run the tests once with the venv that a person has made, before it is adopted. All is in a temporary place."""
    store, run = Store(site.paths), Run(make_id(now()), CHECK)
    view, link = look(site, store, mark=run.id, is_first=True), site.paths.link
    if store.link.kind != "foreign":
        problem = Problem("no-venv", f"`{link}` does not exist: no tests can run with it.", "Run `uv sync`.")
        require([*view.problems, problem])
    head = view.require_fit().checkout.head
    with make_workplace(site, view.repository, run, is_dry=True) as (site, source, directory):
        result = run_tests_alone(site, run, source, head, directory, link, read_lock(site.paths.lockfile))
    return _explain_tests(result, f"`{link}`")


def _explain_tests(result: TestResult, environment: str, release: str | None = None) -> Outcome:
    if result.passed:
        return make_unchanged(f"The tests pass with {environment}.", release)
    headline = f"{environment[0].upper()}{environment[1:]}, fails its tests: {result.reason}."
    error = GateError(headline, "Correct the site or its tests, then run `releaser check --tests`.")
    payload = Payload(output=clip_end(result.output, 40, 4000))
    return Outcome("failed", 5, headline, release, payload, "heard", problems=error.problems)
