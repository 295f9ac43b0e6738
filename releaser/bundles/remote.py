"""Remote places of channels: web servers, and S3."""

from __future__ import annotations

import contextlib
import importlib.util
import re
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit

from releaser.bundles.places import StoredFile, fail, refuse_moved_meanwhile, save
from releaser.errors import UsageError, os_reason, refuse
from releaser.system.environment import how_to_add
from releaser.system.expression import expression
from releaser.system.files import only_files
from releaser.system.frozen import Frozen
from releaser.system.signals import call_within
from releaser.tools.download import ask, credentials_for, is_loopback

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")

_SECONDS = 60.0  # for small files
_LONGEST = 3600.0  # seconds for a bundle
_TRIES = 3
_TAKES_NONE = (403, 404, 405, 501)
_S3 = expression(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[A-Za-z0-9_./-]*))?", re.ASCII)


def _within(seconds: float, where: str, call: Callable[[], T]) -> T:
    """Return the result of `call`. Raises ResolutionError for an error of network or server, and after `seconds`."""
    try:
        return call_within(seconds, lambda _: call())
    except TimeoutError:
        fail(where, f"no answer within {seconds:g} s")
    except (OSError, ValueError, HTTPException) as error:
        fail(where, os_reason(error) if isinstance(error, OSError) else error)


class Web(Frozen):
    """A directory of a web server."""

    url: str
    environ: Mapping[str, str]

    @classmethod
    def of(cls, url: str, environ: Mapping[str, str]) -> Web:
        """Return the directory at a URL. Raises UsageError."""
        parts = urlsplit(url)
        if not parts.hostname or parts.query or parts.fragment or parts.username:
            message = "the URL of a channel must have a host and a path only"
            raise UsageError(message, "Write the user and the password to ~/.netrc instead.")
        if parts.scheme != "https" and not is_loopback(parts.hostname):
            message = f"{url} is not encrypted"
            raise UsageError(message, "Use https://.")
        return cls(url=url.rstrip("/"), environ=environ)

    def read(self, name: str, most: int) -> StoredFile | None:
        """As a place does."""

        def read() -> StoredFile | None:
            try:
                with self._ask(name, headers={"Cache-Control": "no-cache"}) as response:
                    return StoredFile(data=response.read(most + 1), version=response.headers.get("ETag") or "")
            except HTTPError as error:
                if error.code in (404, 410):
                    return None
                raise

        return _within(_SECONDS, f"{self.url}/{name}", read)

    def fetch(self, name: str, target: Path, *, sha256: str, size: int) -> None:
        """As a place does."""

        def fetch() -> None:
            for tries_left in reversed(range(_TRIES)):
                try:
                    with self._ask(name) as response:
                        save(response.read1, target, sha256=sha256, size=size)
                    return
                except (OSError, HTTPException):
                    if not tries_left:
                        raise

        _within(_LONGEST, f"{self.url}/{name}", fetch)

    def put(self, name: str, file: Path) -> None:
        """As a place does."""

        def put() -> None:
            with open(file, "rb", opener=only_files) as stream:
                headers = {"Content-Length": str(file.stat().st_size)}
                self._ask(name, method="PUT", body=stream, headers=headers).close()

        self._write(name, _LONGEST, put)

    def replace(self, name: str, data: bytes, before: StoredFile | None) -> None:
        """As a place does; for servers without conditional requests, first compare with `before` again."""
        if self.read(name, len(data) + len(before.data if before else b"")) != before:
            refuse_moved_meanwhile(f"{self.url}/{name}")
        only = {"If-None-Match": "*"} if before is None else {"If-Match": before.version} if before.version else {}
        self._write(name, _SECONDS, lambda: self._ask(name, method="PUT", body=data, headers=only).close())

    def _write(self, name: str, seconds: float, write: Callable[[], None]) -> None:
        where = f"{self.url}/{name}"

        def attempt() -> HTTPError | None:
            try:
                write()
            except HTTPError as error:
                return error
            return None

        error = _within(seconds, where, attempt)
        if error is not None and error.code == 412:
            refuse_moved_meanwhile(where)
        if error is not None and error.code in _TAKES_NONE:
            advice = "Publish to its directory on that host (`--to DIRECTORY`) or to S3, or allow PUT on that server."
            fail(where, f"the server does not accept files (HTTP {error.code})", advice)
        if error is not None:
            fail(where, error)

    def _ask(
        self, name: str, *, method: str = "GET", body: Any = None, headers: Mapping[str, str] | None = None
    ) -> HTTPResponse:
        place = f"{self.url}/{quote(name)}"
        login = credentials_for(place, self.environ, {})
        try:
            return ask(place, login=login, method=method, body=body, headers=headers or {}, only_tls=True)
        except HTTPError as error:
            error.close()  # it has a connection; callers ask for its code alone
            raise


