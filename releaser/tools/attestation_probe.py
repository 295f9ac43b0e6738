"""Asks indexes for the attestations of files (PEP 740) and verifies them. A process of its own runs this text.

It finds `{"root": PATH or "", "questions": [[INDEX, PACKAGE, FILE, SHA256], ...]}` on its standard input, and prints a
list of answers in the same order: `state`, `publisher` (kind, repository, workflow; where verified) and `reason`.
`root` is a trusted_root.json of Sigstore; without one, that of Sigstore's public instance is fetched. The libraries
take a second to load, ask the network in their own time, and keep files: hence the process, with a limit, and
directories of its own.
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
_ALL_SECONDS = 60.0  # for everything; what is not known then is unknown
_LARGEST = 64 * 1024 * 1024  # bytes of a page; that of a package of ten thousand files has some ten MiB
_LARGEST_PROVENANCE = 2 * 1024 * 1024  # bytes; all are kept until they are verified, and have some ten KiB
_SIMPLE = "application/vnd.pypi.simple.v1+json"
_AT_ONCE = 8  # of each index, so that none holds up another
#: Where the kinds of publishers say which repository it was, and which of its workflows.
_REPOSITORY = ("repository", "email", "project_id")
_WORKFLOW = ("workflow", "workflow_filepath", "pipeline_definition_id")
#: What a library says of a signature, or of a name and a hash in what was signed, that is not the one it should be.
_FALSE = ("DSSE: invalid signature", "subject does not match")
Answer = dict[str, Any]
Question = tuple[str, str, str, str]
T = TypeVar("T")


class _NoAnswerError(Exception):
    """It is unknown."""


class _BrokenError(Exception):
    """What verifies is not what this was written for."""


def _within(seconds: float, work: Callable[[], T]) -> T:
    """Return what some work does; it is left to itself when it takes longer. Raises what it does, and TimeoutError."""
    done = Future[T]()

    def do() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits
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
    """Return what a server has at a URL; empty if it has nothing there."""
    host = urlsplit(url).netloc
    try:
        data = _within(_SECONDS, lambda: _read(url, accept, largest))
    except urllib.error.HTTPError as error:
        if error.code in (404, 406, 410, 415):  # an index that speaks no JSON may say so
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
    opener = urllib.request.OpenerDirector()  # without handlers of files
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
    """Return what an index has of the files of one package; text where that is unknown."""
    index, package = questions[0][:2]
    try:
        places = _places(f"{index.rstrip('/')}/{package}/", [file for _, _, file, _ in questions])
    except (_NoAnswerError, ValueError, RuntimeError) as error:  # one index must not hide what the others say
        return [_reason(error)] * len(questions)
    return [_fetch_one(index, places.get(file, "")) for _, _, file, _ in questions]


def _places(page: str, files: list[str]) -> dict[str, str]:
    """Return where the provenance of each file of a package is; empty if the index does not speak of that."""
    content = _get(page, _SIMPLE, _LARGEST)
    names = {name.encode() for file in files for name in (file, quote(file))}
    if not content or (content.lstrip()[:1] == b"<" and any(name in content for name in names)):
        return {}  # the page of an index that speaks no JSON names the files; that of a proxy does not
    try:
        found = json.loads(content)["files"]
        return {one["filename"]: urljoin(page, one["provenance"]) for one in found if one.get("provenance")}
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
    """Load what verifies, and see that it has what is not part of its interface, too. Raises _BrokenError."""
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
        message = f"what verifies attestations cannot be used: {_reason(error)}"
        raise _BrokenError(message) from error


class _Judge:
    """Verifies what was fetched, by one trust root, which is looked for when it is first needed."""

    def __init__(self, root: str) -> None:
        self._root = root
        #: Why the trust root may be outdated, if it may.
        self.outdated = ""

    @functools.cached_property
    def _lacks(self) -> str:
        """Let all verifications share a verifier, as each would fetch the trust root; return why there is none."""
        from sigstore.models import ClientTrustConfig, TrustedRoot
        from sigstore.verify import Verifier

        try:
            if self._root:
                self.outdated = f"the trust root {self._root} may be outdated"
                root = TrustedRoot.from_file(self._root)
            else:
                try:  # the library itself would wait for minutes where a firewall says nothing
                    root = _within(_SECONDS, lambda: ClientTrustConfig.production().trusted_root)
                except Exception as error:  # noqa: BLE001 - of the network, in whatever form the libraries hand it on
                    self.outdated = f"the trust root of Sigstore could not be fetched ({error})"
                    root = ClientTrustConfig.production(offline=True).trusted_root
            verifier = Verifier(trusted_root=root)
        except Exception as error:  # noqa: BLE001 - of a file that is none
            return f"there is no trust root to verify with: {self._root or 'that of Sigstore'} cannot be used ({error})"
        Verifier.production = lambda **_: verifier  # type: ignore[method-assign]
        return ""

    def judge(self, question: Question, fetched: bytes | str) -> Answer:
        """Say what is known of a file."""
        if isinstance(fetched, str):
            return {"state": "unknown", "reason": fetched}
        if not fetched or ":" in question[3] or not question[3]:
            return {"state": "none", "reason": "the lock has no SHA-256 of it" if fetched else ""}
        _load()
        from pydantic import ValidationError
        from pypi_attestations import Provenance

        try:
            bundles = Provenance.model_validate_json(fetched).attestation_bundles
        except ValidationError as error:  # the form may be newer than the library
            return _unknown(f"the answer of the index cannot be read: {error.errors()[0]['msg']}")
        found = [(one, bundle.publisher, _names(one, question)) for bundle in bundles for one in bundle.attestations]
        if not found:
            return {"state": "none", "reason": ""}
        if all(names is False for _, _, names in found):
            return {"state": "invalid", "reason": "its attestations are for another file"}
        if self._lacks:
            return {"state": "unknown", "reason": self._lacks}
        return self._judge([one[:2] for one in found if one[2] is not False], question)

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

        It is false if its signature, what it is for, or the identity in a certificate that the trust root confirms
        is; or if that root has just been fetched and confirms no such certificate. All else may be too new.
        """
        from pypi_attestations import Distribution
        from sigstore.errors import CertValidationError, VerificationError

        identity = _Identity(publisher._as_policy())
        try:
            attestation.verify(identity, Distribution(name=question[2], digest=question[3]))
        except Exception as error:  # noqa: BLE001 - certificates and claims of strangers fail in many ways
            is_false = (
                isinstance(identity.refuses, VerificationError)
                or (identity.is_asked and any(one in str(error) for one in _FALSE))
                or (isinstance(error.__cause__, CertValidationError) and not self.outdated)
            )
            return is_false, _reason(error)
        return False, ""


