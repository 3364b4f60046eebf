"""Trusted certificates for TLS: the usual authorities, plus those in this machine's ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from functools import cache

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Misconfigured, Permanent

UNTRUSTED = "untrusted certificate"
HINT = "The server's owner has to correct it; where a proxy of yours or a server of your own signs, SSL_CERT_FILE adds its certificate."


def trusting(context: ssl.SSLContext) -> ssl.SSLContext:
    """``context`` with this machine's certificates added. Raises :class:`Misconfigured` when they cannot be read."""
    file, folder = (os.environ.get(name) or None for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    if file or folder:
        try:
            context.load_verify_locations(cafile=file, capath=folder)
        except OSError as error:  # includes SSLError: no certificate in the file
            raise Misconfigured(
                f"the certificates of SSL_CERT_FILE or SSL_CERT_DIR cannot be read: {error.strerror or error}",
                cause="certificates",
                hint="Let them name certificates in the PEM format, or unset them.",
            ) from error
    return context


@cache
def context() -> ssl.SSLContext:
    """The context of our own client; the environment is read once."""
    import httpx

    return trusting(httpx.create_ssl_context(trust_env=False))


def refused_by(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """The rejected certificate behind an error; None for another error."""
    return next((e for e in _causes(error) if isinstance(e, ssl.SSLCertVerificationError)), None)


def untrusted(host: str, error: ssl.SSLCertVerificationError) -> Permanent:
    """The error to raise for it, which is not retried."""
    why = clean_text(getattr(error, "verify_message", "") or str(error), 200).rstrip(".")
    return Permanent(f"the certificate of {clean_text(host, 100)} is not trusted: {why}", cause=UNTRUSTED, hint=HINT)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__
