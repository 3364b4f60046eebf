"""Names and defaults that are needed where the schema itself is too heavy to import, or below it."""

from __future__ import annotations

MEMORY_LIMIT_PERCENT = 92
"""``watch.memory_limit``"""

CPUS = "GAINSTAGE_CPUS"
"""Environment variable with the number of processor cores an engine may count on: its part of a machine that several share."""
