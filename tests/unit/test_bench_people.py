"""The bench of the number of people: who is in a talk, and what its table says."""

from __future__ import annotations

from gainstage.engine.bench.people import MOST, piece, table


def test_talks_have_one_to_six_people_and_the_same_number_is_the_same_talk() -> None:
    titles = [piece(number).title.split()[0] for number in range(2 * MOST)]
    assert titles == [str(n) for n in range(1, MOST + 1)] * 2
    assert piece(3).file == piece(3).file != piece(4).file


def test_the_table_names_the_talks_with_a_wrong_number() -> None:
    rows = [
        {"seed": 0, "seconds": 45, "people": 1, "diarizer": 1, "named": 1},
        {"seed": 9, "seconds": 96, "people": 4, "diarizer": 3, "named": 4},
    ]
    share = {"value": 0.5, "low": 0.0, "high": 1.0}
    text = table({"rows": rows, "diarizer": share, "named": share | {"value": 1.0}})
    assert "clusters of the diarizer       50%  0% to 100%" in text
    assert "people in the named turns     100%" in text
    assert text.splitlines()[-1] == "number 9, 96 s: 4 people, 3 clusters, 4 named"
