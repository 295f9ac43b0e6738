"""A Sigstore of our own: a certificate authority, its transparency logs, and attestations (PEP 740) signed by them.

What verifies them is the real library. The forms: RFC 6962 for the timestamp in a certificate, and
https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md for its claims.
"""

import base64
import hashlib
import json
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from pypi_attestations import AttestationType

_DSSE = "application/vnd.in-toto+json"
_CLAIMS = "1.3.6.1.4.1.57264.1."
_SCT_LIST = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_SHA256_ECDSA = (4, 3)  # of TLS


class Sigstore:
    """Signs for whichever repository it is asked to; `root` is what verifies that, as in a trusted_root.json."""

    def __init__(self) -> None:
        self._ca, self._ct, self._rekor = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        self._now = datetime.now(UTC).replace(microsecond=0)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        self._ca_name = name
        usage = {one: one in ("key_cert_sign", "crl_sign") for one in _USAGES}
        self._ca_cert = (
            self._builder(name, self._ca)
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
            .add_extension(x509.KeyUsage(**usage), critical=True)
            .sign(self._ca, hashes.SHA256())
        )

    @property
    def root(self) -> dict[str, Any]:
        """What to trust."""
        since = {"start": (self._now - timedelta(days=9)).isoformat().replace("+00:00", "Z")}
        logs = [
            {
                "baseUrl": "https://log.test",
                "hashAlgorithm": "SHA2_256",
                "publicKey": {"rawBytes": _b64(_der(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": since},
                "logId": {"keyId": _b64(_key_id(key))},
            }
            for key in (self._rekor, self._ct)
        ]
        authority = {
            "subject": {"organization": "test", "commonName": "test"},
            "uri": "https://ca.test",
            "certChain": {"certificates": [{"rawBytes": _b64(self._ca_cert.public_bytes(Encoding.DER))}]},
            "validFor": since,
        }
        kind = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
        return {
            "mediaType": kind, "tlogs": logs[:1], "certificateAuthorities": [authority], "ctlogs": logs[1:],
            "timestampAuthorities": [],
        }  # fmt: skip

    def provenance(self, file: Path, repository: str, *, workflow: str = "publish.yml") -> dict[str, Any]:
        """Attest that a workflow of a repository on GitHub has published a file."""
        statement = json.dumps(
            {
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [{"name": file.name, "digest": {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}}],
                "predicateType": AttestationType.PYPI_PUBLISH_V1.value,
                "predicate": None,
            }
        ).encode()
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._certificate(key, repository, workflow)
        signature = key.sign(b"DSSEv1 %d %s %d %s" % (len(_DSSE), _DSSE.encode(), len(statement), statement), _ECDSA)
        entry = self._log_entry(certificate, statement, signature)
        material = {"certificate": _b64(certificate.public_bytes(Encoding.DER)), "transparency_entries": [entry]}
        attestation = {
            "version": 1,
            "verification_material": material,
            "envelope": {"statement": _b64(statement), "signature": _b64(signature)},
        }
        publisher = {"kind": "GitHub", "repository": repository, "workflow": workflow, "environment": None}
        return {"version": 1, "attestation_bundles": [{"publisher": publisher, "attestations": [attestation]}]}

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - timedelta(minutes=5))
            .not_valid_after(self._now + timedelta(minutes=5))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )

    def _certificate(self, key: ec.EllipticCurvePrivateKey, repository: str, workflow: str) -> x509.Certificate:
        """Issue a certificate with the claims of a workflow, and with the promise of a log that it is in it."""
        url, ref = f"https://github.com/{repository}", "refs/tags/v1"
        build = f"{url}/.github/workflows/{workflow}@{ref}"
        claims = {8: "https://token.actions.githubusercontent.com", 12: url, 13: "0" * 40, 14: ref, 18: build}
        usage = {one: one == "digital_signature" for one in _USAGES}
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._ca.public_key())
        builder = (
            self._builder(x509.Name([]), key)
            .add_extension(x509.KeyUsage(**usage), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(build)]), critical=True)
            .add_extension(issuer, critical=False)
        )
        for number, text in claims.items():
            value = text.encode()
            der = b"\x0c" + (bytes([len(value)]) if len(value) < 128 else bytes([0x81, len(value)])) + value
            builder = builder.add_extension(
                x509.UnrecognizedExtension(ObjectIdentifier(f"{_CLAIMS}{number}"), der), critical=False
            )
        entry = builder.sign(self._ca, hashes.SHA256()).tbs_certificate_bytes
        time = int(self._now.timestamp() * 1000)
        signed = struct.pack("!BBQH", 0, 0, time, 1) + _key_id(self._ca) + len(entry).to_bytes(3, "big") + entry
        signature = self._ct.sign(signed + b"\0\0", _ECDSA)
        promise = b"\0" + _key_id(self._ct) + struct.pack("!QHBBH", time, 0, *_SHA256_ECDSA, len(signature)) + signature
        promises = struct.pack("!HH", len(promise) + 2, len(promise)) + promise
        octets = b"\x04" + bytes([0x81, len(promises)] if len(promises) > 127 else [len(promises)]) + promises
        return builder.add_extension(x509.UnrecognizedExtension(_SCT_LIST, octets), critical=False).sign(
            self._ca, hashes.SHA256()
        )

    def _log_entry(self, certificate: x509.Certificate, statement: bytes, signature: bytes) -> dict[str, Any]:
        """Return the entry of a log that has no other."""
        digest = {"algorithm": "sha256", "value": hashlib.sha256(statement).hexdigest()}
        pem = _b64(certificate.public_bytes(Encoding.PEM))
        spec = {
            "envelopeHash": {"algorithm": "sha256", "value": "0" * 64},
            "payloadHash": digest,
            "signatures": [{"signature": _b64(signature), "verifier": pem}],
        }
        body = json.dumps({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}).encode()
        time, leaf = int(self._now.timestamp()), hashlib.sha256(b"\0" + body).digest()
        note = f"log.test\n1\n{_b64(leaf)}\n"
        signed = _b64(_key_id(self._rekor)[:4] + self._rekor.sign(note.encode(), _ECDSA))
        promised = {"body": _b64(body), "integratedTime": time, "logID": _key_id(self._rekor).hex(), "logIndex": 0}
        canonical = json.dumps(promised, separators=(",", ":"), sort_keys=True).encode()
        return {
            "logIndex": "0",
            "logId": {"keyId": _b64(_key_id(self._rekor))},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(time),
            "inclusionPromise": {"signedEntryTimestamp": _b64(self._rekor.sign(canonical, _ECDSA))},
            "inclusionProof": {
                "logIndex": "0", "rootHash": _b64(leaf), "treeSize": "1", "hashes": [],
                "checkpoint": {"envelope": f"{note}\n\u2014 log.test {signed}\n"},
            },
            "canonicalizedBody": _b64(body),
        }  # fmt: skip


_ECDSA = ec.ECDSA(hashes.SHA256())
_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def _der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _key_id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(_der(key)).digest()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
