"""Which engines one machine runs: one for each GPU that is asked for, or several that share its processor cores."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gainstage.config.defaults import CPUS
from gainstage.config.paths import Paths
from gainstage.config.settings import Engines
from gainstage.engine.errors import Misconfigured
from gainstage.engine.fleet.local import WantedMembers, read_wanted
from gainstage.engine.telemetry.cores import cores
from gainstage.engine.telemetry.devices import Lost, read_cards

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Member:
    """One of the engines of a machine. ``gpu`` is the UUID of its card, "" for none, None where it sees them all."""

    name: str
    gpu: str | None
    cpus: int

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """What is different in this member's environment: its card, and its part of the processor cores."""
        part = {CPUS: str(self.cpus)}
        if "OMP_NUM_THREADS" not in environ:
            part["OMP_NUM_THREADS"] = str(self.cpus)  # numerical libraries without a setting of their own
        return part | ({} if self.gpu is None else {VISIBLE: self.gpu})


def members_of(engines: Engines, environ: Mapping[str, str] | None = None) -> tuple[Member, ...]:
    """The engines that the settings ask for on this machine; one engine without a card of its own is the empty tuple.

    Raises :class:`gainstage.engine.errors.Misconfigured` for a GPU that is not there.
    """
    environ = os.environ if environ is None else environ
    cards = _cards(engines.gpus.strip().lower(), environ)
    none = engines.gpus.strip().lower() == "none"
    places: list[tuple[str, str | None]] = [(f"gpu{index}", uuid) for index, uuid in cards] or [("cpu", "" if none else None)]
    if len(places) * engines.count == 1 and not cards and not none:
        return ()
    part = max(1, cores() // (len(places) * engines.count))
    return tuple(
        Member(name if engines.count == 1 else f"{name}-{n}", gpu, part) for name, gpu in places for n in range(engines.count)
    )


class MemberPlaces:
    """Where the engines of a fleet that this machine runs are put: each new one on the next card, with an even part of the cores."""

    def __init__(self, paths: Paths, members: Sequence[Member]) -> None:
        self.paths = paths
        self._cards: list[str | None] = [member.gpu for member in members if member.gpu]
        self._given: dict[str, Member] = {}
        self._seen: WantedMembers | None = None

    def all(self) -> tuple[Member, ...]:
        """The engines wanted now."""
        self._seen = read_wanted(self.paths)
        return self._placed(self._seen.names if self._seen else ())

    def changed(self) -> tuple[tuple[Member, ...], bool] | None:
        """The engines wanted now, and whether the others stop at once; None where that is what it was."""
        wanted = read_wanted(self.paths)
        if wanted is None or wanted == self._seen:
            return None
        self._seen = wanted
        return self._placed(wanted.names), wanted.now

    def _placed(self, names: Sequence[str]) -> tuple[Member, ...]:
        part = max(1, cores() // max(1, len(names)))
        for name in names:
            if name not in self._given:
                card = self._cards[len(self._given) % len(self._cards)] if self._cards else None
                self._given[name] = Member(name, card, part)
        return tuple(self._given[name] for name in names)


def _cards(wanted: str, environ: Mapping[str, str]) -> tuple[tuple[int, str], ...]:
    """(index, UUID) of the cards that get engines. What CUDA_VISIBLE_DEVICES hides from this process is not there."""
    if wanted in ("none", "one"):
        return ()
    numbers = _numbers(wanted)
    try:
        cards = visible(read_cards(), environ.get(VISIBLE))
    except Lost as lost:
        if numbers is None:
            return ()
        raise Misconfigured(
            f"engines.gpus is {wanted} and no GPU can be read: {lost}",
            cause="no GPU",
            hint="Check the driver with nvidia-smi, or set engines.gpus to none.",
        ) from None
    if numbers is None:
        return cards
    by_index = dict(cards)
    if missing := [n for n in numbers if n not in by_index]:
        gpus = ", ".join(map(str, by_index)) or "none"
        raise Misconfigured(
            f"engines.gpus names GPU {missing[0]}, which is not there", cause="no GPU", hint=f"GPUs of this machine: {gpus}."
        )
    return tuple((n, by_index[n]) for n in numbers)


def _numbers(wanted: str) -> tuple[int, ...] | None:
    """The cards named, None for all of them."""
    if wanted == "all":
        return None
    parts = [part.strip() for part in wanted.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise Misconfigured(
            f"engines.gpus is {wanted!r}", cause="setting", hint="Write all, none, one, or numbers by comma as in 0,2."
        )
    return tuple(dict.fromkeys(int(part) for part in parts))


def visible(cards: tuple[tuple[int, str], ...], shown: str | None) -> tuple[tuple[int, str], ...]:
    """The cards that the value of CUDA_VISIBLE_DEVICES leaves, all of them without one. CUDA stops at the first unknown name."""
    if shown is None:
        return cards
    left: list[tuple[int, str]] = []
    for word in filter(None, (word.strip() for word in shown.split(","))):
        if word.startswith("MIG-"):  # a part of a card, which NVML lists under the card only
            left.append((len(left), word))
            continue
        named = [card for card in cards if str(card[0]) == word or (not word.isdecimal() and card[1].startswith(word))]
        if not named:
            break
        left += named[:1]
    return tuple(left)
