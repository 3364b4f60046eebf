"""Where a recording can be heard, and stretches of it as files."""

from __future__ import annotations

from pathlib import Path

from gainstage.engine.errors import Permanent
from gainstage.engine.sources.local import path_of
from gainstage.engine.store.kept_audio import kept_file
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.views.playing import Playable

AROUND_S = 0.25
"""A passage is heard with this many seconds before and after it."""

LONGEST_S = 60.0
"""Longest stretch that is heard at once."""

ALONE_S = 10.0
"""Seconds heard from a time at which nobody speaks."""


def playable(store: RecordingStore, id: str, at: float, audio: Path | None, cluster: str | None = None) -> Playable:
    """The passage of a recording at a time, or ten seconds where nobody speaks; with ``cluster`` the longest turn of that cluster of
    the diarizer. ``audio`` is the folder of kept audio.

    Raises :class:`Permanent` when there is no such recording, or when no media file and no address of it is known here.
    """
    stored = store.get(id)
    if stored is None:
        raise Permanent(f"no recording {id!r}", cause="no such recording", hint="`gainstage recordings` lists them.")
    with store.db.connection() as connection:
        passage = connection.execute(
            "select start_s, end_s, speaker from segment where recording = %(id)s and start_s <= %(at)s and end_s >= %(at)s"
            " order by start_s desc limit 1",
            {"id": id, "at": at},
        ).fetchone()
    recording, fingerprint, duration = stored.recording, stored.fingerprint, stored.recording.duration
    if duration is not None and at > duration:
        raise Permanent(f"{id} ends at {duration:.0f} s", cause="nothing there", hint="Choose an earlier time.")
    turns = [(t[0], t[1], t[3]) for t in stored.facts.get("turns") or () if t[2] == cluster]
    longest = max(turns, key=lambda t: t[1] - t[0], default=None)
    start, end, speaker = longest or passage or (at, at + ALONE_S, "")
    end = min(end, start + LONGEST_S)
    path = kept_file(audio, fingerprint) if audio is not None and fingerprint else None
    url = recording.source if "://" in recording.source else None
    if path is None and url is None:
        path = path_of(recording)
        if not path.is_file():
            raise Permanent(
                f"no audio of {id} on this machine: {path} is gone",
                cause="no audio",
                hint="Put the file back, or keep audio with store.keep_audio = opus.",
            )
    return Playable(
        id, recording.title, max(0.0, start - AROUND_S), end + AROUND_S, speaker, None if path is None else str(path), url
    )


def write_clip(what: Playable, folder: Path) -> Path:
    """The stretch as a file in ``folder``. Raises :class:`Permanent` where no media file is on this machine."""
    from gainstage.engine.speech.clips import write_clip as write

    if what.path is None:
        raise Permanent(
            f"the audio of {what.recording} is not on this machine",
            cause="no audio",
            hint="Install mpv to play the address, or keep audio with store.keep_audio = opus.",
        )
    return write(Path(what.path), what.start, what.end, folder / clip_name(what))


def clip_name(what: Playable) -> str:
    """A file name with the recording, the time and the speaker."""
    from gainstage.engine.store.export import file_name

    whole = int(what.start + AROUND_S)
    at = f"{whole // 3600}-{whole % 3600 // 60:02d}-{whole % 60:02d}"
    return "_".join(filter(None, (file_name(what.recording), at, file_name(what.speaker) if what.speaker else ""))) + ".wav"


def export_clips(store: RecordingStore, id: str, folder: Path, audio: Path | None) -> tuple[Path, ...]:
    """Every passage of a recording as a file in ``folder/<id>.clips``, named by number, time and speaker; the files."""
    from gainstage.engine.store.export import file_name

    segments = store.segments(id)
    if not segments:
        raise Permanent(
            f"no passages are stored of {id!r}", cause="no passages", hint="`gainstage recordings` shows where it stands."
        )
    whole = playable(store, id, segments[0].start, audio)
    target, written = folder / f"{file_name(id)}.clips", []
    digits = len(str(len(segments)))
    for n, s in enumerate(segments, 1):
        stretch = Playable(id, whole.title, max(0.0, s.start - AROUND_S), s.end + AROUND_S, s.speaker, whole.path, whole.url)
        clip = write_clip(stretch, target)
        written.append(clip.rename(target / f"{n:0{digits}d}_{clip.name}"))
    return tuple(written)
