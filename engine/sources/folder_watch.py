"""Reports when something in a folder has changed and then stayed unchanged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from watchfiles import watch

from gainstage.engine.sources.local import SETTLED_S

WATCH_STEP_MS = 400


class FolderWatch:
    """Calls ``changed`` when something in a folder has changed and then stayed unchanged for a few seconds."""

    def __init__(self, folder: Path, changed: Callable[[], None], quiet_s: float | None = None) -> None:
        self.folder = folder
        self._changed = changed
        self._quiet_s = SETTLED_S + 0.5 if quiet_s is None else quiet_s
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="folder-watch", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join(10)

    def _run(self) -> None:
        last: float | None = time.monotonic()  # changes before the watch started are also reported once
        try:
            for changes in watch(
                self.folder, stop_event=self._ending, rust_timeout=WATCH_STEP_MS, yield_on_timeout=True, debounce=WATCH_STEP_MS,
                raise_interrupt=False,
            ):  # fmt: skip
                if changes:
                    last = time.monotonic()
                elif last is not None and time.monotonic() - last >= self._quiet_s:
                    last = None
                    self._changed()
        except OSError:  # the folder is gone: its subscription reports that
            return
