"""The operator's proxy: checked before use; its address may contain a password, so it is never shown."""

from __future__ import annotations

from urllib.parse import urlsplit

from gainstage.config.settings import Fetch
from gainstage.engine.errors import Misconfigured


def proxy_of(settings: Fetch) -> str | None:
    """The address of the proxy, None without one. Raises :class:`Misconfigured` when either HTTP client cannot use it."""
    address = settings.proxy.get_secret_value().strip() if settings.proxy else ""
    if not address:
        return None
    try:
        parts = urlsplit(address)
        if parts.scheme.lower() == "http" and parts.hostname and (parts.port or 80) > 0:
            return address
    except ValueError:  # a malformed port or bracket
        pass
    raise Misconfigured(
        "fetch.proxy is not the address of an HTTP proxy",
        cause="proxy",
        hint="Write http://host:port or http://user:password@host:port; it serves https sources too.",
    )
