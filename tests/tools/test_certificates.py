"""A certificate that real uv, git and Python do not accept is named as the cause, with the remedy for that program."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from releaser.checkout.checks import unreachable
from releaser.errors import ToolError
from releaser.system.process import Runner
from releaser.tools.certificates import certificate_advice
from releaser.tools.download import download
from releaser.tools.uv import Uv
from tests.support.commands import clean_environment, uv_executable
from tests.support.serving import http_server, reply

Failing = Callable[[str, Path, dict[str, str]], object]


def by_uv(url: str, place: Path, env: dict[str, str]) -> None:
    (place / "requirements.in").write_text("alpha\n", encoding="utf-8")
    uv = Uv(runner=Runner(environ={**env, "UV_HTTP_RETRIES": "0"}), executable=uv_executable(), timeout=60)
    uv.compile(place, "requirements.in", "--index-url", f"{url}/simple", "--no-cache")


def by_git(url: str, place: Path, env: dict[str, str]) -> None:
    try:
        Runner(environ=env).run(["git", "ls-remote", f"{url}/shop.git"], cwd=place, timeout=60)
    except ToolError as error:
        found = unreachable("origin", error)
        raise ToolError(found.message, found.advice) from None


def by_python(url: str, place: Path, env: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", env["SSL_CERT_FILE"])
        patch.delenv("SSL_CERT_DIR", raising=False)
        download(f"{url}/alpha.whl", place / "alpha.whl", sha256="", environ={}, indexes={})


@pytest.fixture(params=["unknown", "other name"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Serve with a certificate of an unknown authority, or of a known one for another name."""
    authority, known = trustme.CA(), tmp_path / "ca.pem"
    trusted = authority if request.param == "other name" else trustme.CA()
    trusted.cert_pem.write_to_path(str(known))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("else.example.org" if request.param == "other name" else "127.0.0.1").configure_cert(context)
    names = {"SSL_CERT_DIR", "GIT_SSL_CAPATH", "CURL_CA_BUNDLE"}
    env = {name: value for name, value in clean_environment(tmp_path, tmp_path / "cache").items() if name not in names}
    env |= {"SSL_CERT_FILE": str(known), "GIT_SSL_CAINFO": str(known)}

    with http_server(lambda one: reply(one, 404), tls=context) as url:
        yield request.param, url, env


@pytest.mark.parametrize(
    ("fail", "remedy"),
    [
        (by_uv, "system-certs = true"),
        (by_git, "git config --global http.sslCAInfo"),
        (by_python, "SSL_CERT_FILE=/path/to/ca.pem"),
    ],
)
def test_the_advice_is_about_the_certificate(
    fail: Failing, remedy: str, server: tuple[str, str, dict[str, str]], tmp_path: Path
) -> None:
    case, url, env = server
    with pytest.raises(ToolError) as failed:
        fail(url, tmp_path, env)
    advice = failed.value.advice
    assert "ertificate" in failed.value.reason
    assert "network" not in advice
    assert (remedy in advice, "for another name" in advice) == (case == "unknown", case != "unknown")


@pytest.mark.parametrize(
    ("output", "remedy"),
    [
        ("CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl", "SSL_CERT_FILE"),
        ("SSL certificate problem: unable to get local issuer certificate", "http.sslCAInfo"),
        ("error: dns error", ""),
        ("fatal: Could not resolve host: git.example.org", ""),
        ("", ""),
    ],
)
def test_other_libraries_of_tls_say_it_in_their_way_and_other_failures_get_no_such_advice(
    output: str, remedy: str
) -> None:
    advice = certificate_advice(output)
    assert (remedy in advice, bool(advice)) == (True, bool(remedy))
