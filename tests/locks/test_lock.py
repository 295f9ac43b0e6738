"""Reading a uv.lock: what is locked, and whether two lock the same."""

import hashlib
import random
import sysconfig
from dataclasses import replace
from typing import Any

import pytest

from releaser.locks.changes import changes_between
from releaser.locks.installed import installed_key, versions_for
from releaser.locks.lock import EMPTY, InvalidLockError, LockFile
from releaser.system import exact

HEAD = 'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n'
REGISTRY = '{ registry = "https://index.example/simple" }'
COMMIT = "0123abcdef0123abcdef0123abcdef0123abcdef"


def package(name: str, version: str | None = "1.0", source: str = REGISTRY, extra: str = "") -> str:
    lines = ["", "[[package]]", f'name = "{name}"', *([f'version = "{version}"'] if version else [])]
    return "\n".join([*lines, f"source = {source}", extra]) + "\n"


def parsed(*packages: str, head: str = HEAD) -> LockFile:
    return LockFile.parse((head + "".join(packages)).encode())


GIT = f'{{ git = "https://git.example/alpha?branch=main#{COMMIT}" }}'
READ: list[tuple[list[str], dict[str, str]]] = [  # packages, and their versions as they are shown
    ([], {}),
    ([package("alpha"), package("beta", "2.0.post1")], {"alpha": "1.0", "beta": "2.0.post1"}),
    ([package("alpha", "2.0"), package("beta"), package("alpha", "1.0")], {"alpha": "1.0, 2.0", "beta": "1.0"}),
    ([package("alpha", "1.0", GIT)], {"alpha": "1.0 (0123abcde)"}),
    *(
        ([package("alpha", version, source)], {"alpha": version or "unknown"})
        for source in ('{ url = "https://example.org/alpha-1.0.whl" }', '{ path = "../alpha-1.0.whl" }', REGISTRY)
        for version in ("1.0", None)
    ),
]


@pytest.mark.parametrize(("packages", "versions"), READ)
def test_each_package_has_its_version(packages: list[str], versions: dict[str, str]) -> None:
    lock = parsed(*packages)
    assert (lock.versions, lock.names, lock.local) == (versions, frozenset(versions), frozenset())


def test_what_has_no_wheel_in_some_version_is_built() -> None:
    wheel = 'wheels = [{ url = "https://index.example/x-1.0-py3-none-any.whl" }]'
    packages = [package("alpha", extra=wheel), package("beta"), package("gamma", "1.0", GIT)]
    several = [package("delta", extra=wheel), package("delta", "2.0")]
    lock = parsed(*packages, *several, package("site", "0.1.0", '{ virtual = "." }'))
    assert lock.without_wheels == {"beta", "gamma", "delta"}


@pytest.mark.parametrize("kind", ["editable", "directory", "virtual"])
def test_local_packages_are_told_apart(kind: str) -> None:
    source = f'{{ {kind} = "." }}'
    lock = parsed(package("site", "0.1.0", source), package("dynamic", None, source), package("alpha"))
    assert lock.versions == {"site": "0.1.0", "dynamic": "local", "alpha": "1.0"}
    assert lock.local == {"site", "dynamic"}


