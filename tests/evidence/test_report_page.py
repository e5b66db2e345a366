"""The page in a real browser: what it asks for, what it runs, who can read it, how it prints."""

from __future__ import annotations

import base64
import itertools
import re

import pytest

from adaptkit.evidence.report import html
from adaptkit.evidence.results import Answered, Comparison, Competitor, Interval, Question
from tests.evidence import samples
from tests.evidence.browser import browser

pytest.importorskip("matplotlib", reason="the extra report is not installed")


def extremes() -> Comparison:
    """Everything at the edges: scores of 0 and 1, one of them a hundred times the price of the others."""
    asked = (Question(number=0, question="?", expected="!"),)
    return Comparison(
        metric="exact_match",
        questions=asked,
        competitors=tuple(
            Competitor(
                name=f"a model with quite a long name {score:g} {usd:g}",
                ref="m",
                rung="prompt",
                score=Interval(value=score, low=0.0, high=1.0),
                answers=(Answered(question=0, text="!", score=score),),
                usd=usd,
            )
            for score in (0.0, 1.0)
            for usd in (0.001, 0.0011, 0.1)
        ),
    )


PAGES = {
    "usual": html(samples.usual(), samples.advice()),
    "hostile": html(samples.hostile(), samples.hostile_advice()),
    "extreme": html(extremes()),
}


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as shown:
        yield shown


@pytest.fixture(params=PAGES)
def page(request):
    return PAGES[request.param]


# it is alone ------------------------------------------------------------------------------------------------------


def test_it_asks_for_nothing_and_complains_of_nothing(chromium, page):
    chromium.show(page)
    for each in chromium.js("return [...document.querySelectorAll('details')]"):
        chromium.js("arguments[0].open = true", each)
    said, asked = chromium.logged()
    assert asked == [f"{chromium.origin}/report.html"]
    assert chromium.asked == ["/report.html"]
    assert chromium.js("return performance.getEntriesByType('resource').map(each => each.name)") == []
    assert said == []


def test_nothing_in_it_runs(chromium):
    chromium.show(PAGES["hostile"])
    assert chromium.js("return window.canary === undefined")
    for name in ("script", "iframe", "img", "object", "embed", "base", "link", "form", "foreignObject", "animate"):
        assert chromium.js("return document.getElementsByTagName(arguments[0]).length", name) == 0, name
    attributes = "[...document.querySelectorAll('*')].flatMap(each => [...each.attributes])"
    assert chromium.js(f"return {attributes}.filter(each => /^on|^style$/.test(each.name)).length") == 0
    assert chromium.js("return [...document.links].filter(each => each.origin !== location.origin).length") == 0
    for link in range(chromium.js("return document.links.length")):
        chromium.js("document.links[arguments[0]].click()", link)
    assert chromium.js("return window.canary === undefined")
    assert chromium.js("return document.title").endswith("adaptkit report")
    assert "\u202e" not in chromium.js("return document.documentElement.innerText + document.title")


def test_its_policy_forbids_what_it_does_not_do(chromium):
    """If a mark-up of others ever got in: no picture, no style, no script of it would do anything."""
    chromium.show(PAGES["usual"])
    chromium.js(
        """
        const box = document.createElement('div');
        box.innerHTML = '<img src="/leak.png"><p id=dyed style="color: rgb(1, 2, 3)">x</p>' +
          '<a id=trap href="javascript:window.canary = 1">x</a>';
        document.body.append(box);
        const script = document.createElement('script');
        script.textContent = 'window.canary = 1';
        document.body.append(script);
        const style = document.createElement('style');
        style.textContent = '#dyed { background: rgb(4, 5, 6) }';
        document.head.append(style);
        """
    )
    chromium.js("document.getElementById('trap').click()")
    said, _ = chromium.logged()
    assert chromium.js("return window.canary === undefined")
    dyed = chromium.js(
        "const s = getComputedStyle(document.getElementById('dyed')); return s.color + s.backgroundColor"
    )
    assert "1, 2, 3" not in dyed
    assert "4, 5, 6" not in dyed
    assert chromium.asked == ["/report.html"]
    assert any("Content Security Policy" in each for each in said)


