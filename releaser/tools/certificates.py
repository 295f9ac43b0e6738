"""Advice for a TLS certificate that uv, git or Python does not accept, which is no fault of the network."""

from __future__ import annotations

from releaser.system.expression import expression

_OF_UV = "set `system-certs = true` in `~/.config/uv/uv.toml`, or `SSL_CERT_FILE=/path/to/ca.pem` in the crontab"
_OF_PYTHON = "set `SSL_CERT_FILE=/path/to/ca.pem` in the crontab"
_OF_GIT = "run `git config --global http.sslCAInfo /path/to/ca.pem`"
# The messages of rustls in uv, OpenSSL in Python, GnuTLS and OpenSSL in git.
_BY_UV = expression(r"invalid peer certificate: *(\w+)?")
_BY_PYTHON = expression(r"CERTIFICATE_VERIFY_FAILED\]? *(certificate verify failed: [^(\n]+)?")
_BY_GIT = expression(
    r"server certificate verification failed|SSL certificate problem: *([^\n]+)?"
    r"|SSL: (certificate subject|no alternative)"
)
_UNKNOWN = expression(r"UnknownIssuer|local issuer|self[- ]signed|server certificate verification failed")
_OWN_FAULT = (
    "The server's certificate is not valid: it has expired, or is for another name. Ask the operators of the server,"
    " and check the clock of this host with `date`."
)


def certificate_advice(output: str) -> str:
    """Return the advice if a program failed because of a TLS certificate; empty for another reason."""
    for pattern, remedy in ((_BY_UV, _OF_UV), (_BY_GIT, _OF_GIT), (_BY_PYTHON, _OF_PYTHON)):
        if found := pattern.search(output):
            if not _UNKNOWN.search(found.group()):
                return _OWN_FAULT
            return (
                f"No authority that this host trusts has signed the server's certificate. For a private CA, {remedy}."
            )
    return ""
