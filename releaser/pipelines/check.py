"""The command `check`: every reason why an update would be refused, and, if asked, the tests of the live release."""

from __future__ import annotations

import msgspec

from releaser.candidate.namespace import describe_shadow
from releaser.candidate.trial import run_live_tests
from releaser.errors import GateError, PreflightError, Problem
from releaser.packages.hand_made import EDITED, describe_coming, describe_patches
from releaser.pipelines.checks import find_stale_lock, list_hints, look
from releaser.releases.store import SiteRun, Store
from releaser.report.outcomes import Outcome, Payload, make_unchanged
from releaser.report.status import find_damage
from releaser.report.tell import Delivery, send_test_mail
from releaser.site.site import Site
from releaser.system.text import clip_end


class Check(msgspec.Struct, frozen=True):
    """The answer of `check`: where the tests run, hints about what could be better, and the test mail, if one went."""

    problems: tuple[Problem, ...]
    shadow: str
    hints: tuple[str, ...]
    mail: Delivery | None

    @property
    def headline(self) -> str:
        """The answer in a sentence."""
        return "An update would be refused." if self.problems else "The site is fit for updates."


def check(site: Site, *, sends_mail: bool) -> Check:
    """Return every reason why an update would be refused. Nothing is changed."""
    store = Store(site.paths)
    view = look(site, store, is_first=store.link.kind != "release" and not store.releases)
    problems = list(view.problems) or find_stale_lock(site, store, view)
    damage = find_damage(site, store)
    if hotfixes := [problem for problem in damage if problem.name == EDITED]:
        problems = [*(problem for problem in problems if problem.name != EDITED), *hotfixes]
    shadow, delivery = "" if problems else describe_shadow(site), None
    if sends_mail:
        try:
            delivery = send_test_mail(site)
        except PreflightError as error:
            problems += error.problems
    hints = list_hints(site)
    if store.link.kind == "foreign" and not store.link.is_symlink:
        hints.append(describe_patches(site.paths.link))
        hints.append("" if problems else describe_coming(site, mark="check"))
    hints += [f"{problem.message} {problem.advice}" for problem in damage if problem.name != EDITED]
    return Check(tuple(problems), shadow, tuple(filter(None, hints)), delivery)


def check_tests(site: Site, run: SiteRun) -> Outcome:
    """Run the tests of the project once, with the live release and the commit of the checkout; nothing is changed."""
    view = look(site, run.store, mark=run.id)
    head, live = view.require_fit().checkout.head, run.store.find("live")
    result = run_live_tests(site, run, view.repository, head, live)
    if result.passed:
        return make_unchanged(f"The tests pass with the live release, {live.id}.", live.id)
    headline = f"The live release, {live.id}, fails its tests: {result.reason}."
    error = GateError(headline, "Correct the site or its tests, then run `releaser check --tests`.")
    payload = Payload(output=clip_end(result.output, 40, 4000))
    return Outcome("failed", 5, headline, live.id, payload, "heard", problems=error.problems)