# everybody can read it --------------------------------------------------------------------------------------------


def test_headings_go_down_one_at_a_time(chromium, page):
    chromium.show(page)
    levels = chromium.js(
        "return [...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(each => +each.tagName[1])"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert (
        chromium.js(
            "return ['header', 'nav', 'main', 'footer'].map(n => document.querySelectorAll('body > ' + n).length)"
        )
        == [1] * 4
    )


def test_the_keyboard_reaches_everything_and_shows_where_it_is(chromium):
    chromium.show(PAGES["usual"])
    chromium.js("document.body.focus()")
    wanted = chromium.js(
        "window.wanted = [...document.querySelectorAll('a[href], summary, [tabindex=\"0\"]')]"
        ".filter(each => each.checkVisibility({contentVisibilityAuto: true})); return window.wanted.length"
    )
    assert wanted > 30
    reached = set()
    look = """
        const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
        return [window.wanted.indexOf(at), style.outlineStyle, parseFloat(style.outlineWidth), box.width * box.height,
                box.bottom > 0 && box.top < innerHeight];
    """
    for _ in range(wanted):
        for kind in ("keyDown", "keyUp"):
            chromium.cdp("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        place, style, width, area, in_view = chromium.js(look)
        assert style == "solid"
        assert width >= 2
        assert area > 0
        assert in_view
        reached.add(place)
    assert reached == set(range(wanted))


def test_what_is_closed_opens_by_key(chromium):
    chromium.show(PAGES["usual"])
    chromium.js("window.it = document.querySelector('.example:not([open]) > summary'); window.it.focus()")
    chromium.driver.switch_to.active_element.send_keys("\ue007")  # Enter
    assert chromium.js("return window.it.parentElement.open")


CONTRAST = """
const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                       return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
const behind = (e) => { const all = [];
                        for (; e; e = e.parentElement) all.push(parse(getComputedStyle(e).backgroundColor));
                        return all.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]); };
document.querySelectorAll('details').forEach((each) => { each.open = true; });
const found = {}, walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let counted = 0;
for (let node; (node = walker.nextNode());) {
  const e = node.parentElement;
  if (!node.data.trim() || ['title', 'desc', 'style'].includes(e.localName) || !e.checkVisibility()) continue;
  const style = getComputedStyle(e), size = parseFloat(style.fontSize), bold = +style.fontWeight >= 700;
  const under = behind(e), ink = over(parse(e.closest('svg') ? style.fill : style.color), under);
  const value = ratio(ink, under), enough = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
  counted += 1;
  if (value < enough) found[`${e.outerHTML.slice(0, 80)} ${value.toFixed(2)}`] = node.data.slice(0, 40);
}
return [counted, found];
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_all_text_has_contrast(chromium, dark, width):
    chromium.show(PAGES["usual"], dark=dark, width=width)
    counted, found = chromium.js(CONTRAST)
    assert counted > 500
    assert found == {}
    ground = chromium.js("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == dark


def test_the_check_of_contrast_finds_what_is_too_faint(chromium):
    chromium.show(PAGES["usual"])
    chromium.js("document.documentElement.style.setProperty('--muted', '#8d95a3')")
    assert chromium.js(CONTRAST)[1]


#: Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
BLINDNESS = {
    "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def linear(hexed: str) -> list[float]:
    values = [int(hexed[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]


def luminance(hexed: str) -> float:
    return sum(part * weight for part, weight in zip(linear(hexed), (0.2126, 0.7152, 0.0722), strict=True))


def lab(rgb: list[float]) -> list[float]:
    """CIE L*a*b* under D65."""
    rows = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    white = (0.9505, 1.0, 1.089)
    xyz = [
        sum(a * max(0.0, b) for a, b in zip(row, rgb, strict=True)) / at for row, at in zip(rows, white, strict=True)
    ]
    x, y, z = (value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116 for value in xyz)
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_rungs_differ_for_every_eye_and_stand_out(chromium, dark):
    chromium.show(PAGES["usual"], dark=dark)
    read = "return getComputedStyle(document.documentElement).getPropertyValue(arguments[0]).trim()"
    rungs = [chromium.js(read, name) for name in ("--none", "--prompt", "--fine-tune", "--train")]
    ground = chromium.js(read, "--ground")
    for colour in rungs:
        low, high = sorted((luminance(colour), luminance(ground)))
        assert (high + 0.05) / (low + 0.05) >= 3
    for kind, matrix in BLINDNESS.items():
        seen = [lab([sum(a * b for a, b in zip(row, linear(each), strict=True)) for row in matrix]) for each in rungs]
        for one, other in itertools.combinations(range(4), 2):
            apart = sum((a - b) ** 2 for a, b in zip(seen[one], seen[other], strict=True)) ** 0.5
            assert apart > 20, (kind, rungs[one], rungs[other], apart)


def test_who_cannot_see_the_plots_hears_what_they_show(chromium):
    chromium.show(PAGES["usual"])
    nodes = chromium.cdp("Accessibility.getFullAXTree")["nodes"]
    heard = [
        (node["name"]["value"], node.get("description", {}).get("value", ""))
        for node in nodes
        if node.get("role", {}).get("value") in ("image", "img") and not node.get("ignored")
    ]
    assert len(heard) == 3, heard
    assert all("lora r16" in " ".join(each) for each in heard)
    tables = [node for node in nodes if node.get("role", {}).get("value") == "table" and not node.get("ignored")]
    assert len(tables) >= 9
    assert all(table["name"]["value"] for table in tables)
    chromium.show(PAGES["usual"], width=360)
    narrow = [
        node["role"]["value"]
        for node in chromium.cdp("Accessibility.getFullAXTree")["nodes"]
        if not node.get("ignored")
    ]
    assert narrow.count("table") == len(tables)
    assert narrow.count("columnheader") > 30
    assert narrow.count("rowheader") > 30


# on every paper ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [320, 360, 768, 1120, 1920])
def test_no_page_scrolls_sideways(chromium, page, width):
    chromium.show(page, width=width)
    chromium.js("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert chromium.js("return document.documentElement.scrollWidth") <= width
    wide = chromium.js(
        "return [...document.querySelectorAll('body *')].filter(each => !each.closest('.scroll, .skip, svg')"
        " && each.checkVisibility() && each.getBoundingClientRect().right > innerWidth + 1)"
        ".map(each => each.outerHTML.slice(0, 80))"
    )
    assert wide == []


@pytest.mark.parametrize("width", [1280, 360])
def test_plots_are_drawn_for_the_width_with_type_that_can_be_read(chromium, page, width):
    chromium.show(page, width=width)
    drawn = "[...document.querySelectorAll('svg')].filter(each => each.checkVisibility())"
    drawn += ".flatMap(svg => [...svg.querySelectorAll('text')].map(text => [svg, text]))"
    scale = "svg.getBoundingClientRect().width / svg.viewBox.baseVal.width"
    sizes = chromium.js(f"return {drawn}.map(([svg, text]) => text.getAttribute('font-size').slice(0, -2) * {scale})")
    assert len(sizes) > 20
    assert min(sizes) > 10.5
    outside = chromium.js(
        f"return {drawn}.filter(([svg, text]) => {{"
        " const a = text.getBoundingClientRect(), b = svg.getBoundingClientRect();"
        " return a.left < b.left - 12 || a.right > b.right + 12 || a.top < b.top - 4 || a.bottom > b.bottom + 4;"
        "}).map(([svg, text]) => text.textContent)"
    )
    assert outside == []


def test_on_paper_everything_is_open_and_dark_on_light(chromium):
    chromium.show(PAGES["usual"], media="print", dark=True, width=760)
    assert chromium.js("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not chromium.js("return document.querySelector('nav').checkVisibility()")
    closed = chromium.js(
        "return [...document.querySelectorAll('details:not([open])')]"
        ".map(each => each.lastElementChild.checkVisibility())"
    )
    assert len(closed) > 10
    assert all(closed)
    assert chromium.js("return document.documentElement.scrollWidth") <= 760
    paper = base64.b64decode(
        chromium.cdp("Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69)["data"]
    )
    assert paper.startswith(b"%PDF-")
    assert 5 < len(re.findall(rb"/Type /Page\b", paper)) < 40
