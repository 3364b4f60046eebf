"""The first lines of a run's report, word by word."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from gainstage.engine.advisor.run_summary import summary_lines
from gainstage.engine.views.run_report import RunReport
from gainstage.engine.views.runs import RunRow

DAY = datetime(2026, 3, 4, 5, 6, 7).timestamp()
RUN = RunRow(
    id=3, name="shows", kind="run", sources=("a", "b"), added_wall=DAY, began_wall=None, ended_wall=None, work_s=600.0, energy_j=None,
    queued=1, running=2, stored=1000, failed=0, skipped=0, cancelled=0, retrying=0, audio_done_s=7200.0, audio_left_s=0.0,
)  # fmt: skip
REPORT = RunReport(RUN, (), (), (), (), {}, (), ())


def test_a_run_that_was_only_added() -> None:
    lines = summary_lines(replace(REPORT, run=replace(RUN, stored=0, audio_done_s=0.0, work_s=0.0, sources=())))
    assert lines == ["3 recordings: 3 to do", "added 2026-03-04 05:06:07", "energy is not known: no GPU reports it"]


def test_a_run_with_everything() -> None:
    run = replace(RUN, failed=1, skipped=2, cancelled=3, began_wall=DAY + 1, ended_wall=DAY + 2, sources=tuple("abcdefg"))
    coverage = {"speech_s": 100.0, "worded_s": 90.0, "judged_silent_s": 4.0, "left_s": 6.0}
    assert summary_lines(replace(REPORT, run=run, coverage=coverage, kwh=0.5)) == [
        "1,009 recordings: 1,000 stored, 1 failed, 2 skipped, 3 cancelled, 3 to do",
        "from a, b, c, d, e and 2 more",
        "added 2026-03-04 05:06:07, begun 2026-03-04 05:06:08, ended 2026-03-04 05:06:09",
        "2h00m of audio stored in 10m00s of work: 12.0x real time",
        "1m40s of speech: 1m30s under words, 4s judged non-speech, 6s left",
        "0.500 kWh by the GPUs, 0.2500 kWh per hour of audio",
    ]


def test_five_sources_are_named_in_full_and_energy_without_audio_has_no_rate() -> None:
    lines = summary_lines(replace(REPORT, run=replace(RUN, sources=tuple("abcde"), audio_done_s=0.0), kwh=0.25))
    assert lines[1] == "from a, b, c, d, e"
    assert summary_lines(replace(REPORT, run=replace(RUN, sources=tuple("abcdef"))))[1] == "from a, b, c, d, e and 1 more"
    assert lines[-1] == "0.250 kWh by the GPUs"


def test_of_several_engines_sixteen_are_named_with_what_each_stored() -> None:
    def engines(number: int) -> list[str]:
        named = tuple((f"engine-{n}", 1000 * n) for n in range(1, number + 1))
        return [line for line in summary_lines(replace(REPORT, engines=named)) if line.startswith("stored by")]

    sixteen = ", ".join(f"engine-{n} {1000 * n:,}" for n in range(1, 17))
    assert engines(1) == []
    assert engines(2) == ["stored by 2 engines: engine-1 1,000, engine-2 2,000"]
    assert engines(16) == [f"stored by 16 engines: {sixteen}"]
    assert engines(17) == [f"stored by 17 engines: {sixteen} and 1 more"]
    assert engines(20) == [f"stored by 20 engines: {sixteen} and 4 more"]
