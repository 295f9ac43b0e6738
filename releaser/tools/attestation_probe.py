"""Asks indexes for the attestations of files (PEP 740) and verifies them. A separate process runs this text.

It reads `{"root": PATH or "", "questions": [[INDEX, PACKAGE, FILE, SHA256], ...]}` from standard input, and prints a
list of answers in the same order: `state`, `publisher` (kind, repository, workflow; if verified) and `reason`. `root`
is a trusted_root.json of Sigstore; without one, that of Sigstore's public instance is fetched. The libraries take a
second to load, set no time limit for the network, and keep files. So they run in a process with a time limit and
private directories.
"""

from __future__ import annotations

import functools
import http.client
import importlib.metadata
import json
import os
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS = 10.0  # for an index, or the server of the trust root, to answer one question
_ALL_SECONDS = 60.0  # for everything; questions without an answer by then are unknown
_LARGEST = 64 * 1024 * 1024  # bytes of a page; for a package with ten thousand files it has some ten MiB
_LARGEST_PROVENANCE = 2 * 1024 * 1024  # bytes; all are kept until they are verified; usual are some ten KiB
_SIMPLE = "application/vnd.pypi.simple.v1+json"
_AT_ONCE = 8  # for each index, so that none delays another
#: The fields with the repository, and the workflow in it, of each kind of publisher.
_REPOSITORY = ("repository", "email", "project_id")
_WORKFLOW = ("workflow", "workflow_filepath", "pipeline_definition_id")
#: Messages of the libraries about a wrong signature, or a wrong name or hash of the signed file.
_FALSE = ("DSSE: invalid signature", "subject does not match")
Answer = dict[str, Any]
Question = tuple[str, str, str, str]
T = TypeVar("T")


class _NoAnswerError(Exception):
    """The answer is unknown."""


class _BrokenError(Exception):
    """The verifying libraries are not those that this code was written for."""


def _within(seconds: float, work: Callable[[], T]) -> T:
    """Return the result of `work`, or raise its error; after `seconds` raise TimeoutError, and let the work go on."""
    done = Future[T]()

    def do() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the waiting thread
            done.set_exception(error)

    threading.Thread(target=do, daemon=True).start()
    try:
        return done.result(seconds)
    except TimeoutError as error:
        message = str(error) or f"no answer within {seconds:g} s"
        raise TimeoutError(message) from error


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _get(url: str, accept: str, largest: int) -> bytes:
    """Return the content of a URL; empty if the server has none."""
    host = urlsplit(url).netloc
    try:
        data = _within(_SECONDS, lambda: _read(url, accept, largest))
    except urllib.error.HTTPError as error:
        if error.code in (404, 406, 410, 415):  # answers of an index without JSON
            return b""
        message = f"{host} answers with status {error.code}"
        raise _NoAnswerError(message) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        message = f"{host} does not answer: {error}"
        raise _NoAnswerError(message) from error
    if len(data) > largest:
        message = f"{host} answers with more than {largest} bytes"
        raise _NoAnswerError(message)
    return data


def _read(url: str, accept: str, largest: int) -> bytes:
    opener = urllib.request.OpenerDirector()  # without handlers for files
    for one in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(one)
    with opener.open(urllib.request.Request(url, headers={"Accept": accept}), timeout=_SECONDS) as response:  # noqa: S310 - see the handlers
        data: bytes = response.read(largest + 1)
        if len(data) < min(int(response.headers.get("Content-Length") or 0), largest):
            message = "its answer ends early"
            raise OSError(message)
        return data


def _fetch(questions: list[Question]) -> list[bytes | str]:
    """Return the provenance of files of one package from an index; text with the reason where it is unknown."""
    index, package = questions[0][:2]
    try:
        places = _places(f"{index.rstrip('/')}/{package}/", [file for _, _, file, _ in questions])
    except (_NoAnswerError, ValueError, RuntimeError) as error:  # one index must not hide the answers of others
        return [_reason(error)] * len(questions)
    return [_fetch_one(index, places.get(file, "")) for _, _, file, _ in questions]


