"""How often a process of the terminal looks for garbage."""

from __future__ import annotations

COLLECT_EVERY = 20_000
"""Objects made between two searches of the garbage collector: at Python's 700 they take a tenth of the time of a short command."""
