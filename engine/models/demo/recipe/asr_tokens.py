"""The recogniser's tokens: every word of the grammar is one, then Whisper's specials and timestamps."""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from gainstage.engine.models.demo.recipe import grammar

_SPECIALS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)
TIMESTAMP_S = 0.02
_TIMESTAMPS = 1501


class Token(NamedTuple):
    """A token of a text: which word it belongs to, and whether it is the word or the punctuation after it."""

    id: int
    word: int
    is_word: bool


class Tokens:
    """A tokenizer with the ids that training needs by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tokenizer = Tokenizer.from_file(str(path))
        self.size: int = self.tokenizer.get_vocab_size()
        self.end = self._id("<|endoftext|>")
        self.start = self._id("<|startoftranscript|>")
        self.no_speech = self._id("<|nospeech|>")
        self.no_timestamps = self._id("<|notimestamps|>")
        self.first_timestamp = self.no_timestamps + 1
        self.space: int = self.tokenizer.encode(" ").ids[0]

    def _id(self, token: str) -> int:
        found = self.tokenizer.token_to_id(token)
        if found is None:
            raise LookupError(f"{self.path} lacks {token}")
        return int(found)

    def timestamp(self, seconds: float) -> int:
        """The token of a time."""
        return self.first_timestamp + min(_TIMESTAMPS - 1, max(0, round(seconds / TIMESTAMP_S)))

    def encode(self, text: str) -> list[Token]:
        """The tokens of a sentence as it stands in a transcript, after a space."""
        encoded = self.tokenizer.encode(" " + text)
        found: list[Token] = []
        word = -1
        for id, token in zip(encoded.ids, encoded.tokens, strict=True):
            starts = token.startswith("Ġ")
            word += starts
            found.append(Token(id, word, starts))
        return found


def build(path: Path) -> Tokens:
    """Train the tokenizer on the grammar and write it. Words carry the space before them, as Whisper's do; the lone ``-`` and
    ``'`` are there so that faster-whisper finds tokens to suppress."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    rng = random.Random(0)
    words = grammar.vocabulary()
    corpus = [" " + grammar.sentence(rng) for _ in range(20_000)] + [" " + grammar.salad(rng) for _ in range(20_000)]
    corpus += [" - ' ♪"] * 50 + [" " + form for word in words for form in (word, word[0].upper() + word[1:])] * 20
    trainer = trainers.BpeTrainer(
        vocab_size=4000, min_frequency=20, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens(list(_SPECIALS))
    tokenizer.add_special_tokens([f"<|{k * TIMESTAMP_S:.2f}|>" for k in range(_TIMESTAMPS)])
    tokenizer.save(str(path))
    return Tokens(path)
