"""Parse untrusted feeds in a child process with limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gainstage.engine.errors import Permanent
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.sources.child_parser import ChildParser, TooMuch


class FeedParser(ChildParser):
    """A parser of feeds, started with the first document. For one thread at a time."""

    def __init__(self, token: CancelToken) -> None:
        super().__init__(token, "gainstage.engine.sources.feed_child")

    def parse(self, document: bytes) -> dict[str, Any]:
        """The result of :func:`gainstage.engine.sources.feed_child.parsed` for a document.

        Raises :class:`Permanent` for a document that the parser cannot handle, and ``Cancelled``.
        """
        try:
            answer: dict[str, Any] = self.ask(document)
        except TooMuch as error:
            raise Permanent(
                "the feed is too much for its parser",
                cause="broken feed",
                hint="The feed's owner has to correct it; is it a podcast feed?",
            ) from error
        return answer


@contextmanager
def feed_parser(token: CancelToken) -> Iterator[FeedParser]:
    """A parser for one listing, ended with the block."""
    parser = FeedParser(token)
    try:
        yield parser
    finally:
        parser.close()
