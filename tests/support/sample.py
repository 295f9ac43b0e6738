"""The files of the sample site: its code, its tests, and the program that runs them."""

RUN_TESTS = '''\
"""Runs the site's tests with unittest. A line for each run goes to the file that SITE_RECORD names."""

import json
import os
import sys
import unittest


def installed():
    versions = {}
    for place in sys.path:
        for entry in os.listdir(place) if os.path.isdir(place) else ():
            if entry.endswith(".dist-info"):
                name, _, version = entry[: -len(".dist-info")].partition("-")
                versions[name] = version
    return versions


def note(event):
    record = os.environ.get("SITE_RECORD")
    if record:
        line = {"event": event, "argv": sys.argv, "cwd": os.getcwd(), "prefix": os.path.realpath(sys.prefix)}
        line |= {"versions": installed(), "env": dict(os.environ)}
        with open(record, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\\n")


if __name__ == "__main__":
    note("began")
    try:
        unittest.main(module="site_tests", argv=["run_tests.py", "--verbose"])
    except SystemExit as end:
        note("failed" if end.code else "passed")
        raise
'''

SITE_TESTS = '''\
"""The site's tests."""

import importlib
import unittest

import shop
from run_tests import installed


class Shop(unittest.TestCase):
    def test_packages(self):
        for name, version in installed().items():
            if name in ("pip", "setuptools"):
                continue
            module = importlib.import_module(name)
            self.assertFalse(getattr(module, "BROKEN", False), f"{name} {version} breaks the shop")

    def test_code(self):
        self.assertFalse(shop.BROKEN, "the shop is closed")
'''

SHOP = '''\
"""The site's code."""

EDITION = 1
BROKEN = False
'''

FILES = {"run_tests.py": RUN_TESTS, "site_tests.py": SITE_TESTS, "shop.py": SHOP}
