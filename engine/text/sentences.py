"""Ends of sentences and clauses, from punctuation alone. Pure."""

from __future__ import annotations

import re

_CLOSERS = "\"'”’»)]}」』》〉】〗〕）］｝｣"
_ENDS = tuple(".?!…‥。！？｡．؟۔।॥።፧၏။។៕៚།༎᠃᥄᭞꓿։‼⁇⁈⁉")
"""Full stops and question marks of Latin, Greek, Cyrillic, CJK, Arabic, Urdu, Indic, Ethiopic, Burmese, Khmer, Tibetan, Mongolian,
Limbu, Balinese, Lisu and Armenian writing; Thai and Lao end sentences by a space."""
_CLAUSES = tuple(",;:–—、，；：､،؛፣፤፥၊៖༔᠂")
_SHORT = {"mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "e.g", "i.e", "jr", "sr", "inc", "ltd", "approx", "bzw", "z.b"}
"""Abbreviations whose full stop does not end a sentence."""

_GREEK = re.compile("[\u0370-\u03ff\u1f00-\u1fff]")

_SPACELESS = {"zh", "ja", "yue", "th", "lo", "my", "km", "bo"}


def spaced(language: str) -> bool:
    """Whether a language is written with spaces between words."""
    return language not in _SPACELESS


def sentence_end(word: str) -> bool:
    """Whether a sentence ends with this word: "wall.", 'wall."' but not "Dr." or "J."."""
    bare = word.strip().rstrip(_CLOSERS)
    if bare.endswith(";") and _GREEK.match(bare[-2:]):  # its question mark
        return True
    if not bare.endswith(_ENDS):
        return False
    stem = bare.rstrip(".").lstrip("\"'“‘(").lower()
    initial = len(stem) == 1 and stem.upper() != stem and stem != "i"  # one sign of a script without capitals may be a word
    return not bare.endswith(".") or not (stem in _SHORT or initial)


def clause_end(word: str) -> bool:
    """Whether a clause ends with this word, with a comma or a similar mark."""
    return word.strip().rstrip(_CLOSERS).endswith((*_CLAUSES, *_ENDS))
