"""Exports say exactly what is stored, and run nothing in whatever reads them."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gainstage.engine.errors import Permanent
from gainstage.engine.evaluation.quality import Spoken, diarization_error_rate
from gainstage.engine.store.database import Database
from gainstage.engine.store.export import WRITERS, document, export_recording, file_name
from gainstage.engine.store.formats import json_of, rttm_of, srt_of, txt_of, vtt_of
from gainstage.engine.store.recordings import RecordingStore
from gainstage.engine.store.rows import StoredRecording
from gainstage.engine.store.turns import named_turns
from gainstage.engine.terms import Recording, Segment, Word
from gainstage.engine.text.cues import CueStyle
from gainstage.engine.views.rows import RecordingRow
from tests.engine.store_kit import recording, segment, segments, store

NASTY = st.text(max_size=60) | st.sampled_from(
    [
        "<b>bold</b><script>alert(1)</script>",
        "{\\an8}up {b}",
        "1\n00:00:00,000 --> 00:00:01,000\ninjected",
        "\r\n\r\nNOTE hidden",
        "a --> b",
        "\x1b[2J\x9b31m\x07",
        "\u202eevil\u2066",
        "&amp; &lt;v Eve&gt;",
        "=cmd|' /C calc'!A0",
        " ",
    ]
)


def found(what: Recording) -> StoredRecording:
    row = RecordingRow(what.id, what.title, what.source, "stored", None, None, 1, 5, 0, 0.0, 0.0, 1, 1, None, None, None)
    return StoredRecording(what, row, {}, (), None, 1, None, None, None, None, None)


said = st.builds(
    lambda text, who, start: segment(0, text, words=(), speaker=who, start=start, end=start + 1.5),
    NASTY,
    NASTY,
    st.floats(0, 100_000),
)
several = st.lists(said, max_size=4)
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")
STAMP = r"\d{2,}:\d\d:\d\d[.,]\d\d\d"


@settings(max_examples=150, deadline=None)
@given(several, NASTY)
def test_srt_holds_as_many_cues_as_segments_and_no_markup(segments: list[Segment], title: str) -> None:
    text = srt_of(found(recording(title=title)), segments)
    assert not UNSAFE.search(text)
    cues = [cue.split("\n") for cue in text.rstrip("\n").split("\n\n")] if text else []
    assert len(cues) == len(segments)
    for n, cue in enumerate(cues, 1):
        number, times, line = cue
        assert number == str(n)
        assert re.fullmatch(f"{STAMP} --> {STAMP}", times)
        assert not set("<>{}") & set(line)


@settings(max_examples=150, deadline=None)
@given(several, NASTY)
def test_vtt_escapes_everything_but_its_own_voice_tag(segments: list[Segment], title: str) -> None:
    text = vtt_of(found(recording(title=title)), segments)
    assert not UNSAFE.search(text)
    head, *cues = text.rstrip("\n").split("\n\n")
    assert head == "WEBVTT"
    assert len(cues) == len(segments)
    for cue in cues:
        times, line = cue.split("\n")
        assert re.fullmatch(f"{STAMP} --> {STAMP}", times)
        match = re.fullmatch("<v ([^<>]+)>([^<>]*)", line)
        assert match
        assert "&" not in re.sub("&(amp|lt|gt);", "", line)
        assert html.unescape(match[2])


@settings(max_examples=150, deadline=None)
@given(several, NASTY)
def test_txt_is_one_harmless_line_per_segment(segments: list[Segment], title: str) -> None:
    text = txt_of(found(recording(title=title)), segments)
    assert not UNSAFE.search(text)
    assert len(text.splitlines()) == 2 + len(segments)


@settings(max_examples=150, deadline=None)
@given(several, NASTY)
def test_rttm_has_ten_fields_and_keeps_people_apart(segments: list[Segment], title: str) -> None:
    lines = rttm_of(found(recording(title=title)), segments).splitlines()
    assert len(lines) == len(segments)
    fields = [line.split(" ") for line in lines]
    assert all(len(f) == 10 and all(f) for f in fields)
    assert all(f[0] == "SPEAKER" and f[3] == f"{s.start:.3f}" for f, s in zip(fields, segments, strict=True))
    assert len({f[7] for f in fields}) == len({s.speaker for s in segments})


@settings(max_examples=150, deadline=None)
@given(several, NASTY)
def test_json_is_what_is_stored_and_prints_harmlessly(segments: list[Segment], title: str) -> None:
    text = json_of(found(recording(title=title)), segments)
    assert not UNSAFE.search(text)
    tree = json.loads(text)
    assert tree["recording"]["title"] == title
    assert [(s["text"], s["speaker"], s["start"]) for s in tree["segments"]] == [(s.text, s.speaker, s.start) for s in segments]


@given(st.text(max_size=300))
def test_a_file_name_stays_in_its_folder(id: str) -> None:
    name = file_name(id)
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name)
    assert len(name) <= 150


def test_stamps_carry_over() -> None:
    text = srt_of(found(recording()), [segment(0, start=59.9996, end=3600 * 100 + 1.0004)])
    assert "00:01:00,000 --> 100:00:01,000" in text


# -- from a database --------------------------------------------------------------------------------------------------


@pytest.fixture
def recordings(database: Database) -> RecordingStore:
    recordings = RecordingStore(database)
    store(recordings, recording(1, title="[red]<b>title\x1b[0m", duration=30.0), segments(2, text="naïve <i>rings</i>"))
    return recordings


def test_the_json_export_has_the_promised_shape(recordings: RecordingStore) -> None:
    tree = document(recordings, "rec00001")
    assert list(tree) == ["recording", "segments"]
    assert tree["recording"] == {
        "id": "rec00001",
        "title": "[red]<b>title\x1b[0m",
        "source": "https://www.youtube.com/watch?v=1",
        "duration": 30.0,
    }
    first = tree["segments"][0]
    assert list(first) == ["start", "end", "speaker", "confidence", "provenance", "text", "words"]
    assert (first["start"], first["end"], first["speaker"], first["provenance"]) == (0.0, 9.25, "Speaker 1", "cluster")
    assert first["words"][1] == {
        "word": "<i>rings</i>",
        "start": 1.0,
        "end": 1.75,
        "probability": 0.9,
        "speaker": "Speaker 1",
        "overlap": True,
    }


@pytest.mark.parametrize("format", sorted(WRITERS))
def test_a_file_is_written_whole_under_our_own_name(recordings: RecordingStore, tmp_path: Path, format: str) -> None:
    target = export_recording(recordings, "rec00001", format, tmp_path / "new folder")
    assert target == tmp_path / "new folder" / f"rec00001.{format}"
    first = target.read_bytes()
    assert "rings" in first.decode() or format == "rttm"
    target.write_text("older")
    export_recording(recordings, "rec00001", format, tmp_path / "new folder")
    assert target.read_bytes() == first
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_what_cannot_be_exported_is_said_in_words(recordings: RecordingStore, tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="no recording"):
        export_recording(recordings, "none", "srt", tmp_path)
    with pytest.raises(Permanent, match="no recording"):
        document(recordings, "none")
    with pytest.raises(Permanent, match="unknown format"):
        export_recording(recordings, "rec00001", "exe", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(Permanent, match="cannot be written"):
        export_recording(recordings, "rec00001", "srt", tmp_path / "file")


def test_a_recording_without_speech_is_an_empty_transcript(recordings: RecordingStore, tmp_path: Path) -> None:
    store(recordings, replace(recording(2)), ())
    assert export_recording(recordings, "rec00002", "srt", tmp_path).read_text() == ""
    assert export_recording(recordings, "rec00002", "vtt", tmp_path).read_text() == "WEBVTT\n"
    assert json.loads(export_recording(recordings, "rec00002", "json", tmp_path).read_text())["segments"] == []


# -- subtitles, turns, what scorers read --------------------------------------------------------------------------------

PASSAGE = (
    "The fertilizer was too dry for the golden tomatoes. The teacher picked two golden tomatoes behind the greenhouse. I think the"
    " story was beautiful, but the old man did not believe it."
)


def spoken_at(start: float, text: str, speaker: str) -> Segment:
    words = tuple(Word(t, start + 0.4 * n, start + 0.4 * n + 0.35, 0.9, speaker) for n, t in enumerate(text.split()))
    return segment(0, text, words=words, speaker=speaker, start=start, end=words[-1].end)


def by_ffmpeg(path: Path) -> list[tuple[float, float, str]]:
    """The cues as a player reads them."""
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[0]
        return [
            (float(p.pts * p.time_base), float((p.pts + p.duration) * p.time_base), bytes(p).decode())
            for p in container.demux(stream)
            if p.size
        ]


@pytest.mark.parametrize("format", ["srt", "vtt"])
def test_a_player_reads_the_cues_as_they_were_cut(recordings: RecordingStore, tmp_path: Path, format: str) -> None:
    said = [spoken_at(1.0, PASSAGE, "Helen"), spoken_at(16.0, "Really? <b>Tomatoes</b> & all?", "Ravi")]
    store(recordings, recording(1), said)
    target = export_recording(recordings, "rec00001", format, tmp_path, CueStyle(speakers="change"))
    read = by_ffmpeg(target)
    for start, end, text in read:
        assert 1 <= round(end - start, 3) <= 7
        lines = text.splitlines()
        assert len(lines) <= 2
        assert all(len(html.unescape(re.sub("<[^>]*>", "", line))) <= 42 for line in lines)
    plain_text = html.unescape(re.sub("<v [^>]*>", "", " ".join(text for _, _, text in read))).translate(
        str.maketrans("＜＞", "<>")
    )
    words = [word for word in plain_text.split() if word not in ("Helen:", "Ravi:")]
    assert words == f"{PASSAGE} Really? <b>Tomatoes</b> & all?".split()
    if format == "vtt":
        assert {re.findall("<v ([^>]*)>", text)[0] for _, _, text in read} == {"Helen", "Ravi"}
    passages = by_ffmpeg(export_recording(recordings, "rec00001", format, tmp_path))
    assert len(passages) == 2


@pytest.mark.parametrize("format", sorted(WRITERS))
def test_persian_keeps_its_joiners_in_every_export(recordings: RecordingStore, tmp_path: Path, format: str) -> None:
    said = "می\u200cخواهم کتاب\u200cها"
    store(recordings, recording(1), [segment(0, said, speaker="خانه\u200cدار")], facts={"language": "fa"})
    for style in (None, CueStyle()):
        text = export_recording(recordings, "rec00001", format, tmp_path, style).read_text()
        assert "خانه\u200cدار" in text or format == "ctm" or (format == "srt" and style)
        assert "می\u200cخواهم" in text or format == "rttm"


DIARIZED = [[0.0, 4.0, "A"], [3.0, 6.0, "B"], [6.5, 9.0, "A"], [7.0, 7.5, "B"]]
TURNS = [
    [0.0, 3.4, "A", "Helen", "cluster", 0.9],
    [3.4, 6.0, "B", "Speaker 1", "cluster", None],
    [6.5, 9.0, "A", "Helen", "cluster", 0.9],
]


def test_rttm_holds_the_turns_with_their_overlaps_not_the_passages(recordings: RecordingStore, tmp_path: Path) -> None:
    store(recordings, recording(1), segments(2), facts={"language": "en", "diarized": DIARIZED, "turns": TURNS})
    rows = [line.split() for line in export_recording(recordings, "rec00001", "rttm", tmp_path).read_text().splitlines()]
    turns = [(float(r[3]), round(float(r[3]) + float(r[4]), 3), r[7]) for r in rows]
    names = {"A": "Helen", "B": "Speaker_1"}
    assert turns == sorted((start, end, names[cluster]) for start, end, cluster in DIARIZED)
    reference = [Spoken(start, end, cluster) for start, end, cluster in DIARIZED]
    assert diarization_error_rate(reference, [Spoken(*turn) for turn in turns]) == pytest.approx(0.0)


def test_a_cluster_of_two_people_is_cut_where_the_name_changes() -> None:
    turns = [[0.0, 2.0, "A", "Ada", "per segment", 0.9], [3.0, 5.0, "A", "Ben", "per segment", 0.9]]
    assert named_turns({"diarized": [[0.0, 5.0, "A"]], "turns": turns}, ()) == ((0.0, 2.5, "Ada"), (2.5, 5.0, "Ben"))
    assert named_turns({"turns": turns}, ()) == ((0.0, 2.0, "Ada"), (3.0, 5.0, "Ben"))


def test_what_scorers_read(recordings: RecordingStore, tmp_path: Path) -> None:
    store(recordings, recording(1), [segment(0, "naïve rings", speaker="Ada L"), segment(1, "and moons", speaker="Ada_L")])
    stm = export_recording(recordings, "rec00001", "stm", tmp_path).read_text().splitlines()
    assert stm == ["rec00001 1 Ada_L 0.000 9.250 naïve rings", "rec00001 1 Ada_L_2 10.000 19.250 and moons"]
    ctm = export_recording(recordings, "rec00001", "ctm", tmp_path).read_text().splitlines()
    assert ctm[0] == "rec00001 1 0.000 0.750 naïve 0.900"
    assert [float(line.split()[2]) for line in ctm] == [0.0, 1.0, 10.0, 11.0]
    rows = json.loads(export_recording(recordings, "rec00001", "seglst", tmp_path).read_text())
    assert rows[0] == {"session_id": "rec00001", "speaker": "Ada L", "start_time": 0.0, "end_time": 9.25, "words": "naïve rings"}
