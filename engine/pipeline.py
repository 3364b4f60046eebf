"""The flow of one recording, from top to bottom: from a source to who said what, stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from psycopg import Cursor
from psycopg.rows import TupleRow

from gainstage.engine.clean import counted
from gainstage.engine.errors import EngineError, Permanent
from gainstage.engine.flow.cancel import CancelToken
from gainstage.engine.flow.run_parallel import run_parallel
from gainstage.engine.runtime.completion import note_decisions
from gainstage.engine.runtime.context import EngineContext
from gainstage.engine.runtime.flight import Flight
from gainstage.engine.speech.recognition import DecodedWindow, SpeechWindow
from gainstage.engine.terms import Audio, Captions, Cast, DiarizationResult, RecordingWarning, Segment, Transcript

if TYPE_CHECKING:
    from gainstage.engine.speech.transcribe import Transcriber


def ingest(flight: Flight, context: EngineContext) -> None:
    """Take a recording apart and store it. Raises :class:`gainstage.engine.errors.EngineError`; leaves nothing half-done behind."""
    with context.work.open(flight.recording.id) as folder:
        media, captions = fetch(flight, context, folder)
        audio = decode(flight, context, media, folder)
        if link_twin(flight, context, audio):
            return
        transcript, speakers = run_parallel(
            flight.token,
            lambda token: transcribe(flight, context, audio, captions, folder, token),
            lambda token: monologue(flight, context, audio, token) or diarize(flight, context, audio, folder, token),
        )
        cast = identify(flight, context, audio, transcript, speakers)
        segments = segment(flight, context, audio, transcript, cast)
        segments = embed(flight, context, segments)
        store(flight, context, audio, transcript, speakers, cast, segments, captions)


def fetch(flight: Flight, context: EngineContext, folder: Path) -> tuple[Path, Captions | None]:
    """The media file of the recording, complete, in ``folder`` (or where it already lies for a local file), and the publisher's
    captions where they are wanted and there are some."""
    from gainstage.engine.sources.captions import wanted_language

    wanted = wanted_language(flight.settings)
    with flight.stage("fetch") as slot:

        def progress(share: float | None) -> None:
            slot.progress = share

        media = context.kept_audio(flight.recording)
        if media is None:
            media = context.fetcher.fetch(
                flight.recording, folder, token=flight.token, progress=progress, captions=wanted, waiting=slot.waiting
            )
        if wanted is None:
            return media, None
        captions, warnings = context.fetcher.captions(flight.recording, wanted, token=flight.token)
    warn(flight, context, "fetch", *warnings)
    return media, captions


def decode(flight: Flight, context: EngineContext, media: Path, folder: Path) -> Audio:
    """The recording's audio, decoded into its folder; a typed error for what cannot be decoded."""
    from gainstage.engine.speech.decode import decode_recording
    from gainstage.engine.speech.keeping import kept_or_warned

    with flight.stage("decode", audio_s=flight.duration_s) as slot:

        def progress(share: float) -> None:
            slot.progress = share
            context.stages["decode"].wait_while_held(flight.token, slot)

        limit, tracks = context.settings.fetch.max_duration, flight.settings.fetch.tracks
        decoded = decode_recording(media, folder, token=flight.token, progress=progress, max_seconds=limit, tracks=tracks)
        unkept = kept_or_warned(media, decoded.audio, context.paths.audio, context.keeps(flight.recording), flight.token)
    warn(flight, context, "decode", *decoded.warnings, *unkept)
    flight.duration_s = decoded.audio.seconds
    return decoded.audio


def link_twin(flight: Flight, context: EngineContext, audio: Audio) -> bool:
    """Whether the same audio is stored already under another address; then this recording becomes a link to it. One that is
    in flight at this moment is waited for: raises :class:`gainstage.engine.errors.Postponed`.
    """
    from gainstage.engine.sources.duplicates import yield_to_twin

    if flight.settings.fetch.duplicates != "link":
        return False
    id = flight.recording.id
    context.through_outage(lambda: yield_to_twin(context.database, audio.fingerprint, id), flight.token)
    twin = context.through_outage(lambda: context.store.twin(audio.fingerprint, id), flight.token)
    if twin is None:
        return False
    link_to(flight, context, audio, twin, "decode")
    return True