class S3(Frozen):
    """A prefix of a bucket, with the credentials that boto3 finds."""

    bucket: str
    prefix: str

    @classmethod
    def of(cls, url: str) -> S3:
        """Return the prefix at `s3://BUCKET/PREFIX`. Raises UsageError and PreflightError."""
        found = _S3.fullmatch(url)
        if found is None:
            message = f"{url} is not an S3 prefix"
            raise UsageError(message, "Write it as s3://BUCKET/PREFIX.")
        if importlib.util.find_spec("boto3") is None:
            refuse(
                "boto3-missing",
                "boto3, which S3 needs, is not installed with releaser",
                f"To install it, {how_to_add('s3')}.",
            )
        prefix = (found["prefix"] or "").strip("/")
        return cls(bucket=found["bucket"], prefix=f"{prefix}/" if prefix else "")

    def read(self, name: str, most: int) -> StoredFile | None:
        """As a place does."""

        def read(client: Any) -> StoredFile | None:
            try:
                answer = client.get_object(Bucket=self.bucket, Key=self.prefix + name)
            except client.exceptions.NoSuchKey:
                return None
            with contextlib.closing(answer["Body"]) as body:
                return StoredFile(data=body.read(most + 1), version=answer["ETag"])

        return self._do(name, _SECONDS, read)

    def fetch(self, name: str, target: Path, *, sha256: str, size: int) -> None:
        """As a place does."""

        def fetch(client: Any) -> None:
            with contextlib.closing(client.get_object(Bucket=self.bucket, Key=self.prefix + name)["Body"]) as body:
                save(body.read, target, sha256=sha256, size=size)

        self._do(name, _LONGEST, fetch)

    def put(self, name: str, file: Path) -> None:
        """As a place does."""

        def put(client: Any) -> None:
            with open(file, "rb", opener=only_files) as stream:
                client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=stream)

        self._do(name, _LONGEST, put)

    def replace(self, name: str, data: bytes, before: StoredFile | None) -> None:
        """As a place does; if boto3 or the server lacks conditional requests, first compare with `before` again."""

        def replace(client: Any) -> bool:
            from botocore.exceptions import ClientError, ParamValidationError

            only = {"IfNoneMatch": "*"} if before is None else {"IfMatch": before.version}
            try:
                client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=data, **only)
            except (ClientError, ParamValidationError) as error:
                code = getattr(error, "response", {}).get("Error", {}).get("Code", "NotImplemented")
                if code in ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"):
                    return False
                if code != "NotImplemented":
                    raise
                if self.read(name, len(data) + len(before.data if before else b"")) != before:
                    return False
                client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=data)
            return True

        if not self._do(name, _SECONDS, replace):
            refuse_moved_meanwhile(f"s3://{self.bucket}/{self.prefix}{name}")

    def _do(self, name: str, seconds: float, call: Callable[[Any], T]) -> T:
        """Return the result of a request to S3, within some seconds. Raises ResolutionError."""
        from botocore.exceptions import BotoCoreError, ClientError

        from releaser.tools.s3 import connect

        where = f"s3://{self.bucket}/{self.prefix}{name}"
        try:
            return _within(seconds, where, lambda: call(connect()))
        except (BotoCoreError, ClientError) as error:
            advice = "Check the network, AWS_ENDPOINT_URL, the credentials and the permissions there."
            fail(where, str(error).partition("\n")[0], advice)
