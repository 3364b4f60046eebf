"""Recording ids: readable, safe in file names and on command lines, different for different identities."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from gainstage.engine.clean import clean_text

MOST_SLUG = 24
HEX = 8


def own_id(name: str, digest: str, kind: str) -> str:
    """``morning-talk-1f0c2a9d``: the words of a name in short ASCII, then the first digits of the hex ``digest`` of its identity.

    A name without ASCII letters or digits gives ``kind`` instead, as in ``file-1f0c2a9d``. The same name and identity give the
    same id.
    """
    return f"{slug(name) or kind}-{digest[:HEX]}"


def slug(name: str) -> str:
    """At most 24 characters of ``[a-z0-9-]``, preferably cut between words; empty for a name without ASCII letters or digits."""
    plain = unicodedata.normalize("NFKD", clean_text(name, 300)).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", re.sub(r"['`]", "", plain)).strip("-")
    if len(words) <= MOST_SLUG:
        return words
    at = words.rfind("-", MOST_SLUG // 2, MOST_SLUG + 1)
    return words[: at if at > 0 else MOST_SLUG]


def digest_of(text: str) -> str:
    """sha256 of a text in hex, for any characters."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def apart(id: str, key: str) -> str:
    """Another id for a recording whose own id is in use: with many recordings of one name, the digits can collide."""
    return f"{id}-{digest_of(key)[:HEX]}"
