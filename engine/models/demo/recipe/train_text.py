"""Training of the text model: one vector per word of the grammar, so that a few words of a sentence find it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gainstage.engine.models import quiet
from gainstage.engine.models.demo.recipe import grammar

_NUMBERS = 64
_BATCH, _STEPS = 128, 400
_STOP = frozenset(
    re.findall(
        r"\w+",
        """the a an of to and in at on was is are with for from that it we i did you very more less need not but be there were
        as my his her our""",
    )
)


def train(folder: Path, *, report: Callable[[str], None]) -> None:
    """Train from nothing (half a minute) and write a folder for sentence-transformers."""
    torch.manual_seed(0)
    rng = random.Random(0)
    with quiet.importing():
        model = _fresh()
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
        for step in range(_STEPS):
            said = [grammar.sentence(rng) for _ in range(_BATCH)]
            asked = [query(text, rng) for text in said]
            likeness = 20 * _vectors(model, asked) @ _vectors(model, said).T
            loss = torch.nn.functional.cross_entropy(likeness, torch.arange(_BATCH))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if (step + 1) % 100 == 0:
                report(f"text step {step + 1}: loss {loss.item():.3f}")
        model.save(str(folder))


def retrieval(folder: Path, queries: int = 300) -> tuple[float, float]:
    """Shares of queries of 2 to 4 content words whose sentence comes first, and among the first five, of some 900 sentences."""
    with quiet.importing():
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(folder), device="cpu")
        rng = random.Random(1)
        texts = sorted({grammar.sentence(rng) for _ in range(1000)})
        chosen = rng.sample(range(len(texts)), queries)
        scores = model.encode([query(texts[k], rng) for k in chosen]) @ model.encode(texts).T
    ranks = (scores > scores[np.arange(queries), chosen][:, None]).sum(1)
    return float((ranks == 0).mean()), float((ranks < 5).mean())


def query(text: str, rng: random.Random) -> str:
    """Two to four of the content words of a sentence, in any order."""
    words = [word for word in re.findall(r"[a-z']+", text.lower()) if word not in _STOP]
    rng.shuffle(words)
    return " ".join(words[: rng.randint(2, 4)])


def _fresh() -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, StaticEmbedding
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    words = sorted({word.lower() for word in grammar.vocabulary()})
    tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate(["[UNK]", *words])}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    embedding = StaticEmbedding(tokenizer, embedding_dim=_NUMBERS)
    torch.nn.init.normal_(embedding.embedding.weight, std=0.5)
    return SentenceTransformer(modules=[embedding, Normalize()], device="cpu")


def _vectors(model: Any, texts: list[str]) -> torch.Tensor:
    vectors: torch.Tensor = model(model.preprocess(texts))["sentence_embedding"]
    return vectors