def link_to(flight: Flight, context: EngineContext, audio: Audio, twin: str, stage: str) -> None:
    """End a recording as a link to the one that has its audio."""
    context.through_outage(
        lambda: context.store.link(flight.recording.id, twin, audio, lambda cursor: context.queue.finish_in(cursor, flight.claim)),
        flight.token,
    )
    flight.linked = twin
    context.journal.log("info", f"same audio as {twin}: linked", recording=flight.recording.id, stage=stage, twin=twin)


def transcribe(
    flight: Flight, context: EngineContext, audio: Audio, captions: Captions | None, folder: Path, token: CancelToken
) -> Transcript:
    """The words: recognised, or the publisher's where ``fetch.captions`` prefers them and they fit the audio."""
    from gainstage.engine.speech.coverage import coverage_warnings
    from gainstage.engine.speech.language import language_warnings
    from gainstage.engine.speech.lines import transcribe_lines

    with flight.stage("transcribe", token=token, audio_s=audio.seconds) as slot:

        def progress(share: float) -> None:
            slot.progress = share

        def submit(windows: Sequence[SpeechWindow], token: CancelToken) -> Sequence[DecodedWindow | Exception]:
            context.stages["transcribe"].wait_while_held(token, slot)
            return context.windows.submit(windows, token=token, priority=flight.priority)

        recogniser, settings = context.models.transcriber(), flight.settings.asr
        check_language(flight, recogniser)
        published = captioned(flight, context, audio, captions, token)
        if published is not None:
            transcript = published
        else:
            header = recogniser.header(audio, settings)
            with context.kept(folder, "transcribe", flight.recording.id, header) as kept:
                if audio.lines:
                    transcript = transcribe_lines(
                        recogniser, audio.lines, settings, token=token, progress=progress, submit=submit, kept=kept
                    )
                else:
                    transcript = recogniser.transcribe(audio, settings, token=token, progress=progress, submit=submit, kept=kept)
    warn(flight, context, "transcribe", *coverage_warnings(transcript.coverage))
    if published is None:
        languages = language_warnings(transcript, multilingual=recogniser.multilingual, detected=settings.language == "auto")
        warn(flight, context, "transcribe", *languages)
    return transcript


def check_language(flight: Flight, recogniser: Transcriber) -> None:
    """Raise :class:`gainstage.engine.errors.Permanent` for a language of the recording's options that the recogniser lacks."""
    language = flight.recording.options.language
    if language is not None and not recogniser.knows(language):
        raise Permanent(
            f"recogniser {recogniser.label} does not speak {language!r}, which the options of this recording name",
            cause="language not supported",
            hint="Add it again with --force and another --language, or set asr.model to one that speaks it.",
        )


def captioned(
    flight: Flight, context: EngineContext, audio: Audio, captions: Captions | None, token: CancelToken
) -> Transcript | None:
    """The publisher's words as a transcript; None, with a warning, where they do not fit the audio."""
    from gainstage.engine.sources.captions import base, unusable
    from gainstage.engine.speech.captioned import transcript_of
    from gainstage.engine.text.captions import NoCaptions

    if captions is None or flight.settings.fetch.captions != "prefer":
        return None
    wanted = flight.settings.asr.language
    language = base(captions.language) or ("" if wanted == "auto" else wanted)
    try:
        return transcript_of(captions, audio, language or context.models.transcriber().language_of(audio, token), token)
    except NoCaptions as error:
        warn(flight, context, "transcribe", unusable(str(error)))
        return None


