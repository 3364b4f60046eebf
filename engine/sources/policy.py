"""Which addresses may be asked: http and https only, and nothing inside this network unless the operator allows it."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import SplitResult, urlsplit

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Permanent, Transient

SCHEMES = ("http", "https")
MOST_URL = 16_384
CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


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
        raise Permanent(
            f"not a host name: {clean_text(host, 100)}", cause="malformed address", hint="is it spelt right?"
        ) from error
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def split_url(url: str) -> SplitResult:
    """The parts of an http(s) address. Raises :class:`Permanent` for anything else."""
    try:
        parts = urlsplit(url)
        url.encode()
        if (
            parts.scheme.lower() in SCHEMES
            and parts.hostname
            and parts.port != 0
            and len(url) <= MOST_URL
            and not CONTROLS.search(url)
        ):
            parts.hostname.encode("idna")
            return parts
    except ValueError:  # a malformed port or bracket, half a character, a name that is none
        pass
    raise Permanent(
        f"not an http(s) address: {clean_text(url, 200)}", cause="address refused", hint="only http and https are taken"
    )


def check_host(host: str, port: int | None, *, allow_private: bool) -> list[str]:
    """Addresses a host may be asked at. Raises :class:`Permanent` when any of them is inside this network.

    A caller connects to one of the addresses returned, so that a name cannot change its mind between check and connection.
    """
    addresses = resolve(host, port)
    if not allow_private and not all(is_public(a) for a in addresses):
        raise Permanent(
            f"{clean_text(host, 100)} is an address inside this network",
            cause="private address refused",
            hint="fetch.allow_private = true allows it, where the sources are trusted",
        )
    return addresses


def check_url(url: str, *, allow_private: bool) -> list[str]:
    """Addresses the URL may be asked at. Raises :class:`Permanent` for another scheme or an address inside this network."""
    parts = split_url(url)
    return check_host(parts.hostname or "", parts.port, allow_private=allow_private)


def host_of(url: str) -> str:
    """The host politeness is kept for, in lower case."""
    return (split_url(url).hostname or "").lower()
