"""The script for a GPU works from end to end: on a CPU, with small networks."""

from __future__ import annotations

import json

from tests.cli_kit import told


def test_every_part_runs_on_a_cpu() -> None:
    result = told("bench", "gpu", "--device", "cpu", "--tiny", "--minutes", "8")
    assert result["device"] == "cpu"
    errors = {name: part["error"] for name, part in result["parts"].items() if "error" in part}
    assert not errors, json.dumps(errors)
    rows = {name: part["rows"] for name, part in result["parts"].items()}
    assert all(row["fine"] for row in rows["install"])
    assert [row["way"] for row in rows["voices"]] == ["one_by_one", "arrival_order", "ours", "floor"]
    assert {row["dtype"] for row in rows["texts"]} == {"float32", "bfloat16"}
    assert [row["batch"] for row in rows["recogniser"]] == [1, 2]
    assert [row["engine"] for row in rows["diarizer"]] == ["stock", "stacked", "once"]
    assert rows["end to end"][0]["words"] > 50
    assert [(row["way"], row["recordings"]) for row in rows["end to end, real size"]] == [("ours", 1), ("plain script", 1)]
    assert rows["out of memory"][0]["refused"] == [-1]
    assert rows["out of memory"][0]["fine"]
    assert all(value > 0 for part in rows.values() for row in part for key, value in row.items() if key in ("rtfx", "texts_per_s"))
