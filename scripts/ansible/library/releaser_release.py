#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""An Ansible module: which release of a site is live, by the commands of releaser."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: releaser_release
short_description: Which release of a site is live
description:
  - Adopts a site, lets a release go live, or goes back to the one before, by the commands of releaser.
  - Check mode runs these commands with C(--dry-run), which writes nothing.
author:
  - The developers of releaser
options:
  project:
    description: The checkout of the site.
    type: path
    required: true
  state:
    description:
      - C(adopted) adopts a site, as C(releaser init) does.
      - C(updated) resolves, builds and tests newer packages, as C(releaser update) does. If there are none, and what
        is live was adopted, and thus not tested, it is built again and tested.
      - C(installed) makes the release of O(bundle) live, and the checkout if there is none.
      - C(left) goes back from O(release), or that of O(bundle), to the one before. If it is not live, nothing is done.
      - C(checked) fails if O(release), or that of O(bundle), is not what is live, if that is not what was installed, or
        if the site is not well. It changes nothing, and does not mind what people have edited in the checkout.
    type: str
    choices: [adopted, updated, installed, left, checked]
    default: installed
  bundle:
    description: A bundle on the host; C(installed) needs it.
    type: path
  release:
    description:
      - The release, by its name on the host that built it, that C(left) leaves, and C(checked) is about.
      - C(installed) fails if O(bundle) is of another one.
    type: str
  signers:
    description: An allowed_signers file on the host, in place of that of the settings.
    type: path
  tests:
    description: Whether the tests of the project are run on the host as well.
    type: str
    choices: [always, never]
    default: always
  force:
    description: Install a release although it failed on this host before.
    type: bool
    default: false
  executable:
    description: The program releaser.
    type: path
    default: releaser
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Make the release of a bundle live
  releaser_release:
    project: /srv/shop_stuff/shop
    bundle: /srv/shop_stuff/shop.bundle

- name: Go back from it
  releaser_release:
    project: /srv/shop_stuff/shop
    bundle: /srv/shop_stuff/shop.bundle
    state: left
"""

RETURN = r"""
release:
  description: The release that is live at the end.
  returned: when there is one
  type: str
bundle:
  description: The release that the bundle was created of.
  returned: when a bundle is named
  type: str
known:
  description: Whether the host has, or has had, that release.
  returned: always
  type: bool
live_seconds:
  description: For how long the release has been live; 0 if that is not known.
  returned: when the state is C(installed)
  type: float
changes:
  description: What changes of the packages, as C(releaser update --json) has it.
  returned: always
  type: list
  elements: dict
problems:
  description: What releaser says of it.
  returned: always
  type: list
  elements: str
"""

SECONDS = "600"  # for another run to end, such as one by cron
VARIABLES = {"--force": "releaser_force=true", "--unsigned": "releaser_signers=FILE"}  # by option of bundle install
STATES = ("adopted", "updated", "installed", "left", "checked")


class Site:
    """A site on this host, asked and changed by the commands of releaser."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.project: str = module.params["project"]
        places = [str(Path.home() / ".local" / "bin")]
        self.program = module.get_bin_path(module.params["executable"], opt_dirs=places)

    def ask(self, *words: str, by_project: bool = True) -> tuple[int, Any, str]:
        """Run a command with --json; return its exit status, its answer (None without one), and what it said."""
        place = ["--project", self.project] if by_project else []
        status, out, err = self.module.run_command([self.program, *words, "--json", *place])
        try:
            return status, json.loads(out), err.strip()
        except ValueError:
            return status, None, err.strip()

    def know(self, *words: str, by_project: bool = True) -> Any:
        """Return the answer of a command that only asks, which ends the module if it fails."""
        status, answer, err = self.ask(*words, by_project=by_project)
        if status or answer is None:
            self.module.fail_json(msg=f"releaser {' '.join(words)}: {err}")
        return answer

    def releases(self) -> list[dict[str, Any]]:
        """Return those that are kept; none where there is no site."""
        return list(self.know("list")) if os.path.exists(os.path.join(self.project, "pyproject.toml")) else []

    def live_seconds(self, release: str) -> float:
        """Return for how long a release has been live; 0, which lets nothing go on early, if nobody knows."""
        run = next((one for one in self.know("history", "-n", "100") if one["live_changed"]), None)
        if run is None or run["release"] != release:
            return 0.0
        return max(0.0, time.time() - datetime.fromisoformat(run["started_at"]).timestamp() - run["seconds"])


def live_of(releases: list[dict[str, Any]], bundle: dict[str, Any] | None = None) -> tuple[str, str]:
    """Return the live release, and that which its bundle was created of; empty for what is not.

    A site that had the code and the lock of a bundle before keeps its release, which counts as that of the bundle.
    """
    live = next((one for one in releases if one["live"]), None)
    if live is None:
        return "", ""
    same = bundle is not None and (live["lock_sha256"], live["commit"]) == (bundle["lock_sha256"], bundle["commit"])
    return live["id"], live["bundle"] or (bundle["release"] if bundle is not None and same else "")


def words_of(params: dict[str, Any]) -> list[str]:
    """Return the command that brings about a state."""
    if params["state"] == "checked":
        return ["verify", "--health"]
    if params["state"] != "installed":
        return [{"adopted": "init", "updated": "update", "left": "rollback"}[params["state"]], "--wait", SECONDS]
    words = ["bundle", "install", params["bundle"], "--into", params["project"], "--tests", params["tests"]]
    words += ["--wait", SECONDS]
    if params["signers"]:
        words += ["--signers", params["signers"]]
    return [*words, "--force"] if params["force"] else words


