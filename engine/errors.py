"""What can go wrong, as a small class tree: the class decides what the queue does next.

Every error says what happened, to which recording, at which stage, and what the operator can do.
"""

from __future__ import annotations

from typing import Any

LONGEST_CAUSE = 200
"""Characters of a cause: the index of the recordings table holds it."""


class EngineError(Exception):
    """An error with a cause an operator can act on.

    ``cause`` is a short stable word group that failures are grouped by ("no audio stream"); ``hint`` says what to do.
    """

    retry = False

    def __init__(
        self, message: str, *, cause: str | None = None, hint: str = "", recording: str | None = None, stage: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.cause = (cause or message)[:LONGEST_CAUSE]
        self.hint = hint
        self.recording = recording
        self.stage = stage

    def at(self, recording: str, stage: str) -> EngineError:
        """The same error with its place filled in where it was unknown."""
        self.recording = self.recording or recording
        self.stage = self.stage or stage
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self.__dict__)  # from a child process

    def __str__(self) -> str:
        place = " ".join(p for p in (self.recording, self.stage and f"({self.stage})") if p)
        text = f"{place}: {self.message}" if place else self.message
        return f"{text}. {self.hint}" if self.hint else text


def _again(kind: type[EngineError], args: tuple[Any, ...], fields: dict[str, Any]) -> EngineError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error


class Permanent(EngineError):
    """Will fail again: never retried."""


class Rejected(Permanent):
    """Not taken on purpose (members-only, private, too long): ends as skipped, with its reason."""


class Transient(EngineError):
    """May pass: retried with backoff."""

    retry = True


class Throttled(Transient):
    """The host asks for a pause; ``after_s`` is its own delay where it named one."""

    def __init__(self, message: str, *, after_s: float | None = None, **rest: str | None) -> None:
        super().__init__(message, **rest)  # type: ignore[arg-type]
        self.after_s = after_s


class Postponed(Throttled):
    """Not begun: the host is asked later, as its budget is used up or it cools down. Not an attempt."""


class NotYet(Transient):
    """Not there as yet (a premiere, a stream that has just ended): looked at again after ``after_s``, then twice that, and so on.

    After the last attempt it ends as skipped, and the next listing of its source looks at it again.
    """

    def __init__(self, message: str, *, after_s: float, **rest: str | None) -> None:
        super().__init__(message, **rest)  # type: ignore[arg-type]
        self.after_s = after_s


class Elsewhere(Transient):
    """Only the engines of ``host`` can do this: it is theirs from now on. Not an attempt."""

    def __init__(self, message: str, *, host: str, **rest: str | None) -> None:
        super().__init__(message, **rest)  # type: ignore[arg-type]
        self.host = host


class OutOfMemory(Transient):
    """Too little memory even at the smallest batch."""


class Misconfigured(EngineError):
    """The setup is wrong (model, licence, database, setting): the run cannot go on until it is corrected."""


class Cancelled(EngineError):
    """The operator or a stop ended this recording; it is not a failure."""

    def __init__(self, message: str = "cancelled", **rest: str | None) -> None:
        super().__init__(message, **rest)  # type: ignore[arg-type]


class LostClaim(EngineError):
    """Another engine owns this recording now; whatever was computed here is dropped."""
