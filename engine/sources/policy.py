"""Which addresses may be asked: http and https only, and nothing inside this network unless the operator allows it."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from engine.clean import clean_text
from engine.errors import Permanent, Transient

SCHEMES = ("http", "https")


def is_public(address: str) -> bool:
    """Whether an IP address is reachable by everybody: not private, loopback, link-local, multicast or reserved."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip.sixtofour or ip
    return ip.is_global and not ip.is_multicast


def resolve(host: str, port: int | None = None) -> list[str]:
    """The addresses of a host, each once; :class:`Transient` when the name cannot be looked up now."""
    try:
        found = socket.getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Transient(
            f"cannot look up {clean_text(host, 100)}: {error}", cause="name not found", hint="check the address and the network"
        ) from error
    except UnicodeError as error:
        raise Permanent(f"not a host name: {clean_text(host, 100)}", cause="malformed address") from error
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def check_url(url: str, *, allow_private: bool) -> list[str]:
    """Addresses the URL may be asked at. Raises :class:`Permanent` for another scheme or an address inside this network.

    Called for the first address and again for every redirect; a caller that connects pins one of the returned addresses,
    so that a name cannot change its mind between the check and the connection.
    """
    parts = urlsplit(url)
    if parts.scheme.lower() not in SCHEMES or not parts.hostname:
        raise Permanent(
            f"not an http(s) address: {clean_text(url, 200)}", cause="address refused", hint="only http and https are taken"
        )
    addresses = resolve(parts.hostname, parts.port)
    if not allow_private and not all(is_public(a) for a in addresses):
        raise Permanent(
            f"{clean_text(parts.hostname, 100)} is an address inside this network",
            cause="private address refused",
            hint="fetch.allow_private = true allows it, where the sources are trusted",
        )
    return addresses
