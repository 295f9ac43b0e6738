"""Builds, tests, audits and seals a candidate, without the upgrades that break the build or the tests."""
