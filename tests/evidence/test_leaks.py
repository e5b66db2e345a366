"""Questions that a model has learned from are found, exactly or nearly, in any script, and refused."""

import json
import random
import time
import tracemalloc

import pytest

from adaptkit import Client, DataError, Dataset, builtin
from adaptkit.evidence.leaks import Leaks, _look, without_leaks
from adaptkit.testing import FakeClock, ScriptedConfig
from tests.evidence.conftest import echoes, row, sentence, training

pytestmark = pytest.mark.filterwarnings("ignore::adaptkit.AdaptkitWarning")

LONG = (
    "My order was to arrive on Tuesday, and the tracking page still says that it lies in a warehouse near Bristol; "
    "could you please find out what has become of it and tell me when I may expect the courier at my door?"
)


def found(held, data):
    leaks: dict = {}
    _look(Leaks(held), data, "training", leaks)
    return {number: leak.exact for number, leak in leaks.items()}


def one(text):
    return Dataset.of([row(text, "x")])


@pytest.mark.parametrize(
    "variant",
    [
        LONG,
        LONG.upper(),
        LONG.replace(" ", "  ").replace(",", " ,"),
        LONG.replace(";", " —").rstrip("?"),
        LONG.replace("order", "ｏｒｄｅｒ"),
    ],
)
def test_the_same_but_for_looks_is_exact(variant):
    assert found(one(LONG), one(variant)) == {0: True}


@pytest.mark.parametrize(
    "variant",
    [
        LONG.replace("Tuesday", "Wednesday"),
        LONG.replace("please ", ""),
        "Hello there. " + LONG,
        LONG + " Thank you very much in advance, and best wishes to all of you.",
    ],
)
def test_nearly_the_same_is_found(variant):
    assert found(one(LONG), one(variant)) == {0: False}


OTHERS = (
    "Could you please tell me when the courier may be expected at my door in Bristol?",
    "My subscription was to end on Tuesday, and I still receive your invoices every month.",
    LONG[: len(LONG) // 3],
)


@pytest.mark.parametrize("variant", OTHERS)
def test_another_question_is_none(variant):
    assert found(one(LONG), one(variant)) == {}


@pytest.mark.parametrize(
    ("held", "near", "other"),
    [
        (
            "我上星期订购的包裹到现在还没有送到，追踪页面显示它仍然在布里斯托尔附近的仓库里，请帮我查一下什么时候可以收到。",
            "我上星期订购的包裹到今天还没有送到，追踪页面显示它仍然在布里斯托尔附近的仓库里，请帮我查一下什么时候可以收到！",
            "请问你们的营业时间是什么时候？我想在周末的时候到店里去看一看新的产品，也想问一下有没有停车的地方可以使用。",
        ),
        (
            "พัสดุที่ฉันสั่งเมื่อสัปดาห์ที่แล้วยังไม่มาถึงและหน้าติดตามยังบอกว่าอยู่ในคลังสินค้าใกล้บริสตอลช่วยตรวจสอบให้หน่อยได้ไหม",
            "พัสดุที่ฉันสั่งเมื่อสัปดาห์ที่แล้วยังไม่มาถึงและหน้าติดตามยังบอกว่าอยู่ในคลังสินค้าใกล้บริสตอลช่วยตรวจสอบให้ด้วย",
            "ร้านของคุณเปิดกี่โมงในวันเสาร์และวันอาทิตย์ฉันอยากไปดูสินค้าใหม่และอยากทราบว่ามีที่จอดรถหรือไม่",
        ),
        (
            "Моя посылка должна была прийти во вторник, но на странице до сих пор написано, что она лежит на складе.",
            "Моя посылка должна была прийти в среду, но на странице до сих пор написано, что она лежит на складе.",
            "До которого часа открыт ваш магазин в субботу, и есть ли рядом место, где можно оставить машину?",
        ),
    ],
)
def test_in_other_scripts(held, near, other):
    assert found(one(held), one(held)) == {0: True}
    assert found(one(held), one(near)) == {0: False}
    assert found(one(held), one(other)) == {}


def test_within_a_document_however_long():
    words = " ".join(sentence(number) for number in range(3000))
    document = f"{words} {LONG} {words}"
    assert found(one(LONG), Dataset.of([{"text": document}])) == {0: False}
    assert found(one(LONG), Dataset.of([{"text": f"{words} {words}"}])) == {}


def test_what_all_questions_have_in_common_does_not_count():
    frame = (
        "Classify the ticket below as one of refund, delivery, account or other, and answer with that word alone. A "
        "refund is about money that the customer wants back; a delivery is about a parcel that is on its way or lost; "
        "an account is about signing in, passwords and addresses. If a ticket is about two of them, name the one that "
        "the customer speaks of first; if it is about none, or if you cannot tell, answer with other, and never with "
        "more than one word, a full stop or an explanation."
    )
    held = Dataset.of([row(f"{frame} Ticket: {sentence(n)}", "x") for n in range(40)])
    other = Dataset.of([row(f"{frame} Ticket: {sentence(n)}", "x") for n in range(100, 160)])
    assert found(held, other) == {}
    same = Dataset.of([row(f"{frame} Ticket: {sentence(7)} please", "x")])
    assert found(held, same) == {7: False}


def test_short_questions_count_only_where_they_are_equal():
    held = Dataset.of([row("What is 17 and 4?", "21"), row("Is it open?", "yes")])
    assert found(held, Dataset.of([row("What is 18 and 4?", "22"), row("Is it shut?", "no")])) == {}
    assert found(held, Dataset.of([row("is it OPEN", "no")])) == {1: True}


def test_instructions_that_all_share_do_not_hide_a_leak_and_make_none():
    def instructed(system, text):
        return {
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": text},
                {"role": "assistant", "content": "x"},
            ]
        }

    held = Dataset.of([instructed("Be kind.", sentence(n)) for n in range(4)])
    assert found(held, Dataset.of([row(sentence(2), "x")])) == {2: True}, "trained on without instructions"
    assert found(held, Dataset.of([instructed("Be curt.", sentence(2))])) == {2: True}, "or with others"
    documents = Dataset.of([instructed(f"Document: {sentence(n)}", "Summarise the document.") for n in range(4)])
    others = Dataset.of([instructed(f"Document: {sentence(n)}", "Summarise the document.") for n in range(90, 99)])
    assert found(documents, others) == {}
    assert found(documents, documents) == dict.fromkeys(range(4), True)


