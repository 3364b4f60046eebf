"""Who asks for a change, for the history."""

from __future__ import annotations

import getpass


def author() -> str:
    """The name of the user at this terminal; "operator" where the system knows none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"
