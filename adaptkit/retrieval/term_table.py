"""Terms in SQLite's FTS5, ranked by BM25.

The terms are ours (see `adaptkit.retrieval.terms`), so the tokenizer is ``ascii``, which cuts at our spaces and nowhere
else and is in every FTS5. The table is contentless: it tells numbers of texts that lie elsewhere. What leaves it must
be taken out by the same terms that went in, so it notes who made them, and is filled anew where that was another
adaptkit or another edition of Unicode.
"""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Iterable

from adaptkit.errors import UnsupportedError
from adaptkit.retrieval.terms import VERSION, Terms, terms_to_find

__all__ = ["TermTable", "require_fts5"]

_MADE_BY = f"{VERSION}/{unicodedata.unidata_version}"
#: What a term in `words` and one in `parts` count, measured by benchmarks/retrieval.py.
_WEIGHTS = (1.0, 0.3)
#: Texts that a question's terms may touch, from the rarest term on: bounds the work of a question, and leaves out the
#: words that say nothing, in any language.
_LOOKED_AT = 10_000
_MOST_COUNTS = 20_000  # terms whose number of texts is remembered


class TermTable:
    """The tables ``terms`` and ``terms_made_by`` of a connection; one thread at a time.

    Keep one for as long as the connection: it remembers how common terms are, which takes longest to find out.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection.execute
        self._counts: dict[str, list[tuple[str, int]]] = {}
        self._version = -1  # of the file, which others may have changed

    def create(self, filled: Iterable[tuple[int, Terms]] = ()) -> None:
        """Make the tables, anew if they are there, and fill them."""
        self._counts.clear()
        self._run("DROP TABLE IF EXISTS temp.terms_known")
        self._run("DROP TABLE IF EXISTS terms")
        self._run("DROP TABLE IF EXISTS terms_made_by")
        self._run("CREATE VIRTUAL TABLE terms USING fts5(words, parts, content='', tokenize='ascii')")
        self._run("CREATE TABLE terms_made_by (version TEXT NOT NULL)")
        self._run("INSERT INTO terms_made_by VALUES (?)", (_MADE_BY,))
        for number, terms in filled:
            self.add(number, terms)

    def current(self) -> bool:
        """Whether the terms are those that this process makes."""
        return self._run("SELECT version FROM terms_made_by").fetchall() == [(_MADE_BY,)]

    def add(self, number: int | None, terms: Terms) -> None:
        """Put a text in."""
        self._counts.clear()
        row = (number, " ".join(terms.words), " ".join(terms.parts))
        self._run("INSERT INTO terms (rowid, words, parts) VALUES (?, ?, ?)", row)

    def remove(self, number: int, terms: Terms) -> None:
        """Take a text out, by the terms that it was put in with."""
        self._counts.clear()
        row = (number, " ".join(terms.words), " ".join(terms.parts))
        self._run("INSERT INTO terms (terms, rowid, words, parts) VALUES ('delete', ?, ?, ?)", row)

    def find(self, question: str, k: int) -> list[tuple[int, float]]:
        """Numbers and scores of the texts that have most in common with a question, best first."""
        match = " OR ".join(self._rarest(question))
        if not match:
            return []
        ranked = "SELECT rowid, -bm25(terms, ?, ?) AS score FROM terms WHERE terms MATCH ?"
        found = self._run(f"{ranked} ORDER BY score DESC, rowid LIMIT ?", (*_WEIGHTS, match, k))
        return found.fetchall()

    def _rarest(self, question: str) -> list[str]:
        """FTS5 expressions of a question's terms, from the rarest on, while they touch few enough texts.

        Terms hold letters, digits and marks only, and stand in quotes, so nothing in a question is ever read as syntax.
        """
        (words, parts), beginnings = terms_to_find(question)
        self._forget_what_changed()
        asked = {"words": set(words), "parts": set(parts)}
        counted: list[tuple[int, str]] = []
        for term in dict.fromkeys(words + parts):
            for column, number in self._count(term, term):
                if term in asked[column]:
                    counted.append((number, f'{column} : "{term}"'))
        for start in beginnings:
            counts = dict(self._count(start, start + "\U0010ffff"))
            counted.append((counts.get("words", 0), f'words : "{start}" *'))
        kept: list[str] = []
        touched = 0
        for number, term in sorted(counted):
            touched += number
            if kept and touched > _LOOKED_AT:
                break
            if number:
                kept.append(term)
        return kept

    def _forget_what_changed(self) -> None:
        version = self._run("PRAGMA data_version").fetchone()[0]
        if version != self._version or len(self._counts) > _MOST_COUNTS:
            self._counts.clear()
            self._version = version
        # each time, because a transaction that is rolled back takes it along
        self._run("CREATE VIRTUAL TABLE IF NOT EXISTS temp.terms_known USING fts5vocab(main, terms, col)")

    def _count(self, first: str, last: str) -> list[tuple[str, int]]:
        """In how many texts terms from one to another stand, by column."""
        key = f"{first} {last}"
        if key not in self._counts:
            count = "SELECT col, sum(doc) FROM temp.terms_known WHERE term BETWEEN ? AND ? GROUP BY col"
            self._counts[key] = self._run(count, (first, last)).fetchall()
        return self._counts[key]


def require_fts5(connection: sqlite3.Connection) -> None:
    """See that FTS5 is there.

    Raises:
        UnsupportedError: it is not.
    """
    try:
        connection.execute("CREATE VIRTUAL TABLE temp.probe USING fts5(words, content='', tokenize='ascii')")
        connection.execute("DROP TABLE temp.probe")
    except sqlite3.OperationalError as error:
        if "no such module" not in str(error):
            raise
        raise UnsupportedError(
            f"this Python's SQLite {sqlite3.sqlite_version} was built without FTS5, which finds passages here: take a "
            "Python from python.org, your distribution, conda or uv, which have it, or use PostgresRetriever"
        ) from error