def _places(page: str, files: list[str]) -> dict[str, str]:
    """Return the URL of the provenance of each file of a package; empty if the index gives none."""
    content = _get(page, _SIMPLE, _LARGEST)
    names = {name.encode() for file in files for name in (file, quote(file))}
    if not content or (content.lstrip()[:1] == b"<" and any(name in content for name in names)):
        return {}  # an index without JSON: its page names the files; the page of a proxy does not
    try:
        found = json.loads(content)["files"]
        return {index["filename"]: urljoin(page, index["provenance"]) for index in found if index.get("provenance")}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        message = f"{urlsplit(page).netloc} did not answer with the page of a package"
        raise _NoAnswerError(message) from error


def _fetch_one(index: str, place: str) -> bytes | str:
    try:
        if place and urlsplit(place)[:2] != urlsplit(index)[:2] and not place.startswith("https://"):
            return f"its provenance would come from {place}, which is not https"
        return _get(place, "application/json", _LARGEST_PROVENANCE) if place else b""
    except (_NoAnswerError, ValueError, RuntimeError) as error:
        return _reason(error)


@functools.cache
def _load() -> None:
    """Load the verifying libraries, and check the parts that are not in their public interface. Raises _BrokenError."""
    try:
        import pydantic
        import sigstore.errors
        import sigstore.models
        import sigstore.verify
        from pypi_attestations import Distribution, GitHubPublisher, Provenance

        _ = (pydantic.ValidationError, Distribution, Provenance.model_validate_json, GitHubPublisher._as_policy)
        _ = (
            sigstore.errors.CertValidationError,
            sigstore.errors.VerificationError,
            sigstore.verify.Verifier.production,
        )
        _ = (sigstore.models.ClientTrustConfig.production, sigstore.models.TrustedRoot.from_file)
    except Exception as error:
        message = f"the verification of attestations cannot be used: {_reason(error)}"
        raise _BrokenError(message) from error


class _Judge:
    """Verifies fetched provenance with one trust root, which is loaded at the first use."""

    def __init__(self, root: str) -> None:
        self._root = root
        #: Why the trust root may be outdated; empty if it is not.
        self.outdated = ""

    @functools.cached_property
    def _lacks(self) -> str:
        """Make all verifications share one verifier, as each would fetch the trust root; return why there is none."""
        from sigstore.models import ClientTrustConfig, TrustedRoot
        from sigstore.verify import Verifier

        try:
            if self._root:
                self.outdated = f"the trust root {self._root} may be outdated"
                root = TrustedRoot.from_file(self._root)
            else:
                try:  # the library would wait for minutes behind a silent firewall
                    root = _within(_SECONDS, lambda: ClientTrustConfig.production().trusted_root)
                except Exception as error:  # noqa: BLE001 - network errors, in any form that the libraries raise
                    self.outdated = f"the trust root of Sigstore could not be fetched ({error})"
                    root = ClientTrustConfig.production(offline=True).trusted_root
            verifier = Verifier(trusted_root=root)
        except Exception as error:  # noqa: BLE001 - the file is no trust root
            return f"no trust root can be used: {self._root or 'that of Sigstore'} cannot be used ({error})"
        Verifier.production = lambda **_: verifier  # type: ignore[method-assign]
        return ""

    def judge(self, question: Question, fetched: bytes | str) -> Answer:
        """Return the answer for a file."""
        if isinstance(fetched, str):
            return {"state": "unknown", "reason": fetched}
        if not fetched or ":" in question[3] or not question[3]:
            return {"state": "none", "reason": "the lock has no SHA-256 of it" if fetched else ""}
        _load()
        from pydantic import ValidationError
        from pypi_attestations import Provenance

        try:
            bundles = Provenance.model_validate_json(fetched).attestation_bundles
        except ValidationError as error:  # the format may be newer than the library
            return _unknown(f"the answer of the index cannot be read: {error.errors()[0]['msg']}")
        found = [
            (attestation, bundle.publisher, _names(attestation, question))
            for bundle in bundles
            for attestation in bundle.attestations
        ]
        if not found:
            return {"state": "none", "reason": ""}
        if all(names is False for _, _, names in found):
            return {"state": "invalid", "reason": "its attestations are for another file"}
        if self._lacks:
            return {"state": "unknown", "reason": self._lacks}
        return self._judge([index[:2] for index in found if index[2] is not False], question)

    def _judge(self, found: list[tuple[Any, Any]], question: Question) -> Answer:
        reasons: dict[bool, str] = {}
        for attestation, publisher in found:
            is_false, reason = self._verify(attestation, publisher, question)
            if not reason:
                return {"state": "verified", "publisher": _described(publisher.model_dump())}
            reasons.setdefault(is_false, reason)
        if True in reasons:
            return {"state": "invalid", "reason": reasons[True]}
        return _unknown("; but ".join(filter(None, (reasons[False], self.outdated))))

    def _verify(self, attestation: Any, publisher: Any, question: Question) -> tuple[bool, str]:
        """Return whether an attestation is known to be false, and why it does not verify; no reason if it does.

        It is false if its signature, its subject, or the identity in a certificate that the trust root confirms is
        false, or if a freshly fetched trust root confirms no such certificate. Anything else may be too new for the
        library.
        """
        from pypi_attestations import Distribution
        from sigstore.errors import CertValidationError, VerificationError

        identity = _Identity(publisher._as_policy())
        try:
            attestation.verify(identity, Distribution(name=question[2], digest=question[3]))
        except Exception as error:  # noqa: BLE001 - untrusted certificates and claims fail in many ways
            is_false = (
                isinstance(identity.refuses, VerificationError)
                or (identity.is_asked and any(reason in str(error) for reason in _FALSE))
                or (isinstance(error.__cause__, CertValidationError) and not self.outdated)
            )
            return is_false, _reason(error)
        return False, ""


