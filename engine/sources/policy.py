"""Which addresses requests may go to: http and https only, and none inside this network unless the operator allows it."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import SplitResult, urlsplit

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Permanent, Transient

SCHEMES = ("http", "https")
YOUTUBE = "www.youtube.com"
MOST_URL = 16_384
CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


INNER_NAMES = re.compile(
    r"(?:.*\.)?(?:localhost|localdomain|local|internal|intranet|corp|home|lan|private|home\.arpa)", re.IGNORECASE
)
"""Names that public name servers do not resolve (RFC 6761, RFC 6762, RFC 8375, and those that ICANN reserves for private use)."""
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))  # RFC 6052, RFC 8215
_COMPATIBLE = ipaddress.ip_network("::/96")
_TRANSLATED = ipaddress.ip_network("::ffff:0:0:0/96")  # RFC 2765


def is_public(address: str) -> bool:
    """Whether an IP address is publicly reachable: not private, loopback, link-local, multicast or reserved.

    An IPv6 address that contains an IPv4 address is public only when both are: packets may go to the inner one.
    """
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64[1] or ip in _COMPATIBLE:  # a network's own translation prefix, and an obsolete form
            return False
        inner = _carried(ip)
        if inner is not None:
            return inner.is_global and not inner.is_multicast
    return ip.is_global and not ip.is_multicast


def _carried(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address contains."""
    if ip.teredo is not None:
        return ip.teredo[1]
    if ip in _NAT64[0] or ip in _TRANSLATED:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


def resolve(host: str, port: int | None = None) -> list[str]:
    """The addresses of a host, without repeats; raises :class:`Transient` when the name cannot be resolved now."""
    try:
        addresses = socket.getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Transient(
            f"cannot look up {clean_text(host, 100)}: {error}", cause="name not found", hint="Check the address and the network."
        ) from error
    except UnicodeError as error:
        raise Permanent(
            f"not a host name: {clean_text(host, 100)}", cause="malformed address", hint="Is it spelt right?"
        ) from error
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in addresses))


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
    except ValueError:  # a malformed port or bracket, a lone surrogate, an invalid host name
        pass
    raise Permanent(
        f"not an http(s) address: {clean_text(url, 200)}", cause="address refused", hint="Only http and https are taken."
    )


def check_host(host: str, port: int | None, *, allow_private: bool) -> list[str]:
    """The addresses at which a host may be contacted. Raises :class:`Permanent` when any of them is inside this network.

    Callers connect to one of the returned addresses, so that a changed name cannot bypass the check.
    """
    addresses = resolve(host, port)
    if not allow_private and not all(is_public(a) for a in addresses):
        raise _refused(host)
    return addresses


def check_url(url: str, *, allow_private: bool, proxied: bool = False) -> None:
    """Raises :class:`Permanent` for another scheme or an address inside this network.

    Behind a proxy (``proxied``) names are not resolved, because the proxy does that and this machine may have no name server:
    only IP addresses and names known to be private are refused.
    """
    parts = split_url(url)
    host = parts.hostname or ""
    if not proxied:
        check_host(host, parts.port, allow_private=allow_private)
    elif not allow_private and _is_inner(host):
        raise _refused(host)


def _is_inner(host: str) -> bool:
    """Whether a host is private, by its text alone."""
    host = host.rstrip(".")
    try:
        return not is_public(host)
    except ValueError:
        pass
    try:
        return not is_public(socket.inet_ntoa(socket.inet_aton(host)))  # 127.1, 0x7f.1 and 2130706433 are addresses as well
    except (OSError, UnicodeError):
        return bool(INNER_NAMES.fullmatch(host)) or "." not in host


def _refused(host: str) -> Permanent:
    return Permanent(
        f"{clean_text(host, 100)} is an address inside this network",
        cause="private address refused",
        hint="fetch.allow_private = true allows it, where the sources are trusted.",
    )


def host_of(url: str) -> str:
    """The host that a request budget belongs to, in lower case; one for all names of a site."""
    host = (split_url(url).hostname or "").lower()
    return YOUTUBE if host == "youtu.be" or host == "youtube.com" or host.endswith(".youtube.com") else host