def test_the_same_text_is_parsed_once_and_its_digest_is_known() -> None:
    text = b'version = 1\n[[package]]\nname = "alpha"\nversion = "1.0"\n'
    assert LockFile.parse(text) is LockFile.parse(bytes(bytearray(text))) is not LockFile.parse(text + b"\n")
    assert LockFile.parse(text).sha256 == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "required field `version`"),
        (b"\xff\xfe", "utf-8"),
        (b"version = 1\n<<<<<<< HEAD\n", "Invalid"),
        (b"version = 1\npackage = [5]", r"package\[0\]"),
        (b"version = 1\n[[package]]\nname = 5", r"package\[0\].name"),
        (b"version = 1\n[[package]]\nname = 'alpha'\ndependencies = [3, { version = 1 }]", "dependencies"),
        (b"version = 1\n[[package]]\nname = 'alpha'\ndependencies = [{ version = '1' }]", "required field `name`"),
        (b"a = " + b"[" * 100_000, "nested more than"),
        (b"a = " + b"1" * 5000, "digits"),
    ],
)
@pytest.mark.parametrize("is_plain", [True, False])
def test_what_is_no_lock_is_refused(text: bytes, words: str, is_plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_plain:  # as at night, when nothing has imported msgspec
        monkeypatch.setattr(exact, "_needs_msgspec", lambda: False)
    with pytest.raises(InvalidLockError, match=words):
        LockFile.parse(text)


def same(one: LockFile, other: LockFile, *, python: str = "3.12.1") -> bool:
    keys = [installed_key(lock, python=python, default_groups=()) for lock in (one, other)]
    return keys[0] == keys[1]


# A lock with everything that uv 0.13 writes; `full` changes it.
FULL = """\
version = 1
revision = 3
requires-python = ">=3.11"
resolution-markers = ["sys_platform == 'win32'", "sys_platform != 'win32'"]
supported-markers = ["sys_platform == 'linux'", "sys_platform == 'win32'"]

[options]
exclude-newer = "2026-01-01T00:00:00Z"
exclude-newer-span = "P7D"
prerelease-mode = "allow"

[options.exclude-newer-package]
alpha = "2026-01-01T00:00:00Z"

[manifest]
members = ["site", "tools"]
constraints = [{ name = "beta", specifier = "<3" }]

[[package]]
name = "alpha"
version = "1.0"
source = { registry = "https://one.example/simple" }
dependencies = [
    { name = "beta", marker = "sys_platform == 'linux'" },
    { name = "gamma", extra = ["fast", "safe"] },
]
sdist = { url = "https://one.example/aa/alpha-1.0.tar.gz", hash = "sha256:a0", size = 10, upload-time = "2026-01-01" }
wheels = [
    { url = "https://one.example/ab/alpha-1.0-py3-none-any.whl", hash = "sha256:a1", upload-time = "2026-01-01" },
    { url = "https://one.example/ac/alpha-1.0-cp311-cp311-win_amd64.whl", hash = "sha256:a2", size = 12 },
]

[package.optional-dependencies]
fast = [{ name = "gamma" }, { name = "beta" }]

[[package]]
name = "beta"
version = "2.0"
source = { git = "https://git.example/beta?rev=main#0123abcd" }

[[package]]
name = "gamma"
version = "1.0+local.1"
source = { url = "https://one.example/gamma-1.0%2Blocal.1-py3-none-any.whl" }
wheels = [{ url = "https://one.example/gamma-1.0%2Blocal.1-py3-none-any.whl", hash = "sha256:c1" }]

[[package]]
name = "site"
version = "0.1.0"
source = { virtual = "." }
dependencies = [{ name = "alpha" }]

[package.dev-dependencies]
prod = [{ name = "beta" }, { name = "gamma" }]

[package.metadata]
requires-dist = [{ name = "alpha", specifier = ">=1" }]
provides-extras = ["all"]
"""
HERE = sysconfig.get_platform().replace("-", "_")  # such as linux_x86_64
PLAIN = "alpha-1.0-py3-none-any.whl"
WHEELS = 'wheels = [\n    { url = "https://one.example/ab/'


def full(*changes: tuple[str, str]) -> LockFile:
    text = FULL
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return LockFile.parse(text.encode())


def extra_wheel(name: str) -> tuple[str, str]:
    """Offer one more wheel of alpha."""
    return WHEELS, f'wheels = [\n    {{ url = "https://one.example/{name}", hash = "sha256:f0" }},\n' + WHEELS[11:]


SECOND = extra_wheel("alpha-1.0-1-py3-none-any.whl")
SAME = {
    "what uv notes of a resolution": [
        ("revision = 3", 'revision = 1\nsurprise = "yes"'),
        ('"P7D"', '"P14D"'),
        ("size = 1", "size = 2"),
        ("2026-01-01T00:00:00Z", "2026-05-05T00:00:00Z"),
        ('upload-time = "2026-01-01"', 'upload-time = "2026-02-02"'),
        ("\"sys_platform != 'win32'\"", "\"sys_platform == 'darwin'\""),
        ('"sys_platform == \'linux\'", "', '"'),
        ('">=3.11"', '">=3.12"'),
        ('"allow"', '"disallow"'),
        ('">=1"', '">=1.0"'),
        ('"<3"', '"<4"'),
        (', "tools"', ""),
        ('provides-extras = ["all"]\n', ""),
    ],
    "no upload times": [(', upload-time = "2026-01-01"', "")],
    "another mirror": [("https://one.example/", "https://two.example/root/")],
    "another mirror with other names of directories": [("example/a", "example/files/a")],
    "the way a name is written in a URL": [("%2B", "+")],
    "what follows a name in a URL": [("none-any.whl", "none-any.whl?mirror=1#sha256=00")],
    "another host of a repository": [("https://git.example/beta?rev=main", "ssh://git@two.example/beta?tag=v2")],
    "no limit of age": [('exclude-newer = "2026-01-01T00:00:00Z"\n', "")],
    "what is empty": [
        ("[[package]]\nname", "[[package]]\nwheels = []\nname"),
        ('wheels = []\nname = "alpha"', 'name = "alpha"'),
        ('wheels = []\nname = "gamma"', 'name = "gamma"'),
    ],
    "a wheel for another system": [extra_wheel("alpha-1.0-cp312-cp312-win_arm64.whl")],
    "a source beside a wheel": [extra_wheel("alpha-1.0.zip")],
    "hash of a wheel for another system": [("sha256:a2", "sha256:b2")],
    "hash of a source beside a wheel": [("sha256:a0", "sha256:b0")],
    "a wheel for another Python": [extra_wheel(f"alpha-1.0-cp399-cp399-{HERE}.whl")],
    "extra of a dependency": [('["fast", "safe"]', '["fast"]')],
    "what an extra brings": [('fast = [{ name = "gamma" }, ', "fast = [")],
    "name of an extra": [("fast = [", "slow = [")],
    "what a group brings": [('prod = [{ name = "beta" }, ', "prod = [")],
    "name of a group": [("prod = [", "local = [")],
}
OTHER = {
    "version": [('version = "1.0"', 'version = "1.1"')],
    "hash of a file": [("sha256:a1", "sha256:b1")],
    "hash of a source": [(PLAIN, "alpha-1.0-py3-none-win32.whl"), ("sha256:a0", "sha256:b0")],
    "hash of what a URL leads to": [("sha256:c1", "sha256:d1")],
    "no hash": [('ab/alpha-1.0-py3-none-any.whl", hash = "sha256:a1"', 'ab/alpha-1.0-py3-none-any.whl"')],
    "a wheel of any system": [SECOND],
    "a file whose name says nothing": [extra_wheel("alpha.whl")],
    "kind of source": [('{ registry = "https://one.example/simple" }', '{ url = "https://one.example/simple" }')],
    "commit of a repository": [("#0123abcd", "#0123abce")],
    "directory in a repository": [("?rev=main", "?subdirectory=beta&rev=main")],
    "place of a local package": [('virtual = "."', 'virtual = "./site"')],
    "whether a local package is built": [("virtual =", "editable =")],
    "marker of a dependency": [
        ("beta\", marker = \"sys_platform == 'linux'", "beta\", marker = \"sys_platform == 'darwin'")
    ],
    "one dependency less": [('    { name = "gamma", extra = ["fast", "safe"] },\n', "")],
}


def test_what_does_not_decide_what_is_installed_makes_no_other_lock() -> None:
    one = full()
    for name, changes in SAME.items():
        other = full(*changes)
        assert one.data != other.data, name
        assert same(one, other), name


def shuffled(value: Any, order: random.Random) -> Any:
    """Return parsed TOML with all of its lists, at any depth, in another order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key], order) for key in order.sample(list(value), len(value))}
    return [shuffled(one, order) for one in order.sample(value, len(value))] if isinstance(value, list) else value


def test_no_order_counts_at_any_depth() -> None:
    one, changed = full(SECOND), full(SECOND, *OTHER["version"])
    for seed in range(5):
        order = random.Random(seed)  # noqa: S311 - a test that can be repeated
        assert same(one, replace(one, packages=shuffled(list(one.packages), order)))
        assert not same(one, replace(one, packages=shuffled(list(changed.packages), order)))


def test_what_decides_what_is_installed_makes_another_lock() -> None:
    assert not same(full(), EMPTY)
    assert [name for name, changes in OTHER.items() if same(full(), full(*changes))] == []


def test_a_group_counts_if_it_is_installed() -> None:
    no_beta, changed = ('{ name = "beta", marker', '{ name = "", marker'), ("#0123abcd", "#0123abce")
    for group, counts in (("prod", True), (None, False)):
        keys = [
            installed_key(lock, python="3.12.1", group=group, default_groups=())
            for lock in (full(no_beta), full(no_beta, changed))
        ]
        assert (keys[0] != keys[1]) == counts


def test_a_source_counts_where_there_is_no_wheel_for_this_python() -> None:
    only = (PLAIN, f"alpha-1.0-cp399-cp399-{HERE}.whl")
    one, other = full(only), full(only, extra_wheel("alpha-1.0.zip"))
    assert not same(one, other, python="3.12.1")
    assert same(one, other, python="3.99.0")


def lock_of(*alphas: str, asked: str) -> LockFile:
    """Return a lock of a project that asks for one of these packages by its place."""
    needs = f'dependencies = [{{ name = "alpha", version = "1.0", source = {asked} }}]'
    return parsed(*alphas, package("site", source='{ virtual = "." }', extra=needs))


def place(host: str) -> str:
    return f'{{ registry = "https://{host}.example/simple" }}'


def wheel(host: str, version: str, digest: str) -> str:
    return f'wheels = [{{ url = "https://{host}.example/alpha-{version}-py3-none-any.whl", hash = "sha256:{digest}" }}]'


def test_the_place_of_a_dependency_counts_where_no_hash_tells() -> None:
    """As in a lock of files in a directory, where uv notes no hashes; or where two registries have one version."""
    path = 'wheels = [{ path = "alpha-1.0-py3-none-any.whl" }]'
    bare = [parsed(package("alpha", source=f'{{ registry = "../{one}" }}', extra=path)) for one in "aab"]
    assert (same(*bare[:2]), same(*bare[1:])) == (True, False)
    assert not same(parsed(package("alpha")), parsed(package("alpha", source=place("two"))))
    both = [package("alpha", source=place(host), extra=wheel("x", "1.0", host)) for host in ("one", "two")]
    assert same(lock_of(*both, asked=place("one")), lock_of(*both, asked=place("one")))
    assert not same(lock_of(*both, asked=place("one")), lock_of(*both, asked=place("two")))

    def of_host(host: str) -> LockFile:
        versions = [package("alpha", one, place(host), wheel(host, one, one)) for one in ("1.0", "2.0")]
        return lock_of(*versions, asked=place(host))

    assert same(of_host("one"), of_host("two"))


FORKS = [  # as uv locks a package that needs a newer Python in its newest version
    package("django", "5.2.19"),
    package("django", "6.1.3"),
    package(
        "site",
        "0.1.0",
        '{ virtual = "." }',
        "dependencies = ["
        """{ name = "django", version = "5.2.19", marker = "python_full_version < '3.12'" },"""
        """{ name = "django", version = "6.1.3", marker = "python_full_version >= '3.12'" }]""",
    ),
]


def test_of_several_versions_that_of_the_python_counts_and_what_cannot_be_told_stays() -> None:
    lock = parsed(*FORKS)
    before = {"django": "5.1.2", "site": "0.1.0"}
    for python, new, bump in (("3.11.9", "5.2.19", "minor"), ("3.13.1", "6.1.3", "major")):
        (change,) = changes_between(before, versions_for(lock, python))
        assert (change.new, change.bump) == (new, bump)
    assert versions_for(parsed(*FORKS[:2]), "3.11.9") == {"django": "5.2.19, 6.1.3"}
    assert versions_for(parsed(FORKS[0]), "3.11.9") == {"django": "5.2.19"}
