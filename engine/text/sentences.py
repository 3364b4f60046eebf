"""Where sentences and clauses end, by punctuation alone. Pure."""

from __future__ import annotations

_CLOSERS = "\"'”’»)]}」』》〉】〗〕）］｝｣"
_ENDS = tuple(".?!…‥。！？｡．؟۔।॥።፧၏။។៕៚།༎᠃᥄᭞꓿։‼⁇⁈⁉")
"""Full stops and question marks of Latin, Greek, Cyrillic, CJK, Arabic, Urdu, Indic, Ethiopic, Burmese, Khmer, Tibetan, Mongolian,
Limbu, Balinese, Lisu and Armenian writing; Thai and Lao end sentences by a space."""
_CLAUSES = tuple(",;:–—、，；：､،؛፣፤፥၊៖༔᠂")
_SHORT = {"mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "e.g", "i.e", "jr", "sr", "inc", "ltd", "approx", "bzw", "z.b"}
"""Abbreviations whose full stop ends no sentence."""

_SPACELESS = {"zh", "ja", "yue", "th", "lo", "my", "km", "bo"}


def spaced(language: str) -> bool:
    """Whether a language puts spaces between its words."""
    return language not in _SPACELESS


def sentence_end(word: str) -> bool:
    """Whether a sentence ends with this word: "wall.", 'wall."' but not "Dr." or "J."."""
    bare = word.strip().rstrip(_CLOSERS)
    if not bare.endswith(_ENDS):
        return False
    stem = bare.rstrip(".").lstrip("\"'“‘(").lower()
    return not bare.endswith(".") or not (stem in _SHORT or (len(stem) == 1 and stem.isalpha() and stem != "i"))


def clause_end(word: str) -> bool:
    """Whether a clause ends with this word, by a comma or its like."""
    return word.strip().rstrip(_CLOSERS).endswith((*_CLAUSES, *_ENDS))
