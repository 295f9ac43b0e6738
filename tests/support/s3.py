"""An S3 on the loopback: moto's server, and in front of it one that speaks TLS and fails in all ways."""

import contextlib
import http.client
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import trustme

from tests.support.serving import begin_reply, hang, http_server, reply

Mood = Literal["is well", "hangs", "trickles a file", "cuts a file", "cuts a file once", "refuses", "fails", "alters"]
SECRET = "s3cret/of+the/account"
# moto looks at no signature, but wants one.
_ANYBODY = "AWS4-HMAC-SHA256 Credential=owner/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


@dataclass(kw_only=True)
class S3:
    """What is in S3, how it behaves now, and what it was asked."""

    #: The port of moto's server.
    port: int
    #: What programs need in their environment, to ask it.
    env: dict[str, str] = field(default_factory=dict)
    mood: Mood = "is well"
    #: The paths of all requests.
    asked: list[str] = field(default_factory=list)
    #: How many bytes it has answered with, without headers.
    sent: int = 0
    #: The accounts that asked, as their signatures name them.
    accounts: set[str] = field(default_factory=set)
    #: The regions for which they signed.
    regions: set[str] = field(default_factory=set)
    has_cut: bool = False
    bucket: str = ""

    def put(self, place: str, content: bytes = b"") -> None:
        """Make an object, `bucket/key`, or a bucket."""
        self._do("PUT", place, content)

    def delete(self, place: str) -> None:
        """Delete an object."""
        self._do("DELETE", place)

    def deal(self, request: BaseHTTPRequestHandler) -> None:
        """Answer as moto does, or as the mood wants it."""
        self.asked.append(request.path)
        account, _, region, *_ = request.headers["Authorization"].partition("Credential=")[2].split("/")
        self.accounts.add(account)
        self.regions.add(region)
        is_file = "?" not in request.path
        if self.mood == "hangs":
            hang(request)
        elif self.mood == "refuses":
            reply(request, 403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
        elif self.mood == "fails":
            reply(request, 500, b"<Error><Code>InternalError</Code><Message>We are sorry</Message></Error>")
        else:
            status, headers, body = self._ask(request)
            self.sent += len(body)
            if is_file and self.mood == "alters":
                body = body.swapcase()
            begin_reply(request, status, len(body), headers)
            if is_file and len(body) > 100 and self.mood == "trickles a file":
                for byte in body:
                    request.wfile.write(bytes([byte]))
                    time.sleep(0.2)
            cuts = self.mood == "cuts a file" or (self.mood == "cuts a file once" and not self.has_cut)
            if is_file and cuts:
                self.has_cut = True
                request.wfile.write(body[: len(body) // 2])
                request.close_connection = True
                return
            request.wfile.write(body)

    def _ask(self, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request("GET", request.path, headers=dict(request.headers))
            answer = connection.getresponse()
            kept = ("ETag", "Content-Type", "Last-Modified")
            headers = {name: value for name, value in answer.getheaders() if name.title() in map(str.title, kept)}
            return answer.status, headers, answer.read()

    def _do(self, method: str, place: str, content: bytes = b"") -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, f"/{place}", content, {"Authorization": _ANYBODY})
            status = connection.getresponse().status
            assert status < 300, (method, place, status)


@contextlib.contextmanager
def s3_server(place: Path) -> Iterator[S3]:
    """Run it until the end of the block, with its certificate authority and an account in files below `place`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(place / "s3-ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with _moto() as port:
        s3 = S3(port=port)
        with http_server(s3.deal, tls=context) as url:
            s3.env = {
                "AWS_ENDPOINT_URL": url,
                "AWS_CA_BUNDLE": str(place / "s3-ca.pem"),
                "AWS_ACCESS_KEY_ID": "account",
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_DEFAULT_REGION": "eu-central-1",
                "AWS_EC2_METADATA_DISABLED": "true",
            }
            yield s3


@contextlib.contextmanager
def _moto() -> Iterator[int]:
    """Run moto's server, and give its port."""
    words = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "Running on http://" in line:
                threading.Thread(target=process.stderr.read).start()  # it says each request, and would wait to be read
                yield urlsplit(line.split("Running on ")[1].split()[0]).port or 0
                return
        message = "moto's server did not start"
        raise AssertionError(message)
    finally:
        process.kill()
        process.communicate()
