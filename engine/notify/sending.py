"""Alerts through the apprise library. Its addresses hold passwords and tokens: none is ever part of a text that comes from here."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from gainstage.engine.clean import clean_text
from gainstage.engine.errors import Misconfigured

LONGEST_TEXT = 2000


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of an alert at one address. ``name`` is the service's and the place of the address in the setting."""

    name: str
    sent: bool


def addresses(urls: SecretStr | None) -> tuple[str, ...]:
    """The addresses of ``notify.urls``: white space or commas before the next scheme stand between them."""
    import re

    text = urls.get_secret_value() if urls is not None else ""
    return tuple(
        part.strip(" \t\r\n,") for part in re.split(r"[\s,]+(?=[A-Za-z][A-Za-z0-9+.-]*://)", text.strip()) if part.strip(" ,")
    )


def services(urls: SecretStr | None) -> tuple[tuple[str, Any], ...]:
    """(name, service of apprise) of every address; raises :class:`Misconfigured` naming the place of one it cannot read.

    A service that answers with a redirect has failed: whoever answers for it does not choose where an alert goes, inside this
    network or out. ``redirect=yes`` in an address allows it.
    """
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # its lines may quote an address
    asset = apprise.AppriseAsset(http_redirects=False)
    made = []
    for number, address in enumerate(addresses(urls), 1):
        service = apprise.Apprise.instantiate(address, asset=asset, suppress_exceptions=True)
        if service is None:
            raise Misconfigured(
                f"address {number} of notify.urls is none that apprise knows",
                cause="notify.urls",
                hint="https://appriseit.com/services lists them; `gainstage notify test` tries them.",
            )
        made.append((f"{clean_text(str(service.service_name), 40)} (address {number})", service))
    return tuple(made)


def send(made: Sequence[tuple[str, Any]], title: str, text: str) -> tuple[Delivery, ...]:
    """Send to every service, one after the other; a service that fails takes no other with it. Blocks for some seconds at most each."""
    import apprise

    deliveries = []
    for name, service in made:
        try:
            sent = bool(
                service.notify(
                    title=clean_text(title, 200),
                    body="\n".join(clean_text(line, LONGEST_TEXT) for line in text.splitlines()),
                    notify_type=apprise.NotifyType.INFO,
                    body_format=apprise.NotifyFormat.TEXT,
                )
            )
        except Exception:  # a plugin of another's library: what it says may quote the address
            sent = False
        deliveries.append(Delivery(name, sent))
    return tuple(deliveries)
