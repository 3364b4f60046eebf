"""Child process that reads untrusted captions under resource limits: see :mod:`gainstage.engine.sources.captions`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gainstage.engine.sources.parsing_child import serve


def prepare() -> Callable[[bytes], Any]:
    """The function that reads captions, after what it needs is imported."""
    from gainstage.engine.text.captions import NoCaptions, parse

    def answer(body: bytes) -> Any:
        try:
            format, lines = parse(body)
        except NoCaptions as error:
            return {"fault": str(error)}
        return {"format": format, "lines": [[line.start, line.end, line.text] for line in lines]}

    return answer


if __name__ == "__main__":
    serve(prepare)
