"""What is wrong with a setting; apart from the schema, so that raising it loads nothing."""

from __future__ import annotations


class SettingError(ValueError):
    """A setting is unknown, malformed or out of range; the text says which, where, and what is allowed."""
