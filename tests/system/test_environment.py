"""What of the environment reaches the programs that releaser starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from releaser.system.environment import inside, neutral

VENV = Path("/srv/.releaser/site/releases/A/venv")

PASSING = [
    # how to reach and store things
    "UV_CACHE_DIR", "UV_PYTHON_DOWNLOADS", "UV_PYTHON_INSTALL_DIR", "UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES",
    "UV_CONCURRENT_DOWNLOADS", "UV_CONCURRENT_BUILDS", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_KEYRING_PROVIDER",
    "UV_INDEX_PRIVATE_USERNAME", "UV_INDEX_PRIVATE_PASSWORD", "UV_GITHUB_TOKEN", "UV_OFFLINE", "UV_LOCK_TIMEOUT",
    "UV_REQUEST_TIMEOUT",
    # what is not about any of this
    "PATH", "HOME", "LANG", "LC_ALL", "SSL_CERT_FILE", "HTTPS_PROXY", "no_proxy", "DJANGO_SETTINGS_MODULE",
    "PYTHONPATH", "PYTHONWARNINGS", "GIT_SSH_COMMAND", "GIT_CONFIG_GLOBAL", "GIT_AUTHOR_NAME", "SSH_AUTH_SOCK",
    "UVICORN_PORT", "uv_index",
]  # fmt: skip
DROPPED = [
    # what is installed, from where, and how it is verified
    "UV_INDEX", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX",
    "UV_INDEX_STRATEGY", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE_NEWER", "UV_PRERELEASE", "UV_RESOLUTION",
    "UV_INSECURE_HOST", "UV_NO_VERIFY_HASHES", "UV_REQUIRE_HASHES", "UV_NO_BINARY", "UV_NO_BUILD",
    # where it is installed, for which Python, by which configuration
    "UV_PROJECT_ENVIRONMENT", "UV_PROJECT", "UV_WORKING_DIRECTORY", "UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_LINK_MODE",
    "UV_CONFIG_FILE", "UV_NO_CONFIG", "UV_FROZEN", "UV_LOCKED", "UV_NO_SYNC", "UV_NO_CACHE", "UV_DEV", "UV_NO_DEV",
    "UV_COMPILE_BYTECODE", "UV_ENV_FILE", "UV_ISOLATED", "UV_INDEX_PRIVATE", "UV_WHATEVER_COMES_NEXT",
    # another venv, another repository
    "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "CONDA_PREFIX", "PYTHONHOME", "PYTHONSTARTUP", "GIT_DIR", "GIT_WORK_TREE",
    "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX",
]  # fmt: skip


@pytest.mark.parametrize("name", PASSING)
def test_what_does_not_mislead_passes(name: str) -> None:
    assert neutral({name: "x"}) == {name: "x"}


@pytest.mark.parametrize("name", DROPPED)
def test_what_would_mislead_is_dropped(name: str) -> None:
    assert neutral({name: "x", "PATH": "/bin"}) == {"PATH": "/bin"}


def test_inside_a_release_everything_leads_to_it() -> None:
    environ = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/root",
        "VIRTUAL_ENV": "/other",
        "UV_PROJECT_ENVIRONMENT": "/other",
        "UV_INDEX_URL": "https://other.example",
    }
    assert inside(VENV, environ) == {
        "PATH": f"{VENV}/bin:/usr/bin:/bin",
        "HOME": "/root",
        "VIRTUAL_ENV": str(VENV),
        "UV_PROJECT_ENVIRONMENT": str(VENV),
        "UV_NO_SYNC": "1",
    }
    assert environ["VIRTUAL_ENV"] == "/other"  # the caller's is left as it was


@pytest.mark.parametrize(
    ("own", "expected"), [(None, "{}"), ("", "{}"), ("/srv/site/lib:/opt", "/srv/site/lib:/opt:{}")]
)
def test_what_lies_beside_comes_behind_the_paths_of_the_site(tmp_path: Path, own: str | None, expected: str) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    environ = {"PATH": "/usr/bin"} | ({} if own is None else {"PYTHONPATH": own})
    env = inside(VENV, environ, beside=tmp_path)
    assert env["PATH"] == f"{VENV}/bin:{tmp_path}/bin:/usr/bin"
    assert env["PYTHONPATH"] == expected.format(packages)
    assert env["VIRTUAL_ENV"] == str(VENV)


@pytest.mark.parametrize("environ", [{}, {"PATH": ""}])
def test_without_a_path_there_is_only_the_release_and_not_the_current_directory(environ: dict[str, str]) -> None:
    assert inside(VENV, environ)["PATH"] == f"{VENV}/bin"