def test_in_every_kind_of_training_data():
    preference = {
        "input": {"messages": [{"role": "user", "content": LONG}]},
        "preferred_output": [{"role": "assistant", "content": "a"}],
        "non_preferred_output": [{"role": "assistant", "content": "b"}],
    }
    assert found(one(LONG), Dataset.of([preference])) == {0: True}
    assert found(one(LONG), Dataset.of([{"prompt": LONG, "completion": "a"}])) == {0: True}
    assert found(Dataset.of([{"prompt": LONG, "completion": "a"}]), one(LONG)) == {0: True}


def test_the_bundled_tasks_have_none():
    for name in builtin.tasks():
        train, held = map(Dataset.open, builtin.task(name))
        assert found(held, train) == {}


@pytest.fixture
def files(tmp_path):
    def write(name, rows):
        file = tmp_path / name
        file.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in rows))
        return Dataset.open(file)

    return write


def test_every_leak_is_listed_by_line_before_anybody_is_asked(client, service, files):
    before = service.requests()["chat"]
    train = files("train.jsonl", [row(sentence(n), "x") for n in range(50)] + [row(LONG, "x")])
    rows = [row(sentence(n), "secret-7") for n in (100, 3, 101, 8)]
    held = files("held.jsonl", [*rows, row(LONG.replace("Tuesday", "Friday"), "y")])
    with pytest.raises(DataError) as refused:
        client.compare(["echo"], held, training=train)
    problems = refused.value.problems
    assert [(problem.line, problem.rule) for problem in problems] == [(2, "leak"), (4, "leak"), (5, "near-leak")]
    assert "train.jsonl:4" in problems[0].message
    assert "train.jsonl:51" in problems[2].message
    assert "secret-7" not in str(refused.value)
    assert sentence(3) not in str(refused.value)
    assert service.requests()["chat"] == before
    kept = without_leaks(held, train)
    assert len(kept) == 2
    client.compare(["echo"], kept, training=train)


def test_more_than_fit_on_a_screen_are_in_the_error(client):
    with pytest.raises(DataError) as refused:
        client.compare(["echo"], echoes(30), training=echoes(30))
    assert len(refused.value.problems) == 30


def test_the_examples_of_a_prompt_and_kept_copies_are_looked_at(tmp_path, files):
    pytest.importorskip("torch")
    rows = [row(sentence(n), f"answer {n % 3}") for n in range(6)]
    targets = {"shots": {"backend": "prompt", "model": "builtin:tiny", "examples": 3}}
    with Client(targets=targets, home=tmp_path / "home", egress="none") as client:
        client.submit("shots", Dataset.of(rows)).result()
        with pytest.raises(DataError, match=r"stands in example \d of shots"):
            client.compare(["shots"], Dataset.of(rows))


def test_what_is_not_known_is_said(service, tmp_path):
    targets = {"echo": ScriptedConfig(service=service.name, reply="{text}")}
    with Client(targets=targets, home=tmp_path, clock=FakeClock()) as client:
        client.submit("echo", training()).result()
        blind = client.compare(["echo"], echoes(3))
        assert any("echo learned from is not known here" in note for note in blind.warnings)
        seeing = client.compare(["echo"], echoes(3), training=training())
        assert not any("leaks" in note for note in seeing.warnings)
        wrong = client.compare(["echo"], echoes(3), training=echoes(9, start=70))
        assert any("echo learned from other data than was given" in note for note in wrong.warnings)


def test_a_large_file_in_bounded_memory_and_time():
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(5000)]

    def text():
        return " ".join(rng.choices(words, k=60))

    held = Dataset.of([row(text(), "x") for _ in range(1000)])
    tracemalloc.start()
    leaks = Leaks(held)
    began = time.perf_counter()
    looked = sum(1 for _ in range(2000) for _ in leaks.within(next(iter(one(text()))), "t"))
    seconds = time.perf_counter() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert looked == 0
    assert seconds < 20, "about a millisecond a row, and tracing makes it slower"
    assert peak < 60e6
