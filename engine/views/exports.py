"""The formats a transcript can be exported in: what the command line offers and :mod:`gainstage.engine.store.export` writes."""

from __future__ import annotations

EXPORT_FORMATS = ("srt", "vtt", "txt", "json", "rttm", "stm", "ctm", "seglst")