def monologue(flight: Flight, context: EngineContext, audio: Audio, token: CancelToken) -> Cast | None:
    """The fast path: the whole cast when every place of the recording is the primary speaker, else None."""
    from gainstage.engine.voices.fast_path import monologue as sole_speaker

    if not flight.settings.identify.fast_path or audio.lines or (flight.settings.diarization.min_speakers or 1) > 1:
        return None
    profiles = context.through_outage(context.profiles, token)
    if not any(p.primary for p in profiles):
        return None
    with flight.stage("identify", token=token, audio_s=audio.seconds) as slot:
        cast = sole_speaker(
            audio,
            profiles,
            flight.settings.identify,
            revision=flight.revision,
            extractor=context.voices,
            token=token,
            journal=context.journal,
            recording=flight.recording.id,
            calibration=context.calibration(profiles, token),
        )
        slot.partial = cast is None  # names come after the diarizer, in a second pass
        return cast


def diarize(flight: Flight, context: EngineContext, audio: Audio, folder: Path, token: CancelToken) -> DiarizationResult:
    """Who speaks when, by cluster; a recording with a line for each speaker needs no model."""
    from gainstage.engine.speech.lines import turns_of

    with flight.stage("diarize", token=token, audio_s=audio.seconds) as slot:

        def progress(share: float) -> None:
            slot.progress = share

        told: set[tuple[str, int]] = set()

        def on_oom(step: str, chunks: int) -> None:
            if (step, chunks) not in told:
                told.add((step, chunks))
                how = "tried again in halves" if chunks > 1 else "tried again alone on the device"
                text = f"out of memory, {counted(chunks, 'chunk')} of {step}: {how}"
                context.journal.log("warning", text, recording=flight.recording.id, stage="diarize", chunks=chunks)

        if audio.lines:
            return turns_of(audio.lines, token)
        diarizer = context.models.diarizer(slot.state)
        settings = flight.settings.diarization
        with context.kept(folder, "diarize", flight.recording.id, diarizer.header(audio, settings)) as kept:
            return diarizer.diarize(
                audio,
                settings,
                token=token,
                progress=progress,
                batch=lambda: context.settings.diarization.batch,
                between=lambda: context.stages["diarize"].wait_while_held(token, slot),
                kept=kept,
                on_oom=on_oom,
            )


def identify(
    flight: Flight, context: EngineContext, audio: Audio, transcript: Transcript, speakers: Cast | DiarizationResult
) -> Cast:
    """Names for the turns. The limits are those in force now, not those of entry: they are *now* settings."""
    from gainstage.engine.voices.identify import identify as name_turns
    from gainstage.engine.voices.spoken import spoken

    if isinstance(speakers, Cast):
        cast = spoken(speakers, transcript.words)
    else:
        profiles = context.through_outage(context.profiles, flight.token)
        with flight.stage("identify", audio_s=audio.seconds):
            live = context.live.current_with_revision()
            cast = name_turns(
                audio,
                speakers,
                profiles,
                live.settings.identify,
                revision=live.revision,
                extractor=context.voices,
                token=flight.token,
                journal=context.journal,
                recording=flight.recording.id,
                calibration=context.calibration(profiles, flight.token),
            )
    flight.speakers = len({t.speaker for t in cast.turns})
    return cast


def segment(flight: Flight, context: EngineContext, audio: Audio, transcript: Transcript, cast: Cast) -> tuple[Segment, ...]:
    """Passages of one speaker each, with their words; none where nobody speaks."""
    from gainstage.engine.speech.emptiness import why_nothing
    from gainstage.engine.speech.lines import named
    from gainstage.engine.speech.words import assign
    from gainstage.engine.text.segments import cut

    with flight.stage("segment"):
        if not transcript.words:
            warn(flight, context, "transcribe", why_nothing(audio, flight.token))
        give = named if audio.lines and not transcript.interpolated else assign
        words = give(transcript.words, cast.turns, cast.overlaps)
        segments = cut(words, cast.turns, transcript, flight.settings.segment)
    flight.segments = len(segments)
    return segments


