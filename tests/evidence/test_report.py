"""What a report says, and that nothing that it quotes is ever more than text."""

from __future__ import annotations

import html as entities
import json
import os
import re
import stat
import subprocess
import sys
from html.parser import HTMLParser

import msgspec
import pytest

from adaptkit.errors import ArtifactError, DataError, MissingDependencyError
from adaptkit.evidence.report import html, markdown, quoting, words, write
from adaptkit.evidence.report.confusion import confusions, labels
from adaptkit.evidence.report.document import plain
from adaptkit.evidence.report.examples import partings
from adaptkit.evidence.report.standing import baseline, best, between, enough, not_clearly_worse, rival
from adaptkit.evidence.report.telling import document
from adaptkit.evidence.results import Answered, Comparison, Competitor, Difference, Interval, Question
from tests.evidence import samples


class Seen(HTMLParser):
    """Elements, attributes and text of a page, as a browser sees them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.said.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.said))


pytest.importorskip("matplotlib", reason="the extra report is not installed")


def competitor(name: str, scores: list[float], rung="prompt", texts: list[str] | None = None, **more) -> Competitor:
    answers = tuple(
        Answered(question=n, text=texts[n] if texts else "x", score=score) for n, score in enumerate(scores)
    )
    value = sum(scores) / len(scores)
    return Competitor(
        name=name, ref=name, rung=rung, score=Interval(value=value, low=value, high=value), answers=answers, **more
    )


def comparison(*competitors: Competitor, expected: list[str] | None = None, **more) -> Comparison:
    expected = expected or ["x"] * len(competitors[0].answers)
    questions = tuple(Question(number=n, question=f"Q{n}", expected=each) for n, each in enumerate(expected))
    return Comparison(metric="exact_match", questions=questions, competitors=competitors, **more)


def difference(one: str, other: str, value: float, adjusted: float, won: int = 3, lost: int = 1) -> Difference:
    gap = Interval(value=value, low=value - 0.1, high=value + 0.1)
    return Difference(
        one=one, other=other, difference=gap, p=adjusted, adjusted=adjusted, test="t", won=won, lost=lost, tied=0
    )


# the same twice ---------------------------------------------------------------------------------------------------


def test_the_same_comparison_gives_the_same_bytes_whatever_the_settings_of_the_drawing_library(tmp_path):
    made = tmp_path / "made.json"
    made.write_bytes(msgspec.json.encode(samples.usual()))
    (tmp_path / "matplotlibrc").write_text("font.size: 31\naxes.grid: True\nsvg.fonttype: path\nlines.linewidth: 9\n")
    script = (
        "import msgspec, sys; from adaptkit.evidence.report import html;"
        "from adaptkit.evidence.results import Comparison;"
        "sys.stdout.write(html(msgspec.json.decode(open(sys.argv[1], 'rb').read(), type=Comparison)))"
    )
    pages = []
    for seed, settings in (("1", {}), ("2", {"MATPLOTLIBRC": str(tmp_path)})):
        done = subprocess.run(
            [sys.executable, "-c", script, str(made)],
            env={**os.environ, "PYTHONHASHSEED": seed, **settings},
            capture_output=True,
            check=True,
            timeout=120,
        )
        pages.append(done.stdout.decode())
    assert pages[0] == pages[1] == html(samples.usual())
    assert markdown(samples.usual()) == markdown(samples.usual())


def test_the_page_and_its_twin_say_the_same():
    """Every cell of every table, every fact, note and question is in both."""
    page = Seen(html(samples.usual(), samples.advice())).text
    twin = markdown(samples.usual(), samples.advice())
    flat = re.sub(r"\s+", " ", re.sub(r"[\\`*]", "", twin))
    made = document(samples.usual(), samples.advice())
    checked = 0
    for section in made.sections:
        assert section.title in page
        assert section.title in flat
        for block in section.blocks:
            table = getattr(block, "table", block)
            shown = [plain(getattr(block, "words", ())), getattr(block, "title", "")]
            shown += [plain(cell) for row in getattr(table, "rows", ()) for cell in row]
            shown += (
                [plain(said) for _, said in getattr(block, "items", ()) if isinstance(said, tuple)]
                if (type(block).__name__ == "Facts")
                else []
            )
            if type(block).__name__ == "Examples":
                shown += [each.question.text for each in block.items]
            if type(block).__name__ == "Plot":
                shown = shown[2:]
            for text in filter(None, shown):
                assert text in page, text
                assert re.sub(r"[\\`*]", "", text) in flat, text
                checked += 1
    assert checked > 150


# what it says -----------------------------------------------------------------------------------------------------


def test_the_headline_says_better_only_of_what_is_shown():
    low, high = competitor("low", [0, 0, 1, 1], "none"), competitor("high", [1, 1, 1, 0.9], "train")
    shown = comparison(low, high, differences=(difference("high", "low", 0.475, 0.01),))
    assert plain(document(shown).headline) == "high answers best, 47.5 points above low."
    chance = comparison(low, high, differences=(difference("high", "low", 0.475, 0.2),))
    assert plain(document(chance).headline) == "No model is shown to be better than low."
    assert plain(document(comparison(low, high)).headline) == "high scores highest: 97.5%."
    assert plain(document(comparison(low)).headline) == "low scores 50.0%."
    worse = comparison(high, msgspec.structs.replace(low, rung="train"), differences=())
    assert best(worse).name == "high"


def test_the_best_of_equals_is_the_one_on_the_lowest_rung():
    tied = comparison(
        competitor("full", [1, 1], "train"), competitor("prompted", [1, 1]), competitor("bare", [0, 1], "none")
    )
    assert (baseline(tied).name, best(tied).name) == ("bare", "prompted")


def test_what_nothing_is_shown_to_beat_is_enough_and_held_against_the_rungs_below():
    bare, prompted = competitor("bare", [0, 0, 0, 1], "none"), competitor("prompted", [0, 1, 0, 1])
    tuned, full = competitor("tuned", [1, 1, 1, 0.8], "fine-tune"), competitor("full", [1, 1, 1, 0.9], "train")
    pairs = (
        difference("full", "tuned", 0.025, 0.9),
        difference("full", "prompted", 0.475, 0.01),
        difference("prompted", "tuned", -0.45, 0.02),
        difference("tuned", "bare", 0.7, 0.001),
        difference("full", "bare", 0.725, 0.001),
    )
    found = comparison(full, bare, tuned, prompted, differences=pairs)
    assert (best(found).name, enough(found).name) == ("full", "tuned")
    assert rival(found, tuned).name == "prompted"
    assert rival(found, bare).name == "full"
    assert rival(comparison(bare), bare) is None
    said = document(found)
    assert plain(said.headline) == "Nothing is shown to be better than tuned, 45.0 points above prompted."
    asked, close = map(plain, said.lead)
    assert asked.endswith("The best score by exact_match is 97.5% (95%: 97.5% to 97.5%), that of full.")
    assert close == "Not shown to be worse than that: tuned."
    assert [tile.value for tile in said.tiles] == ["97.5%", "+45.0 points", "4"]
    unsure = comparison(
        full, bare, tuned, prompted, differences=(*pairs[:2], difference("tuned", "prompted", 0.45, 0.2), *pairs[3:])
    )
    assert plain(document(unsure).headline) == "Nothing is shown to be better than tuned, 70.0 points above bare."


def test_a_pair_is_found_from_both_sides():
    pair = difference("a", "b", 0.3, 0.001, won=5, lost=2)
    found = comparison(competitor("a", [1]), competitor("b", [0]), differences=(pair,))
    a, b = found.competitors
    turned = between(found, b, a)
    assert (turned.one, turned.won, turned.lost) == ("b", 2, 5)
    assert [turned.difference.value, turned.difference.low, turned.difference.high] == pytest.approx([-0.3, -0.4, -0.2])
    assert between(found, a, b) is pair
    assert not_clearly_worse(found) == []


@pytest.mark.parametrize(
    ("value", "adjusted", "says"),
    [
        (
            0.3,
            0.0004,
            "Shown: by chance, one of two equally good models would get this far ahead less than once in 1,000",
        ),
        (0.3, 0.0041, "about 4 times in 1,000"),
        (0.3, 0.032, "about 3 times in 100"),
        (0.3, 0.0101, "about once in 100"),
        (0.3, 0.05, "Not shown: alone it would look real, but among 6 pairs one such gap comes up by chance."),
        (0.05, 0.4, "Not shown: anything from 5.0 points worse to 15.0 points better fits these answers."),
    ],
)
def test_p_in_words(value, adjusted, says):
    assert says in words.chance(difference("a", "b", value, adjusted), 6)


def test_nothing_between_two_is_said_so():
    assert words.chance(difference("a", "b", 0, 1, won=0, lost=0), 1).startswith("None:")


@pytest.mark.parametrize(
    ("usd", "said"),
    [(None, "unknown"), (0, "$0"), (0.000123, "$0.00012"), (0.0999, "$0.10"), (2.005, "$2.00"), (1234.5, "$1,234")],
)
def test_money(usd, said):
    assert words.money(usd) == said


@pytest.mark.parametrize(
    ("time", "said"),
    [
        (None, "unknown"),
        (0, "0 s"),
        (0.0042, "4.2 ms"),
        (0.41, "410 ms"),
        (0.9999, "1.00 s"),
        (31, "31 s"),
        (840, "14 min"),
        (51000, "14.2 h"),
    ],
)
def test_seconds(time, said):
    assert words.seconds(time) == said


def test_what_is_not_known_is_unknown_and_never_nothing():
    page = Seen(html(comparison(competitor("a", [1, 0]), competitor("b", [1, 1])))).text
    assert "unknown" in page
    assert "$0" not in page
    assert "What quality costs" not in page
    assert "nan" not in page.lower()


def test_time_takes_the_place_of_a_price_that_nobody_knows():
    made = document(
        comparison(
            competitor("a", [1, 0], seconds={"p50": 0.2, "p95": 1.0}, usd=0.0),
            competitor("b", [1, 1], seconds={"p50": 0.1, "p95": 1.0}, usd=0.0),
        )
    )
    (section,) = [each for each in made.sections if each.name == "price"]
    assert section.title == "What quality costs in time"
    some = document(comparison(competitor("a", [1], usd=0.1), competitor("b", [1], usd=0.2), competitor("c", [1])))
    (section,) = [each for each in some.sections if each.name == "price"]
    assert plain(section.blocks[1].words).endswith("Not drawn, because that is not known: c.")


def test_where_nothing_was_known_nothing_can_be_forgotten():
    general = comparison(competitor("a", [0, 0], "none"), competitor("b", [0, 0], "train"))
    made = document(comparison(competitor("a", [0, 1], "none"), competitor("b", [1, 1], "train"), general=general))
    (section,) = [each for each in made.sections if each.name == "forgotten"]
    assert plain(section.blocks[1].rows[1][-1]) == "There was nothing to forget."


@pytest.mark.parametrize(
    ("value", "adjusted", "says"),
    [
        (-0.3, 0.01, "Forgot: 30.0 points lost, and not by chance."),
        (-0.05, 0.4, "No loss shown; a loss of up to 15.0 points is possible."),
        (0.3, 0.01, "Better here too, and not by chance."),
        (0.2, 0.4, "No loss shown."),
    ],
)
def test_what_was_forgotten_is_said_as_far_as_it_is_shown(value, adjusted, says):
    before, after = competitor("a", [1, 0], "none"), competitor("b", [1, 0], "train")
    general = comparison(before, after, differences=(difference("b", "a", value, adjusted),))
    made = document(comparison(before, after, general=general))
    (section,) = [each for each in made.sections if each.name == "forgotten"]
    assert plain(section.blocks[1].rows[1][-1]) == says


def test_losses_that_are_no_numbers_are_left_out_and_said():
    broken = ((1, 2.0), (2, float("nan")), (3, float("inf")))
    page = Seen(html(comparison(competitor("a", [1, 0], "train", losses=broken)))).text
    assert "a training diverged" in page
    assert html(comparison(competitor("a", [1], "train", losses=((1, float("nan")),)))).count("Loss over") == 0


def test_regressions_and_gains_are_those_of_the_mean_over_repeats():
    one = competitor("one", [0.5, 1.0, 0.0])
    other = msgspec.structs.replace(
        competitor("other", [1.0, 0.2, 1.0], "train"),
        answers=(
            Answered(question=0, text="first", score=1.0),
            Answered(question=0, repeat=1, text="second", score=0.0),
            Answered(question=1, text=None, score=0.2, error="timed out"),
            Answered(question=2, text="good", score=1.0),
        ),
    )
    worse, better = partings(comparison(one, other), one, other, 10)
    assert [each.number for each in worse.items] == [1]
    assert [each.number for each in better.items] == [2]
    (regression,) = worse.items
    assert regression.change == "80.0 points worse"
    assert better.items[0].change == "right, was wrong"
    assert plain(regression.given[1].remark) == "No answer: timed out"
    assert regression.given[1].text is None
    assert plain(worse.lead) == "other against one: worse on 1 of 3 questions."
    many = partings(
        comparison(competitor("a", [1.0] * 30), competitor("b", [0.0] * 30)),
        *comparison(competitor("a", [1.0] * 30), competitor("b", [0.0] * 30)).competitors,
        10,
    )[0]
    assert len(many.items) == 10
    assert plain(many.lead).endswith("worse on 30 of 30 questions; the 10 largest are shown.")


def test_questions_without_an_answer_are_counted():
    failing = msgspec.structs.replace(
        competitor("a", [0, 1]),
        answers=(Answered(question=0, error="timed out"), Answered(question=1, text="x", score=1)),
    )
    page = Seen(html(comparison(failing, competitor("b", [1, 1])))).text
    assert "without an answer" in page
    assert "1 of 2" in page
    assert "without an answer" not in Seen(html(comparison(competitor("b", [1, 1])))).text


def test_labels_are_few_short_and_come_more_than_once():
    several = comparison(competitor("a", [1] * 6), expected=["b", "b", "b", "a", "a", "c"])
    assert labels(several) == ["b", "a", "c"]
    assert labels(comparison(competitor("a", [1] * 4), expected=["a", "b", "c", "d"])) == []
    assert labels(comparison(competitor("a", [1] * 4), expected=["a"] * 4)) == []
    assert labels(comparison(competitor("a", [1] * 4), expected=["a" * 41, "b"] * 2)) == []
    spaced = ['{"desk":"A","n":1}', '{"n": 1, "desk": "A"}', '{"desk": "B"}', '{"desk":"B"}']
    assert labels(comparison(competitor("a", [1] * 4), expected=spaced)) == ['{"desk":"A","n":1}', '{"desk":"B"}']


def test_confusion_counts_every_answer_once():
    answered = competitor("m", [1, 0, 0, 1, 0, 0], texts=["b", "a", "what?", "A!", "b", "x"])
    answered = msgspec.structs.replace(
        answered, answers=(*answered.answers[:5], Answered(question=5, error="refused", score=0.0))
    )
    found = comparison(answered, expected=["b", "b", "b", "a", "a", "a"])
    table = confusions(found, answered, labels(found))
    assert [plain(head) for head in table.head] == ["expected ↓ given →", "a", "b", "something else", "no answer"]
    assert [[plain(cell) for cell in row] for row in table.rows] == [
        ["a", "1", "1", "0", "1"],
        ["b", "1", "1", "1", "0"],
    ]
    assert table.marks == (("", "right-2", "wrong-2", "", "wrong-2"), ("", "wrong-2", "right-2", "wrong-2", ""))
    assert plain(table.caption) == "m: 2 of 6 answers have the expected label"


def test_nobody_compared_is_refused():
    empty = Comparison(metric="m", questions=(), competitors=())
    with pytest.raises(DataError, match="nobody was compared"):
        html(empty)


def test_a_report_of_very_little_is_still_a_report():
    alone = Competitor(name="a", ref="a", rung="none", score=Interval(value=float("nan"), low=0.0, high=1.0))
    page = html(Comparison(metric="m", questions=(), competitors=(alone,)))
    assert "unknown" in page
    markdown(Comparison(metric="m", questions=(), competitors=(alone,)))


# text of others ---------------------------------------------------------------------------------------------------


def test_unseen_characters_are_shown_and_scripts_stay_whole():
    assert quoting.quoted("a\u202eb\x00\r\nc\ttab").text == "a⟨U+202E⟩b⟨U+0000⟩\nc\ttab"
    assert quoting.quoted("\ud800").text == "⟨U+D800⟩"
    for text in ("نمی\u200cکنم", "👩\u200d💻", "שלום\u200f!", "नमस्ते", "日本語", "\u061c٤٢"):
        assert quoting.quoted(text).text == text


def test_long_text_is_cut_and_says_how_long_it_was():
    cut = quoting.quoted("x" * 1_000_000)
    assert (len(cut.text), cut.length) == (quoting.MOST, 1_000_000)
    assert quoting.quoted("x" * quoting.MOST).length is None
    assert quoting.name("start " + "m" * 1_000_000 + " end").text.startswith("start m")
    assert quoting.name("start " + "m" * 1_000_000 + " end").text.endswith("m end")
    assert len(quoting.name("m" * 1_000_000).text) == quoting.MOST_OF_A_NAME
    assert quoting.name(" \n ").text == "(no name)"
    page = html(samples.hostile())
    assert "1,000,000 characters in all" in page
    assert "1,000,000 characters in all" in markdown(samples.hostile())
    assert len(page) < 400_000


ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "a", "header", "p", "span", "h1", "h2", "h3", "h4", "bdi", "ul",
    "li", "strong", "em", "nav", "main", "section", "figure", "div", "figcaption", "table", "thead", "tr", "th",
    "tbody", "td", "details", "summary", "dl", "dt", "dd", "footer", "svg", "g", "path", "defs", "clippath", "rect",
    "text", "use", "desc",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "href", "id", "tabindex", "aria-label",
    "aria-labelledby", "role", "scope", "dir", "open", "data-head", "viewbox", "xmlns", "d", "fill", "stroke",
    "transform", "x", "y", "clip-path", "focusable", "width", "height", "fill-opacity", "font-size", "font-weight",
    "opacity", "stroke-dasharray", "stroke-dashoffset", "stroke-linecap", "stroke-linejoin", "stroke-opacity",
    "stroke-width", "text-anchor",
}  # fmt: skip
#: Those whose value may be anybody's words.
QUOTING = {"aria-label", "data-head", "content"}
PAGES = {
    "usual": lambda: html(samples.usual(), samples.advice()),
    "hostile": lambda: html(samples.hostile(), samples.hostile_advice()),
}


@pytest.mark.parametrize("which", PAGES)
def test_a_page_has_only_elements_and_attributes_that_do_nothing(which):
    made = PAGES[which]()
    seen = Seen(made)
    for tag, attributes in seen.tags:
        assert tag in ELEMENTS, tag
        assert set(attributes) <= ATTRIBUTES, (tag, attributes)
        assert attributes.get("href", "#").startswith("#")
        for name in set(attributes) - QUOTING - {"transform"}:
            assert re.fullmatch(r"url\(#[\w.-]+\)|[^()<>]*", attributes[name] or ""), (tag, name)
    ids = [attributes["id"] for _, attributes in seen.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"][1:] for _, attributes in seen.tags if "href" in attributes}
    assert targets <= set(ids)
    assert sum(tag == "style" for tag, _ in seen.tags) == 1
    assert not set(made) & {*map(chr, range(9)), "\x0b", "\x0c", "\r", "\x1b", "\x7f", "\u202e", "\u2066", "\u200b"}


def test_what_is_quoted_reads_as_it_was_written():
    page = Seen(html(samples.hostile(), samples.hostile_advice())).text
    for text in (*samples.HOSTILE[:5], samples.HOSTILE[9]):
        assert text in page
    assert "{{ 7 * 7 }} {% raw %} $x^2$ &lt;b&gt; &#60;i&#62; \\" in page
    assert "49" not in re.findall(r"\{\{.*?\}\}", page)


def test_names_in_plots_are_names_and_no_formula():
    names = ["$x^2$", "a_$b_", "\\alpha", "<b>&amp;", "日本語", "שלום"]
    page = html(comparison(*(competitor(name, [1, 0], usd=0.1 * at) for at, name in enumerate(names, 1))))
    for name in names:
        assert page.count(f">{entities.escape(name, quote=False)}</text>") == 4, name


def test_markdown_of_hostile_text_is_read_as_text():
    markdown_it = pytest.importorskip("markdown_it")
    parser = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table")
    made = markdown(samples.hostile(), samples.hostile_advice())
    tokens = parser.parse(made)
    flat = [*tokens, *(child for token in tokens for child in token.children or ())]
    kinds = {token.type for token in flat}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "code_block", "hr", "blockquote_open"}, kinds
    assert {"fence", "table_open", "code_inline", "bullet_list_open"} <= kinds
    headings = [(token.tag, tokens[at + 1].content) for at, token in enumerate(tokens) if token.type == "heading_open"]
    titles = [title for tag, title in headings if tag == "h2"]
    made_of = document(samples.hostile(), samples.hostile_advice())
    assert titles == ["Before you believe this", "What to do: train", *(each.title for each in made_of.sections)]
    assert "heading" not in [title for _, title in headings]
    fences = {token.content.removesuffix("\n") for token in tokens if token.type == "fence"}
    assert all(token.info == "text" for token in tokens if token.type == "fence")
    for section in made_of.sections:
        for block in section.blocks:
            for item in block.items if type(block).__name__ == "Examples" else ():
                assert item.question.text in fences
    for table in re.findall(r"<table>.*?</table>", parser.render(made), re.DOTALL):
        assert len({row.count("</td>") + row.count("</th>") for row in table.split("</tr>")[:-1]}) == 1


def test_markdown_of_names_survives_the_way_there_and_back():
    markdown_it = pytest.importorskip("markdown_it")
    parser = markdown_it.MarkdownIt("commonmark").enable("table")
    names = ["`", "``a`", "a`b``c", "*a*_b_", "<b>", "a\\", "\\`", "&amp;", "1. a", "- a", "$a$", "~~a~~"]
    made = comparison(*(competitor(name, [1, 0]) for name in names))
    tokens = parser.parse(markdown(made))
    found = {child.content for token in tokens for child in token.children or () if child.type == "code_inline"}
    assert set(names) <= found


# files ------------------------------------------------------------------------------------------------------------


def test_it_is_written_whole_for_its_owner_alone_or_not_at_all(tmp_path):
    written = write(samples.usual(), tmp_path / "report <b>&.html")
    assert written.read_text(encoding="utf-8") == html(samples.usual())
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    with pytest.raises(ArtifactError, match="cannot be written"):
        write(samples.usual(), tmp_path / "missing" / "report.html")
    with pytest.raises(ArtifactError, match="cannot be written"):
        write(samples.usual(), tmp_path)
    assert list(tmp_path.iterdir()) == [written]


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_what_is_missing_is_named_with_its_extra(package, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == package or name.endswith("report.plots")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delattr("adaptkit.evidence.report.plots", raising=False)
    with pytest.raises(MissingDependencyError, match=rf"{package}.*adaptkit\[report\]"):
        html(samples.usual())
    assert markdown(samples.usual())


def test_importing_it_draws_nothing_in():
    script = (
        "import sys, adaptkit.evidence.report, adaptkit.cli.app;"
        "print({'matplotlib', 'jinja2', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "set()"


# the command ------------------------------------------------------------------------------------------------------


def run(*arguments: str, folder, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "adaptkit", "report", *arguments],
        cwd=folder,
        env={**os.environ, "ADAPTKIT_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_the_command_writes_both_forms_and_says_where(tmp_path):
    (tmp_path / "ladder.json").write_bytes(msgspec.json.encode(samples.usual()))
    (tmp_path / "advice.json").write_bytes(msgspec.json.encode(samples.advice()))
    done = run("ladder.json", "--markdown", "ladder.md", "--recommendation", "advice.json", "--json", folder=tmp_path)
    assert json.loads(done.stdout) == {"html": "ladder.html", "markdown": "ladder.md"}
    assert (tmp_path / "ladder.html").read_text() == html(samples.usual(), samples.advice())
    assert (tmp_path / "ladder.md").read_text() == markdown(samples.usual(), samples.advice())
    done = run("ladder.json", "-o", "page.html", folder=tmp_path)
    assert done.stdout == "page.html\n"
    assert "Fine-tune:" not in entities.unescape((tmp_path / "page.html").read_text())


def test_the_command_refuses_what_is_no_comparison(tmp_path):
    (tmp_path / "odd.json").write_text("[]")
    assert "is no comparison" in run("odd.json", folder=tmp_path, code=4).stderr
    assert "cannot be read" in run("missing.json", folder=tmp_path, code=4).stderr
    (tmp_path / "ladder.json").write_bytes(msgspec.json.encode(samples.usual()))
    assert "written over" in run("ladder.json", "-o", "ladder.json", folder=tmp_path, code=2).stderr
    assert "written over" in run("ladder.json", "-o", "a.html", "--markdown", "a.html", folder=tmp_path, code=2).stderr
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["ladder.json", "odd.json"]
