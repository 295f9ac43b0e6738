"""Rules for versions, made of what a test is about."""

from dataclasses import fields
from typing import Any

from releaser.locks.rules import Packages, Policy, Rules


def make_rules(rules: Rules | None = None, **given: Any) -> Rules:
    """Make rules of fields of `Rules`, `Packages` and `Policy`, or replace these in other ones."""
    values = {**(vars(rules) if rules else {"packages": Packages(locked={}), "policy": Policy()}), **given}
    for name in ("packages", "policy"):
        kind = type(values[name])
        own = {one.name: values.pop(one.name) for one in fields(kind) if one.name in values}
        values[name] = kind(**{**vars(values[name]), **own})
    return Rules(**values)