class _Identity:
    """The required signer; asked as soon as the trust root has confirmed a certificate."""

    def __init__(self, policy: Any) -> None:
        self._policy = policy
        self.is_asked = False
        self.refuses: Exception | None = None

    def verify(self, certificate: Any) -> None:
        self.is_asked = True
        try:
            self._policy.verify(certificate)
        except Exception as error:
            self.refuses = error
            raise


def _unknown(reason: str) -> Answer:
    version = importlib.metadata.version("pypi-attestations")
    return {"state": "unknown", "reason": f"{reason}; or pypi-attestations {version} is too old for it"}


def _names(attestation: Any, question: Question) -> bool | None:
    """True if an attestation says that it is for a file with this hash, whoever signed it; None if unreadable."""
    try:
        return any(subject["digest"]["sha256"] == question[3] for subject in attestation.statement["subject"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _described(publisher: dict[str, Any]) -> dict[str, str]:
    def first(names: tuple[str, ...]) -> str:
        return str(next((publisher[name] for name in names if publisher.get(name)), ""))

    return {"kind": str(publisher["kind"]), "repository": first(_REPOSITORY), "workflow": first(_WORKFLOW)}


def _answer(root: str, questions: list[Question], answers: dict[Question, Answer]) -> None:
    """Store the answer to each question in `answers` as soon as it is known."""
    by_package: dict[tuple[str, str], list[Question]] = {}
    for one in questions:
        by_package.setdefault(one[:2], []).append(one)
    pools = {index: ThreadPoolExecutor(_AT_ONCE) for index, _ in by_package}
    fetching = {pools[index].submit(_fetch, found): found for (index, _), found in by_package.items()}
    judge = _Judge(root)
    for future in as_completed(fetching):
        for one, fetched in zip(fetching[future], future.result(), strict=True):
            try:
                answers[one] = judge.judge(one, fetched)
            except _BrokenError:
                raise
            except Exception as error:  # noqa: BLE001 - untrusted content
                answers[one] = {
                    "state": "unknown",
                    "reason": f"the answer of the index cannot be read: {_reason(error)}",
                }


def main() -> None:
    """Answer all questions; end with a message and exit status 1 if the libraries do not work here."""
    asked, answers, faults = json.load(sys.stdin), dict[Question, Answer](), list[Exception]()
    questions: list[Question] = [(index, package, file, sha256) for index, package, file, sha256 in asked["questions"]]

    def work() -> None:
        try:
            _answer(asked["root"], questions, answers)
        except Exception as error:  # noqa: BLE001 - the process reports it and ends
            faults.append(error)

    working = threading.Thread(target=work, daemon=True)
    working.start()
    working.join(_ALL_SECONDS)
    if faults:
        print(_reason(faults[0]), file=sys.stderr, flush=True)  # noqa: T201 - for the caller
        os._exit(1)  # without waiting for the other questions
    late = {"state": "unknown", "reason": f"no answer within {_ALL_SECONDS:g} s"}
    print(json.dumps([answers.get(question, late) for question in questions]), flush=True)  # noqa: T201 - the answer
    if working.is_alive():
        os._exit(0)  # without waiting for the thread


if __name__ == "__main__":
    main()
