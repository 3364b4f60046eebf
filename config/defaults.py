"""Defaults that are needed where the schema itself is too heavy to import: in a console before its first frame."""

from __future__ import annotations

MEMORY_LIMIT_PERCENT = 92
"""``watch.memory_limit``"""
