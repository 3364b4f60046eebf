"""The people who are known by voice."""

from __future__ import annotations

from gainstage.engine.views.rows import ProfileRow
from gainstage.tui.render import format as fmt
from gainstage.tui.render.cells import Line
from gainstage.tui.render.theme import Palette
from gainstage.tui.widgets.table import Column, Table


class ProfilesPanel(Table[ProfileRow]):
    TITLE = "voices enrolled"
    COLUMNS = (
        Column("name", "NAME", 14, grow=True, keep=10),
        Column("version", "V", 3, ">", keep=3),
        Column("exemplars", "VOICES", 6, ">", keep=5),
        Column("seconds", "SPEECH", 6, ">", keep=6),
        Column("cohesion", "COHES", 5, ">", keep=7),
        Column("threshold", "THRESH", 6, ">", keep=8),
        Column("nearest", "NEAREST", 22, keep=4),
        Column("provenance", "FROM", 24, keep=2),
    )

    def __init__(self) -> None:
        super().__init__(id="profiles")

    def key_of(self, item: ProfileRow) -> str:
        return str(item.id)

    def corner(self, p: Palette) -> Line:
        return Line().add("gainstage voices enrol NAME FILE", p["faint"])

    def nothing(self, p: Palette) -> list[Line]:
        return [
            Line().add('  No voice profile: every speaker stays "Speaker 1, 2 …".', p["muted"]),
            Line().add("  gainstage voices enrol NAME FILE", p["accent"]),
        ]

    def mark(self, item: ProfileRow) -> tuple[str, str]:
        return ("●", "accent") if item.primary else (" ", "text")

    def cell(self, item: ProfileRow, key: str, width: int, p: Palette) -> Line | tuple[str, str]:
        match key:
            case "name":
                return item.name, "bright" if item.primary else "text"
            case "version":
                return f"v{item.version}", "muted"
            case "exemplars":
                return fmt.brief(item.exemplars), "text"
            case "seconds":
                return fmt.roughly(item.seconds), "muted"
            case "cohesion":
                return fmt.decimal(item.cohesion, 2), "text"
            case "threshold":
                value = fmt.decimal(item.threshold, 2)
                if item.threshold is None and item.suggested is not None:
                    return f"({fmt.decimal(item.suggested, 2)})", "faint"
                return value, "text"
            case "nearest":
                return (f"{item.nearest[0]} {fmt.decimal(item.nearest[1], 2)}" if item.nearest else fmt.UNKNOWN), "muted"
            case "provenance":
                return item.provenance, "muted"
        return "", "text"