def describe(release: str, bundle: str, changes: list[dict[str, Any]], side: str) -> str:
    """Return one side of a diff: the release, and each package that changes."""
    lines = [f"release {release or 'none'}" + (f", from the bundle of {bundle}" if bundle else "")]
    lines += [f"{one['name']} {one[side]}" for one in changes if one[side]]
    return "\n".join(lines) + "\n"


def bring_about(site: Site, before: tuple[str, str], wanted: str, bundle: dict[str, Any] | None) -> dict[str, Any]:
    """Run the command of the state, with --dry-run in check mode, and return what the module answers."""
    module, state = site.module, site.module.params["state"]
    dry_run = ["--dry-run"] if module.check_mode and state != "checked" else []
    status, answer, err = site.ask(*words_of(module.params), *dry_run)
    live = live_of(site.releases())[0] if state == "updated" and not status else ""
    if live and site.know("show", live)["tests"] == "not run":
        status, answer, err = site.ask("rebuild", "--wait", SECONDS, *dry_run)
    answer = answer or {}
    would, changes = answer.get("would", []), answer.get("changes", [])
    problems = [one if isinstance(one, str) else one["message"] for one in answer.get("problems", [])]
    problems = problems or ([err] if err and status else [])
    problems = [in_words_of_the_role(one) for one in problems] if state == "installed" else problems
    after = ("to be built", wanted) if dry_run and would and not status else before
    if dry_run and would and state in ("adopted", "left"):
        after = ("; ".join(would), "")
    elif not dry_run:
        after = live_of(site.releases(), bundle)
    facts = {"changed": after != before, "release": after[0], "bundle": wanted}
    facts |= {"changes": changes, "problems": problems, "diff": diff_of(before, after, changes)}
    if status:
        module.fail_json(msg="; ".join(problems) or f"releaser ended with {status}", **facts)
    # An update that leaves out what failed on this host before ends well, and no roll-out may go on from that.
    if state == "installed" and after[1] != wanted:
        again = "To try it again, add -e releaser_force=true"
        module.fail_json(msg=f"the release of {wanted} failed on this host before, and is not live. {again}", **facts)
    if state == "installed" and not dry_run:
        facts["live_seconds"] = site.live_seconds(after[0])
    return facts


def in_words_of_the_role(text: str) -> str:
    """Name the variables of the role in place of options of releaser."""
    for option, variable in VARIABLES.items():
        text = re.sub(rf"run `releaser [^`]*{option}`", f"run the playbook with `-e {variable}`", text)
        text = re.sub(rf"`(releaser [^`]*)?{option}`|{option}(?![\w-])", f"`-e {variable}`", text)
    return text


def diff_of(before: tuple[str, str], after: tuple[str, str], changes: list[dict[str, Any]]) -> dict[str, str]:
    """Return what --diff shows."""
    if after == before:
        changes = []
    return {"before": describe(*before, changes, "old"), "after": describe(*after, changes, "new")}


def main() -> None:
    """Do what the parameters ask for."""
    module = AnsibleModule(
        argument_spec={
            "project": {"type": "path", "required": True},
            "state": {"type": "str", "choices": STATES, "default": "installed"},
            "bundle": {"type": "path"},
            "release": {"type": "str"},
            "signers": {"type": "path"},
            "tests": {"type": "str", "choices": ["always", "never"], "default": "always"},
            "force": {"type": "bool", "default": False},
            "executable": {"type": "path", "default": "releaser"},
        },
        required_if=[
            ("state", "installed", ("bundle",)),
            ("state", "checked", ("bundle", "release"), True),
            ("state", "left", ("bundle", "release"), True),
        ],
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LC_ALL": "C.UTF-8"}
    params, site = module.params, Site(module)
    if site.program is None and not module.check_mode:
        module.fail_json(msg=f"{params['executable']} is not installed")
    if site.program is None:
        after = "releaser, and what it is to bring about\n"
        module.exit_json(changed=True, diff={"before": "no releaser\n", "after": after}, changes=[], problems=[])
    releases, wanted, bundle = site.releases(), params["release"] or "", None
    if params["bundle"] and os.path.exists(params["bundle"]):
        bundle = site.know("bundle", "show", params["bundle"], by_project=False)
        wanted = bundle["release"]
    before = live_of(releases, bundle)
    if params["release"] not in (None, wanted):
        module.fail_json(msg=f"{params['bundle']} is the bundle of {wanted}, and not of {params['release']}")
    is_live = bool(wanted) and before[1] == wanted
    known = is_live or any(one["bundle"] == wanted for one in releases)
    if params["state"] == "checked" and not is_live:
        module.fail_json(msg=f"what is live, {before[1] or before[0] or 'nothing'}, is not the release of {wanted}")
    if (params["state"] == "left" and not is_live) or (
        params["state"] == "installed" and is_live and module.check_mode
    ):
        diff = diff_of(before, before, [])
        same = {"release": before[0], "bundle": wanted, "known": known, "changes": [], "problems": [], "diff": diff}
        module.exit_json(changed=False, **same)
    module.exit_json(known=known, **bring_about(site, before, wanted, bundle))


if __name__ == "__main__":
    main()
