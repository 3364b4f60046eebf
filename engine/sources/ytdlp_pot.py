"""Proof-of-origin tokens from a provider that the operator runs (bgutil's HTTP protocol), for when YouTube requires them."""

from __future__ import annotations

import contextlib
from functools import cache
from typing import Any

import httpx

from gainstage.config.settings import Fetch
from gainstage.engine.errors import Misconfigured, Permanent
from gainstage.engine.sources.policy import split_url

LONGEST_S = 30.0
REACH_S = 5.0


def provider_of(settings: Fetch) -> str | None:
    """The provider's address, None without one. Raises :class:`Misconfigured` for an invalid one."""
    address = (settings.po_token_provider or "").strip().rstrip("/")
    if not address:
        return None
    try:
        split_url(address)
    except Permanent as error:
        raise Misconfigured(
            "fetch.po_token_provider is not an http(s) address",
            cause="PO token provider",
            hint="Write it as http://127.0.0.1:4416.",
        ) from error
    return address


def answers(address: str) -> bool:
    """For ``doctor``: whether a provider answers at its address; any answer will do."""
    with contextlib.suppress(httpx.HTTPError), httpx.Client(trust_env=False, follow_redirects=False, timeout=REACH_S) as client:
        return client.get(f"{address}/ping").status_code < 500
    return False


def register(address: str | None) -> None:
    """Let yt-dlp request tokens from the provider at ``address``, and from no other.

    The request goes directly to the address that the operator set; no site can change it. It says what the token is for, and
    contains no cookies and no password of a proxy.
    """
    from yt_dlp.extractor.youtube.pot._registry import _pot_providers

    provider = _provider(address) if address else None
    _pot_providers.value = {provider.PROVIDER_KEY: provider} if provider is not None else {}


@cache
def _provider(address: str) -> Any:
    from yt_dlp.extractor.youtube.pot.provider import (
        PoTokenContext,
        PoTokenProvider,
        PoTokenProviderError,
        PoTokenProviderRejectedRequest,
        PoTokenResponse,
    )
    from yt_dlp.extractor.youtube.pot.utils import WEBPO_CLIENTS, get_webpo_content_binding

    class OperatorsPTP(PoTokenProvider):  # type: ignore[misc]
        PROVIDER_NAME = "operator"
        PROVIDER_VERSION = "1"
        _SUPPORTED_CLIENTS = WEBPO_CLIENTS
        _SUPPORTED_CONTEXTS = (PoTokenContext.GVS, PoTokenContext.PLAYER, PoTokenContext.SUBS)
        _SUPPORTED_EXTERNAL_REQUEST_FEATURES = None

        def is_available(self) -> bool:
            return True

        def _real_request_pot(self, request: Any) -> Any:
            binding, _ = get_webpo_content_binding(request)
            if not binding:
                raise PoTokenProviderRejectedRequest("nothing to bind the token to")
            try:
                with httpx.Client(trust_env=False, follow_redirects=False, timeout=LONGEST_S) as client:
                    answer = client.post(
                        f"{address}/get_pot", json={"content_binding": binding, "bypass_cache": request.bypass_cache}
                    )
                    token = answer.raise_for_status().json()["poToken"]
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                raise PoTokenProviderError(f"the provider gave no token: {error}", expected=True) from error
            return PoTokenResponse(po_token=str(token))

    return OperatorsPTP
