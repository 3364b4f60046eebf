"""One stage of a stored recording again: everything before it is taken from the store, everything after it is done too."""

from __future__ import annotations

from dataclasses import replace

from gainstage.engine import pipeline
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.flight import Flight
from gainstage.engine.terms import Audio, Cast, DiarizationResult


def ingest_or_redo(flight: Flight, context: EngineContext) -> None:
    """The flow of a claimed recording: whole, or from the stage that it was queued for. Raises what :func:`pipeline.ingest` does."""
    stage = flight.recording.extra.get("redo")
    if stage is None or not redo(flight, context, str(stage)):
        pipeline.ingest(flight, context)


def redo(flight: Flight, context: EngineContext, stage: str) -> bool:
    """Do one stage again. The old result is served until the new one is stored whole.

    False where too little is stored, or a track is one person: all of it is done again then.
    """
    from gainstage.engine.store.restored import restored
    from gainstage.engine.voices.spans import overlaps

    stored = context.through_outage(lambda: restored(context.store, flight.recording.id), flight.token)
    if stored is None or (stored.fast_path and stage in ("diarize", "identify")):
        return False
    token, captions, before = flight.token, None, stored.captions
    with context.work.open(flight.recording.id) as folder:
        audio, transcript, diarization = stored.audio, stored.transcript, stored.diarization
        if stage in ("transcribe", "diarize") or (stage == "identify" and not voices_kept(context, audio, diarization)):
            media, captions = pipeline.fetch(flight, context, folder)
            audio = pipeline.decode(flight, context, media, folder)
            if audio.lines:
                return False
            audio = replace(audio, fingerprint=stored.audio.fingerprint)  # kept Opus sounds the same and has other samples
        if stage == "transcribe":
            transcript, before = pipeline.transcribe(flight, context, audio, captions, folder, token), {}
        speakers: Cast | DiarizationResult = diarization
        if stage == "diarize":
            speakers = pipeline.monologue(flight, context, audio, token) or pipeline.diarize(flight, context, audio, folder, token)
        if stage in ("diarize", "identify"):
            cast = pipeline.identify(flight, context, audio, transcript, speakers)
        else:
            cast = Cast(stored.turns, stored.decisions, overlaps(diarization.turns), stored.fast_path)
        segments = stored.segments if stage == "embed" else pipeline.segment(flight, context, audio, transcript, cast)
        segments = pipeline.embed(flight, context, segments)
        pipeline.store(
            flight, context, audio, transcript, speakers, cast, segments, captions if stage == "transcribe" else None, before
        )
    return True


def voices_kept(context: EngineContext, audio: Audio, diarization: DiarizationResult) -> bool:
    """Whether the voices of every turn are in the cache, so that no audio is needed to identify them."""
    from gainstage.engine.voices.evidence import wanted
    from gainstage.engine.voices.spans import clusters

    return context.voices.known(audio.fingerprint, wanted(clusters(diarization.exclusive)))
