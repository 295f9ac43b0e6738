"""A certificate that real uv, git and Python do not accept is named as the cause, with the remedy for that program."""

import ssl
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
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

Failing = Callable[[str, Path, dict[str, str]], tuple[str, str]]


def of_uv(url: str, place: Path, env: dict[str, str]) -> tuple[str, str]:
    (place / "requirements.in").write_text("alpha\n", encoding="utf-8")
    uv = Uv(runner=Runner(environ={**env, "UV_HTTP_RETRIES": "0"}), executable=uv_executable(), timeout=60)
    with pytest.raises(ToolError) as raised:
        uv.compile(place, "requirements.in", "--index-url", f"{url}/simple", "--no-cache")
    return raised.value.reason, raised.value.advice


def of_git(url: str, place: Path, env: dict[str, str]) -> tuple[str, str]:
    with pytest.raises(ToolError) as raised:
        Runner(environ=env).run(["git", "ls-remote", f"{url}/shop.git"], cwd=place, timeout=60)
    found = unreachable("origin", raised.value)
    return found.message, found.advice


def of_python(url: str, place: Path, env: dict[str, str]) -> tuple[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", env["SSL_CERT_FILE"])
        patch.delenv("SSL_CERT_DIR", raising=False)
        with pytest.raises(ToolError) as raised:
            download(f"{url}/alpha.whl", place / "alpha.whl", sha256="", environ={}, indexes={})
    return raised.value.message, raised.value.advice


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

    def deal(one: BaseHTTPRequestHandler) -> None:
        reply(one, 404, b"")

    with http_server(deal, tls=context) as url:
        yield request.param, url, env


@pytest.mark.parametrize(
    ("fail", "remedy"),
    [
        (of_uv, "system-certs = true"),
        (of_git, "git config --global http.sslCAInfo"),
        (of_python, "SSL_CERT_FILE=/path/to/ca.pem"),
    ],
)
def test_the_advice_is_about_the_certificate(
    fail: Failing, remedy: str, server: tuple[str, str, dict[str, str]], tmp_path: Path
) -> None:
    case, url, env = server
    message, advice = fail(url, tmp_path, env)
    assert "ertificate" in message
    assert "network" not in advice
    if case == "unknown":
        assert remedy in advice
    else:
        assert "for another name" in advice
        assert remedy not in advice


@pytest.mark.parametrize("output", ["", "error: dns error", "fatal: Could not resolve host: git.example.org"])
def test_other_failures_get_no_such_advice(output: str) -> None:
    assert certificate_advice(output) == ""


@pytest.mark.parametrize(
    ("output", "remedy"),
    [
        (
            "CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl",
            "SSL_CERT_FILE",
        ),
        ("SSL certificate problem: unable to get local issuer certificate", "http.sslCAInfo"),
    ],
)
def test_other_libraries_of_tls_say_it_in_their_way(output: str, remedy: str) -> None:
    assert remedy in certificate_advice(output)
