"""How well passages are found in each language, and how fast, beside FTS5 with its own tokenizers.

    python benchmarks/retrieval.py [--passages 20000]

The set (benchmarks/retrieval.jsonl) holds ten short texts of a shop's handbook in each of twelve languages, and for
each text a question as a customer would type it: other word forms, compounds taken apart, tone marks left out. All
texts of all languages lie in one index. A question is right where its text is among the first k. In the baselines the
question's words (or, with trigrams, all its runs of three) are looked for with OR and ranked by bm25, as ours are.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from adaptkit.retrieval import Chunking, Document, Fts5Retriever

SET = Path(__file__).with_suffix(".jsonl")
#: What FTS5 does by itself, and with the best settings that it has for spaced and for unspaced scripts.
TOKENIZERS = {
    "default": "unicode61",
    "marks": "unicode61 remove_diacritics 0 categories 'L* N* Co Mn Mc'",
    "trigram": "trigram",
}
Search = Callable[[str, int], list[str]]


def load() -> list[dict[str, object]]:
    return [json.loads(line) for line in SET.read_text(encoding="utf-8").splitlines()]


def documents(rows: list[dict[str, object]]) -> list[Document]:
    named = [(f"{row['language']}/{at}", text) for row in rows for at, text in enumerate(row["documents"])]
    return [Document(source=source, text=text) for source, text in named]


def ours(found: list[Document], path: str = ":memory:") -> Search:
    index = Fts5Retriever(path, chunking=Chunking(tokens=400))
    index.sync(found)
    return lambda question, k: [passage.source for passage in index.search(question, k)]


def baseline(found: list[Document], tokenizer: str) -> Search:
    connection = sqlite3.connect(":memory:")
    connection.execute(f'CREATE VIRTUAL TABLE terms USING fts5(id UNINDEXED, text, tokenize="{tokenizer}")')
    connection.executemany("INSERT INTO terms VALUES (?, ?)", [(each.source, each.text) for each in found])

    def search(question: str, k: int) -> list[str]:
        terms = re.sub(r'["\0]', " ", question).split()
        if tokenizer == "trigram":
            whole = " ".join(terms)
            terms = [whole[at : at + 3] for at in range(len(whole) - 2)]
        if not terms:
            return []
        match = " OR ".join(f'"{term}"' for term in dict.fromkeys(terms))
        statement = "SELECT id FROM terms WHERE terms MATCH ? ORDER BY bm25(terms) LIMIT ?"
        return [row for (row,) in connection.execute(statement, (match, k))]

    return search


def recall(search: Search, row: dict[str, object], k: int) -> float:
    questions = list(enumerate(row["questions"]))
    return sum(f"{row['language']}/{at}" in search(question, k) for at, question in questions) / len(questions)


def quality() -> None:
    rows = load()
    found = documents(rows)
    searches = {"adaptkit": ours(found), **{name: baseline(found, each) for name, each in TOKENIZERS.items()}}
    for k in (1, 3):
        print(f"recall@{k:<3}" + "".join(f"{name:>10}" for name in searches) + "     ratio to default")
        totals = dict.fromkeys(searches, 0.0)
        for row in rows:
            scores = {name: recall(search, row, k) for name, search in searches.items()}
            totals = {name: totals[name] + score / len(rows) for name, score in scores.items()}
            print(line(str(row["language"]), scores))
        print(line("all", totals) + "\n")


def line(label: str, scores: dict[str, float]) -> str:
    ratio = f"{scores['adaptkit'] / scores['default']:.2f}" if scores["default"] else "found nothing"
    return f"{label:10}" + "".join(f"{score:10.2f}" for score in scores.values()) + f"     {ratio}"


def speed(passages: int) -> None:
    """Texts of 80 words from a Zipf-like vocabulary; the baseline is the default tokenizer in memory."""
    rng = random.Random(0)
    syllables = ["ta", "re", "mi", "so", "lan", "der", "que", "ver", "ist", "om", "pa", "ce", "lo", "un", "ka", "ri"]
    words = sorted({"".join(rng.choices(syllables, k=rng.randint(1, 5))) for _ in range(30_000)})
    rng.shuffle(words)
    weights = [1 / (place + 10) for place in range(len(words))]
    found = [Document(source=str(at), text=" ".join(rng.choices(words, weights, k=80))) for at in range(passages)]
    questions = [" ".join(rng.choices(words, weights, k=10)) for _ in range(50)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "index")
        start = time.perf_counter()
        mine = ours(found, str(file))
        made = time.perf_counter() - start
        start = time.perf_counter()
        theirs = baseline(found, TOKENIZERS["default"])
        made_there = time.perf_counter() - start
        took, took_there = seconds(mine, questions), seconds(theirs, questions)
        size = file.stat().st_size
    characters = sum(len(each.text) for each in found)
    print(f"{passages:,} passages, {characters / 1e6:.1f} MB of text, a file of {size / 1e6:.1f} MB")
    print(f"indexing: {made:.1f} s, default {made_there:.1f} s, ratio {made / made_there:.1f}")
    print(
        f"a question of 10 words: {took * 1e3:.1f} ms, default {took_there * 1e3:.1f} ms, ratio {took / took_there:.1f}"
    )


def seconds(search: Search, questions: list[str]) -> float:
    taken = []
    for question in questions:
        start = time.perf_counter()
        search(question, 8)
        taken.append(time.perf_counter() - start)
    return sorted(taken)[len(taken) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=20_000)
    options = parser.parse_args()
    quality()
    if options.passages:
        speed(options.passages)


if __name__ == "__main__":
    main()
