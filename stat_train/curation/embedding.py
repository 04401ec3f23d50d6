"""Which pool questions are nearest to others in their words, for the baselines Embed-Sel and Embed-Syn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from stat_train.curation.source import Source
from stat_train.errors import UserError
from stat_train.records import Question

if TYPE_CHECKING:
    from stat_train.curation.source import Integers

TFIDF = "tfidf"
# Blocks of similarities that are held at a time: 64 million, 256 MB.
SIMILARITIES = 64_000_000
# Of which the nearest are sorted at once; further ones take another look at the pool.
BLOCKS = 8


def nearest_rows(source: Source, questions: Sequence[Question], count: int, embedder: str) -> Iterator[Integers]:
    """Yield the rows of the pool nearest to each question (questions x `count`): the first ones, then the next ones.

    Nearness is the cosine of the vectors of the questions' texts; of rows that are equally near the first counts. It
    ends with the pool, so the last block may have fewer.
    """
    if not questions:
        raise UserError(
            "data_recipe: no validation question is difficult for the student, so there is nothing to be near to. Use "
            "harder validation questions, another difficulty, or data_recipe=random"
        )
    if not len(source.rows):
        return
    pool, asked = _vectors(source, [question.question for question in questions], embedder)
    known, width = _nearest(pool, asked, 0), 0
    for start in range(0, len(source.rows), count):
        if min(start + count, len(source.rows)) > width:
            width = min(len(source.rows), max(2 * width, BLOCKS * count))
            known = _nearest(pool, asked, width)
        yield source.rows[known[:, start : start + count]]


def _vectors(source: Source, asked: Sequence[str], embedder: str) -> tuple[Any, Any]:
    """Return the vectors of the usable pool questions and of those asked about, each of length one."""
    texts = source.pool.select_columns(["question"])[source.rows.tolist()]["question"]
    if embedder == TFIDF:
        import numpy
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True, dtype=numpy.float32)
        return vectorizer.fit_transform(texts), vectorizer.transform(asked)
    model = sentence_encoder(embedder)
    pool, others = (
        model.encode(list(some), normalize_embeddings=True, show_progress_bar=len(some) > 1000)
        for some in (texts, asked)
    )
    return pool, others


def sentence_encoder(name: str) -> Any:
    """Return a sentence-transformers model; raises UserError when it, or the package, is not there."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UserError(
            f"data_recipe.embedder = {name}: needs sentence-transformers; pip install 'stat-train[embed]', or use "
            f"data_recipe.embedder={TFIDF}"
        ) from error
    try:
        return SentenceTransformer(name)
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(
            f"data_recipe.embedder = {name}: cannot be loaded ({first}); expected a folder or a hub name of a "
            f"sentence-transformers model, or {TFIDF}"
        ) from error


def _nearest(pool: Any, asked: Any, width: int) -> Integers:
    """Return the places of the `width` nearest pool vectors for each question, nearest first."""
    import numpy

    found = numpy.zeros((asked.shape[0], width), numpy.int64)
    step = max(1, SIMILARITIES // max(1, pool.shape[0]))
    for start in range(0, asked.shape[0] if width else 0, step):
        product = pool @ asked[start : start + step].T
        near = (product.toarray() if hasattr(product, "toarray") else product).T
        for place, row in enumerate(near):
            found[start + place] = _largest(row, width)
    return found


def _largest(values: Any, count: int) -> Integers:
    """Return the places of the largest values, largest first; of equal ones the first, however many are asked for."""
    import numpy

    least = -numpy.partition(-values, count - 1)[count - 1]
    larger = numpy.flatnonzero(values > least)
    equal = numpy.flatnonzero(values == least)[: count - len(larger)]
    among = numpy.concatenate([larger, equal])
    order: Integers = among[numpy.argsort(-values[among], kind="stable")]
    return order