def embed(flight: Flight, context: EngineContext, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """The segments with their text vectors, batched with those of every other recording in flight."""
    with flight.stage("embed") as slot:
        vectors = context.texts.submit([s.text for s in segments], token=flight.token, waiting=partial(slot.waiting, company=True))
    failed = next((v for v in vectors if isinstance(v, Exception)), None)
    if failed is not None:
        raise (
            failed
            if isinstance(failed, EngineError)
            else EngineError(
                f"text vector failed: {failed}",
                cause="text vector failed",
                hint="Its traceback is in `gainstage show ID`; another embed.model may work.",
            )
        )
    return tuple(replace(s, vector=np.asarray(v, np.float32)) for s, v in zip(segments, vectors, strict=True))


def store(
    flight: Flight,
    context: EngineContext,
    audio: Audio,
    transcript: Transcript,
    speakers: Cast | DiarizationResult,
    cast: Cast,
    segments: tuple[Segment, ...],
    captions: Captions | None = None,
    before: Mapping[str, Any] | None = None,
) -> None:
    """One transaction. A database that is away is waited for here, so that finished work is not done again. ``before`` are facts of
    an earlier result that stand.

    A twin that was stored meanwhile (by an engine taken for dead, say) is found inside the transaction, and linked to.
    """
    from gainstage.engine.sources.duplicates import TwinStored, refuse_twin
    from gainstage.engine.text.segments import balance

    def fence(cursor: Cursor[TupleRow]) -> None:
        context.queue.finish_in(cursor, flight.claim)
        if flight.settings.fetch.duplicates == "link":
            refuse_twin(cursor, audio.fingerprint, flight.recording.id)

    with flight.stage("store") as slot:
        recording, facts, shares = (
            replace(flight.recording, duration=audio.seconds),
            {**facts_of(transcript, speakers, cast, captions), **(before or {})},
            balance(cast),
        )
        try:
            stored = context.through_outage(
                lambda: context.store.store(
                    recording,
                    segments,
                    cast.decisions,
                    models=context.models.ids(),
                    revision=flight.revision,
                    facts=facts,
                    spans=flight.spans,
                    fingerprint=audio.fingerprint,
                    balance=shares,
                    warnings=flight.warnings,
                    fence=fence,
                ),
                flight.token,
                waiting=slot.waiting,
            )
        except TwinStored as error:
            link_to(flight, context, audio, error.twin, "store")
            return
    note_decisions(context, flight, cast, stored.decisions)


def warn(flight: Flight, context: EngineContext, stage: str, *warnings: RecordingWarning) -> None:
    """Put something an operator should know on a recording: in the journal now, with the results when it is stored."""
    for warning in warnings:
        if warning not in flight.warnings:
            flight.warnings.append(warning)
            context.journal.log(
                "warning",
                warning.message,
                kind="warning",
                stage=stage,
                recording=flight.recording.id,
                cause=warning.cause,
                hint=warning.hint,
            )


def facts_of(
    transcript: Transcript, speakers: Cast | DiarizationResult, cast: Cast, captions: Captions | None = None
) -> dict[str, Any]:
    """What is worth knowing later of how a recording was understood: language, models, turns, the publisher's captions."""
    from gainstage.engine.text.captions import as_facts

    return {
        **({"captions": as_facts(captions, instead=transcript.interpolated)} if captions is not None else {}),
        "language": transcript.language,
        "language_probability": transcript.language_probability,
        "average_log_probability": transcript.average_log_probability,
        "recogniser": transcript.model,
        "diarizer": speakers.model if isinstance(speakers, DiarizationResult) else "",
        "fast_path": cast.fast_path,
        "looped": transcript.looped,
        "coverage": transcript.coverage.facts(),
        "overlap_s": round(sum(end - start for start, end in cast.overlaps), 3),
        "diarized": [
            [round(t.start, 3), round(t.end, 3), t.cluster]
            for t in (speakers.turns if isinstance(speakers, DiarizationResult) else cast.turns)
        ],
        "turns": [[round(t.start, 3), round(t.end, 3), t.cluster, t.speaker, str(t.provenance), t.confidence] for t in cast.turns],
    }
