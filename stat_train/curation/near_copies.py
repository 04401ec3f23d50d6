"""Near copies among questions: those that share so many of their words.

A question is the set of its different words, each number a 0, and two are compared by the Jaccard similarity of these
sets, |A and B| / |A or B|. MinHash (Broder 1997) finds the few that are worth comparing. Of the shingles that were
tried, single words know most variants with other numbers and other names, and still tell problems of one topic apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stat_train.curation.text_forms import numbers_masked, plain, words
from stat_train.tasks.text import normalised

if TYPE_CHECKING:
    from datasketch import MinHash

HASHES = 256
# The chance that MinHash overlooks a text that is just similar enough.
MISSED_SHARE = 1e-6


class NearCopies:
    """Texts to which others are compared; all processes find the same, whatever their hash seed.

    `similarity`, 0 to 1, is the least Jaccard similarity of a near copy; None: only equal texts are.
    """

    def __init__(self, similarity: float | None) -> None:
        from datasketch import MinHashLSH

        self._similarity = similarity
        self._added: list[tuple[str, frozenset[str]]] = []
        self._equal: dict[str, str] = {}
        self._ids: set[str] = set()
        rows = _rows_per_band(similarity) if similarity is not None else 0
        self._index = MinHashLSH(num_perm=HASHES, params=(HASHES // rows, rows)) if rows else None

    def add(self, id: str, text: str) -> None:
        """Add a text that later ones are compared with; one without words is a near copy of none."""
        # The same references are shown again and again.
        if self._equal.setdefault(normalised(text), id) != id or id in self._ids:
            return
        self._ids.add(id)
        found = _different_words(text) if self._similarity is not None else None
        if found and self._index:
            self._index.insert(len(self._added), _hashes(found))
        if found:
            self._added.append((id, found))

    def find(self, text: str) -> str | None:
        """Return the id of the text that is most similar and similar enough, the first added of several, or None."""
        if self._similarity is None:
            return self._equal.get(normalised(text))
        found = _different_words(text)
        if not found:
            return None
        candidates = self._index.query(_hashes(found)) if self._index else range(len(self._added))
        similar = {number: _jaccard(found, self._added[number][1]) for number in candidates}
        best = max(similar, key=lambda number: (similar[number], -number), default=None)
        return None if best is None or similar[best] < self._similarity else self._added[best][0]


def _different_words(text: str) -> frozenset[str]:
    return frozenset(words(numbers_masked(plain(text))))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)


def _hashes(found: frozenset[str]) -> MinHash:
    from datasketch import MinHash

    hashes = MinHash(num_perm=HASHES)
    hashes.update_batch([word.encode(errors="surrogatepass") for word in found])
    return hashes


def _rows_per_band(similarity: float) -> int:
    """Return the most rows of a band with which `MISSED_SHARE` is kept; 0 when every text must be compared.

    Two texts of similarity s have equal bands of r hashes with chance s^r, and no equal band of b with (1 - s^r)^b.
    """
    kept = [r for r in range(1, HASHES // 2 + 1) if (1 - similarity**r) ** (HASHES // r) <= MISSED_SHARE]
    return max(kept, default=0)
