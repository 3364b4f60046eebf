"""What a recording's detail says in words: its facts, the account of its speech, its speakers."""

from __future__ import annotations

from typing import Any

from gainstage.engine.options import RecordingOptions
from gainstage.engine.store.database import Database
from gainstage.engine.text.captions import in_words


def _account(account: dict[str, Any]) -> str:
    """Where the speech seconds of a recording went, and the first places left without words."""
    text = (
        f"{account['speech_s']:.1f} s = {account['worded_s']:.1f} under words + {account['judged_silent_s']:.1f} judged non-speech"
        f" + {account['left_s']:.1f} left"
    )
    if account["left"]:
        places = ", ".join(f"{start:.0f}-{end:.0f} s" for start, end in account["left"][:5])
        text += f" ({places}{', ...' if len(account['left']) > 5 else ''})"
    if account["stray_words"]:
        text += f"; {account['stray_words']} words without speech ({account['stray_s']:.1f} s)"
    return text


def facts_shown(facts: dict[str, Any], revision: int | None, options: RecordingOptions) -> tuple[tuple[str, str], ...]:
    """What is worth reading of a recording's facts; turns are for programs."""
    instead = (facts.get("captions") or {}).get("word_times")
    said = [("options", str(options)), ("words" if instead else "recogniser", facts.get("recogniser"))]
    said.append(("language", facts.get("language")))
    if (probability := facts.get("language_probability")) is not None and said[2][1] and not instead:
        said[2] = ("language", f"{facts['language']} {probability:.2f}")
    said.append(("captions", in_words(facts)))
    if (mean := facts.get("average_log_probability")) is not None:
        said.append(("mean log-probability", f"{mean:.2f}"))
    said.append(("fast path", "taken" if facts.get("fast_path") else "not taken"))
    if facts.get("overlap_s"):
        said.append(("overlapped speech", f"{facts['overlap_s']:.1f} s"))
    if facts.get("looped"):
        said.append(("repetition loops", str(len(facts["looped"]))))
    if account := facts.get("coverage"):
        said.append(("speech", _account(account)))
    said.append(("settings revision", str(revision or 0)))
    return tuple((name, str(value)) for name, value in said if value)


def speakers(db: Database, id: str) -> tuple[tuple[str, float], ...]:
    """Who speaks in a recording and for how many seconds, most first."""
    with db.connection() as connection:
        rows = connection.execute(
            "select speaker, sum(end_s - start_s)::float8 from segment where recording = %s group by speaker order by 2 desc, 1",
            [id],
        )
        return tuple((str(name), float(seconds)) for name, seconds in rows)
