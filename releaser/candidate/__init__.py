"""A candidate that works: built, tested, audited and sealed, without the upgrades that break the build or the tests."""