class _Identity:
    """Who must have signed; asked as soon as it is known that the trust root confirms a certificate."""

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
    """Whether an attestation says that it is for a file with this hash, no matter who signed it; None if unreadable."""
    try:
        return any(one["digest"]["sha256"] == question[3] for one in attestation.statement["subject"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _described(publisher: dict[str, Any]) -> dict[str, str]:
    def first(names: tuple[str, ...]) -> str:
        return str(next((publisher[name] for name in names if publisher.get(name)), ""))

    return {"kind": str(publisher["kind"]), "repository": first(_REPOSITORY), "workflow": first(_WORKFLOW)}


def _answer(root: str, questions: list[Question], answers: dict[Question, Answer]) -> None:
    """Put an answer to each question where it is looked for, as soon as it is known."""
    by_package: dict[tuple[str, str], list[Question]] = {}
    for one in questions:
        by_package.setdefault(one[:2], []).append(one)
    pools = {index: ThreadPoolExecutor(_AT_ONCE) for index, _ in by_package}
    fetching = {pools[index].submit(_fetch, found): found for (index, _), found in by_package.items()}
    judge = _Judge(root)
    for done in as_completed(fetching):
        for one, fetched in zip(fetching[done], done.result(), strict=True):
            try:
                answers[one] = judge.judge(one, fetched)
            except _BrokenError:
                raise
            except Exception as error:  # noqa: BLE001 - of whatever a stranger has written
                answers[one] = {
                    "state": "unknown",
                    "reason": f"the answer of the index cannot be read: {_reason(error)}",
                }


def main() -> None:
    """Answer all questions; end with a message and exit status 1 if this does not work here."""
    asked, answers, faults = json.load(sys.stdin), dict[Question, Answer](), list[Exception]()
    questions: list[Question] = [(index, package, file, sha256) for index, package, file, sha256 in asked["questions"]]

    def work() -> None:
        try:
            _answer(asked["root"], questions, answers)
        except Exception as error:  # noqa: BLE001 - it is the last word of this process
            faults.append(error)

    working = threading.Thread(target=work, daemon=True)
    working.start()
    working.join(_ALL_SECONDS)
    if faults:
        print(_reason(faults[0]), file=sys.stderr, flush=True)  # noqa: T201 - for whoever has asked
        os._exit(1)  # without waiting for the other questions
    late = {"state": "unknown", "reason": f"no answer within {_ALL_SECONDS:g} s"}
    print(json.dumps([answers.get(one, late) for one in questions]), flush=True)  # noqa: T201 - the answer
    if working.is_alive():
        os._exit(0)  # without waiting for it


if __name__ == "__main__":
    main()
