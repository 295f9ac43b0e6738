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
import json
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urljoin, urlsplit

_SECONDS = 10.0  # for an index to answer
_LARGEST = 64 * 1024 * 1024  # bytes of an answer; the page of a package of ten thousand files has some ten MiB
_SIMPLE = "application/vnd.pypi.simple.v1+json"
_AT_ONCE = 8
#: Where the kinds of publishers say which repository it was, and which of its workflows.
_REPOSITORY = ("repository", "email", "project_id")
_WORKFLOW = ("workflow", "workflow_filepath", "pipeline_definition_id")
Answer = dict[str, Any]
Question = tuple[str, str, str, str]


class _NoAnswerError(Exception):
    """Nobody can tell now."""


def _get(url: str, accept: str) -> bytes:
    """Return what a server has at a URL; empty if it has nothing there."""
    opener = urllib.request.OpenerDirector()  # without handlers of files
    for one in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(one)
    host = urlsplit(url).netloc
    try:
        with opener.open(urllib.request.Request(url, headers={"Accept": accept}), timeout=_SECONDS) as response:  # noqa: S310 - see the handlers
            data: bytes = response.read(_LARGEST + 1)
    except urllib.error.HTTPError as error:
        if error.code in (404, 410):
            return b""
        message = f"{host} answers with status {error.code}"
        raise _NoAnswerError(message) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        message = f"{host} does not answer: {error}"
        raise _NoAnswerError(message) from error
    if len(data) > _LARGEST:
        message = f"{host} answers with more than {_LARGEST} bytes"
        raise _NoAnswerError(message)
    return data


def _fetch(questions: list[Question]) -> list[bytes | str]:
    """Return what an index has of the files of one package; text where nobody can tell."""
    index, package = questions[0][:2]
    try:
        places = _places(f"{index.rstrip('/')}/{package}/")
    except _NoAnswerError as error:
        return [str(error)] * len(questions)
    return [_fetch_one(index, places.get(file, "")) for _, _, file, _ in questions]


def _places(page: str) -> dict[str, str]:
    """Return where the provenance of each file of a package is; empty if the index does not speak of that."""
    try:
        files = json.loads(_get(page, _SIMPLE))["files"]
        return {one["filename"]: urljoin(page, one["provenance"]) for one in files if one.get("provenance")}
    except (ValueError, TypeError, KeyError, AttributeError):  # another form of the page, such as HTML
        return {}


def _fetch_one(index: str, place: str) -> bytes | str:
    if place and urlsplit(place)[:2] != urlsplit(index)[:2] and not place.startswith("https://"):
        return f"its provenance would come from {place}, which is not https"
    try:
        return _get(place, "application/json") if place else b""
    except _NoAnswerError as error:
        return str(error)


class _Judge:
    """Verifies what was fetched, by one trust root, which is looked for when it is first needed."""

    def __init__(self, root: str) -> None:
        self._root = root
        #: Why the trust root may be outdated, if it may.
        self.outdated = ""

    @functools.cached_property
    def _lacks(self) -> str:
        """Let all verifications share a verifier, as each would fetch the trust root anew; return why there is none."""
        from sigstore.models import ClientTrustConfig, TrustedRoot
        from sigstore.verify import Verifier

        try:
            if self._root:
                root = TrustedRoot.from_file(self._root)
            else:
                try:
                    root = ClientTrustConfig.production().trusted_root
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
        from pydantic import ValidationError
        from pypi_attestations import Provenance

        try:
            bundles = Provenance.model_validate_json(fetched).attestation_bundles
        except ValidationError as error:  # whoever could falsify it could leave it out as well
            return {"state": "none", "reason": f"what the index has cannot be read: {error.errors()[0]['msg']}"}
        found = [(one, bundle.publisher) for bundle in bundles for one in bundle.attestations]
        named = [(one, publisher) for one, publisher in found if _names(one, question)]
        if not named:
            return {"state": "invalid" if found else "none", "reason": "its attestations are for another file"}
        if self._lacks:
            return {"state": "unknown", "reason": self._lacks}
        for attestation, publisher in named:
            reason = _verify(attestation, publisher, question)
            if not reason:
                return {"state": "verified", "publisher": _described(publisher.model_dump())}
        if self.outdated:
            return {"state": "unknown", "reason": f"{reason}; but {self.outdated}"}
        return {"state": "invalid", "reason": reason}


def _names(attestation: Any, question: Question) -> bool:
    """Whether an attestation says that it is for a file with this hash, whoever has signed that."""
    try:
        return any(one["digest"]["sha256"] == question[3] for one in attestation.statement["subject"])
    except (ValueError, TypeError, KeyError):
        return False


def _verify(attestation: Any, publisher: Any, question: Question) -> str:
    """Return why an attestation does not verify; empty if it does."""
    from pypi_attestations import Distribution

    try:
        attestation.verify(publisher, Distribution(name=question[2], digest=question[3]))
    except Exception as error:  # noqa: BLE001 - certificates and claims of strangers fail in many ways
        return str(error).partition("\n")[0] or type(error).__name__
    return ""


def _described(publisher: dict[str, Any]) -> dict[str, str]:
    def first(names: tuple[str, ...]) -> str:
        return str(next((publisher[name] for name in names if publisher.get(name)), ""))

    return {"kind": str(publisher["kind"]), "repository": first(_REPOSITORY), "workflow": first(_WORKFLOW)}


def main() -> None:
    """Answer all questions."""
    asked = json.load(sys.stdin)
    by_package: dict[tuple[str, str], list[Question]] = {}
    for index, package, file, sha256 in asked["questions"]:
        by_package.setdefault((index, package), []).append((index, package, file, sha256))
    judge, answers = _Judge(asked["root"]), dict[Question, Answer]()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for questions, found in zip(by_package.values(), pool.map(_fetch, by_package.values()), strict=True):
            answers |= {one: judge.judge(one, fetched) for one, fetched in zip(questions, found, strict=True)}
    print(json.dumps([answers[tuple(one)] for one in asked["questions"]]))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
