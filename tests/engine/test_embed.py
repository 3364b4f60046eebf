"""The real text model, small: normalised vectors that mean something, the same in any batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from speech_kit import models

from gainstage.engine.text.embed import TextEncoder

TEXTS = [
    "My sister planted seven yellow roses near the stone wall.",
    "The captain left the harbour at night.",
    "We watched the comet through the telescope.",
    "roses",
]


def encoder() -> TextEncoder:
    return models().text_encoder()


def test_vectors_are_float32_of_length_one_and_as_wide_as_the_id_says() -> None:
    vectors = encoder().encode(TEXTS)
    assert vectors.shape == (len(TEXTS), encoder().id.dimension)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_query_finds_its_sentence() -> None:
    (query,) = encoder().encode(["yellow roses at the wall"], query=True)
    assert int((encoder().encode(TEXTS[:3]) @ query).argmax()) == 0


def test_a_text_has_the_same_vector_alone_and_in_any_batch() -> None:
    together = encoder().encode(TEXTS * 5)
    for k, text in enumerate(TEXTS):
        assert np.allclose(encoder().encode([text])[0], together[k], atol=1e-5)


def test_nothing_gives_nothing_and_no_word_gives_no_direction() -> None:
    assert encoder().encode([]).shape == (0, encoder().id.dimension)
    assert not encoder().encode([""]).any()


def test_threads_take_turns() -> None:
    expected = encoder().encode(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: encoder().encode(TEXTS), range(8)):
            assert np.array_equal(found, expected)
