"""Token ids and what is learned of them, against mistral-common's own encoding for every version."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_common.protocol.instruct.messages import (
    FinetuningAssistantMessage,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.tool_calls import Tool
from mistral_common.protocol.instruct.validator import ValidationMode
from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from adaptkit.backends.base_model import mistral_file
from adaptkit.backends.chat_tokenizer import ChatTokenizer, Encoded, open_tokenizer
from adaptkit.backends.mistral_tokens import MistralTokens
from adaptkit.backends.model_folder import ModelFolder, copy_tokenizer, tokenizer_of
from adaptkit.data.records import ChatRecord, CompletionRecord, PreferenceRecord, TextRecord
from adaptkit.errors import AdaptkitWarning, ArtifactError, DataError, MissingDependencyError
from adaptkit.types import Message, TextPart, ToolCall

from .conftest import FILES, MADE

Folders = Callable[[str], Path]
ALL = [*FILES, *MADE]
WITH_TOOLS = [name for name in ALL if name != "v1"]

TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "find_parcel",
            "description": "Où est-il ?",
            "parameters": {"type": "object", "properties": {"number": {"type": "integer"}}},
        },
    },
)


def system(text: str) -> Message:
    return Message(role="system", content=text)


def user(text: str) -> Message:
    return Message(role="user", content=text)


def said(text: str, weight: float | None = None) -> Message:
    return Message(role="assistant", content=text, weight=weight)


def call(number: int, key: str) -> Message:
    return Message(
        role="assistant", tool_calls=(ToolCall(name="find_parcel", arguments={"number": number, "œ": "é"}, id=key),)
    )


def result(text: str, key: str) -> Message:
    return Message(role="tool", content=text, tool_call_id=key, name="find_parcel")


CHATS: dict[str, list[Message]] = {
    "plain": [user("Where is parcel 7?"), said("Desk 12, 日本.")],
    "system": [system("You answer briefly."), user("Où ?\n\n   ici"), said("Là-bas. ")],
    "several turns": [system("Kind."), user("a?"), said("b."), user("c?"), said("d."), user("e?"), said("f.")],
    "weight 0": [user("a?"), said("b.", 0), user("c?"), said("d.", 1), user("e?"), said("f.", 0), said("g.", 1)],
    "same weight twice": [user("a?"), said("b.", 0), said("c.", 0), user("d?"), user("e?"), said("f.")],
    "system in between": [user("a?"), said("b."), user("c?"), system("Now in French."), user("d?"), said("e.")],
    "begins with the assistant": [said("Hello."), user("a?"), said("b.")],
}
TOOL_CHATS: dict[str, list[Message]] = {
    "one call": [user("7?"), call(7, "aaaaaaaa1"), result('{"desk": 12}', "aaaaaaaa1"), said("Desk 12.")],
    "two turns with calls": [
        system("Kind."), user("7?"), call(7, "aaaaaaaa1"), result("lost", "aaaaaaaa1"), said("Lost."),
        user("8?"), call(8, "aaaaaaaa2"), result('{"desk": 3}', "aaaaaaaa2"), said("Desk 3."),
    ],
    "ends with a call": [user("7?"), said("Which?"), user("The red one."), call(7, "aaaaaaaa1")],
}  # fmt: skip


@cache
def opened(folder: Path) -> MistralTokens:
    made = open_tokenizer(folder)
    assert isinstance(made, MistralTokens)
    return made


@cache
def theirs(folder: Path, mode: ValidationMode) -> Any:
    return MistralTokenizer.from_file(str(mistral_file(folder)), mode=mode)


def request(messages: Sequence[Message], tools: Sequence[Any] = ()) -> Any:
    """A conversation as mistral-common's own, made from OpenAI's shape."""
    made: list[Any] = []
    for message in messages:
        if message.role == "assistant":
            calls = [
                {"id": each.id, "function": {"name": each.name, "arguments": json.dumps(each.arguments)}}
                for each in message.tool_calls
            ]
            made.append(
                FinetuningAssistantMessage.model_validate(
                    {"content": message.content, "tool_calls": calls or None, "weight": message.weight}
                )
            )
        elif message.role == "tool":
            made.append(ToolMessage(content=message.text, tool_call_id=message.tool_call_id, name=message.name))
        else:
            made.append({"system": SystemMessage, "user": UserMessage}[message.role](content=message.text))
    return ChatCompletionRequest(messages=made, tools=[Tool.model_validate(tool) for tool in tools] or None)


def expected(folder: Path, messages: Sequence[Message], tools: Sequence[Any] = ()) -> list[int]:
    mode = ValidationMode.finetuning if messages[-1].role == "assistant" else ValidationMode.test
    return list(theirs(folder, mode).encode_chat_completion(request(messages, tools)).tokens)


def learned(tokens: MistralTokens, encoded: Encoded) -> list[str]:
    """The stretches that are learned, as text with its control tokens."""
    stretches: list[list[int]] = [[]]
    for token, learn in zip(encoded.ids, encoded.learn, strict=True):
        if learn:
            stretches[-1].append(token)
        if not learn or token == tokens.eos:
            stretches.append([])
    texts = [tokens._plain.decode(ids, special_token_policy=SpecialTokenPolicy.KEEP) for ids in stretches if ids]
    # SentencePiece shows a space at the start of each stretch of text
    return [text.replace("▁", " ").replace("] ", "]").strip() for text in texts]


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("name", ALL)
def test_ids_of_conversations_are_mistral_commons(tokenizer_folder: Folders, name: str, chat: str) -> None:
    folder, messages = tokenizer_folder(name), CHATS[chat]
    assert opened(folder).conversation(messages).ids == expected(folder, messages)
    asked = messages[: -1 if messages[-2].role == "user" else -2]
    assert opened(folder).prompt(asked) == expected(folder, asked)


@pytest.mark.parametrize("chat", TOOL_CHATS)
@pytest.mark.parametrize("name", WITH_TOOLS)
def test_ids_of_conversations_with_tools_are_mistral_commons(tokenizer_folder: Folders, name: str, chat: str) -> None:
    folder, messages = tokenizer_folder(name), TOOL_CHATS[chat]
    encoded = opened(folder).conversation(messages, TOOLS)
    assert encoded.ids == expected(folder, messages, TOOLS)
    assert len(encoded.learn) == len(encoded.ids)
    assert opened(folder).prompt(messages[:-1], TOOLS) == expected(folder, messages[:-1], TOOLS)


def test_content_in_parts_is_joined_as_mistral_common_joins_it(tokenizer_folder: Folders) -> None:
    folder = tokenizer_folder("v3")
    parts = Message(role="user", content=(TextPart(text="a"), TextPart(text="b")))
    assert opened(folder).prompt([parts]) == expected(folder, [user("a\n\nb")])


@pytest.mark.parametrize("name", ALL)
def test_the_assistant_is_learned_with_its_end_and_nothing_else(tokenizer_folder: Folders, name: str) -> None:
    tokens = opened(tokenizer_folder(name))
    assert learned(tokens, tokens.conversation(CHATS["several turns"])) == ["b.</s>", "d.</s>", "f.</s>"]
    assert learned(tokens, tokens.conversation(CHATS["weight 0"])) == ["d.</s>", "g.</s>"]
    assert learned(tokens, tokens.conversation(CHATS["same weight twice"])) == ["f.</s>"]
    assert learned(tokens, tokens.conversation(CHATS["begins with the assistant"])) == ["Hello.</s>", "b.</s>"]


@pytest.mark.parametrize("name", WITH_TOOLS)
def test_answers_to_which_the_tools_were_not_shown_are_not_learned(tokenizer_folder: Folders, name: str) -> None:
    tokens = opened(tokenizer_folder(name))
    turns = learned(tokens, tokens.conversation(TOOL_CHATS["two turns with calls"], TOOLS))
    assert tokens.moves_tools == (name != "v13")
    assert [turn for turn in turns if not turn.startswith("[TOOL_CALLS]")] == (
        ["Desk 3.</s>"] if tokens.moves_tools else ["Lost.</s>", "Desk 3.</s>"]
    )
    calls = [turn for turn in turns if turn.startswith("[TOOL_CALLS]")]
    assert len(calls) == (1 if tokens.moves_tools else 2)
    assert '"number": 8' in calls[-1]
    assert "".join(calls).count("</s>") == len(calls)


@pytest.mark.parametrize("name", ["v2", "v3", "tekken-240718"])
def test_what_stands_before_a_learned_turn_of_a_row_with_tools_is_its_prompt(
    tokenizer_folder: Folders, name: str
) -> None:
    """The reason for leaving earlier turns out: this holds for those that are learned, and for no other."""
    tokens, messages = opened(tokenizer_folder(name)), TOOL_CHATS["two turns with calls"]
    whole = tokens.conversation(messages, TOOLS)
    for at, message in enumerate(messages):
        if message.role == "assistant":
            before = tokens.prompt(messages[:at], TOOLS)
            shown = whole.ids[: len(before)] == before
            assert shown == (at > 5)
            assert not shown or whole.learn[len(before)]


@pytest.mark.parametrize("name", ALL)
def test_text_completions_and_answers(tokenizer_folder: Folders, name: str) -> None:
    tokens = opened(tokenizer_folder(name))
    plain = tokens._plain
    text = tokens.text("Desk 12.")
    assert text.ids == [plain.bos_id, *plain.encode("Desk 12.", bos=False, eos=False), plain.eos_id]
    assert all(text.learn)
    done = tokens.completion("Where is it? At", " desk 12.")
    assert plain.decode(done.ids) == "Where is it? At desk 12."
    assert plain.decode([token for token, learn in zip(done.ids, done.learn, strict=True) if learn]).strip() == (
        "desk 12."
    )
    assert done.ids[-1] == tokens.eos
    assert done.learn[0] is False
    glued = tokens.completion("in", "side")
    assert plain.decode(glued.ids) == "inside", "nothing comes between a prompt and its completion"
    before, after = tokens.answer([user("a?")], [said("b.")])
    assert before == tokens.prompt([user("a?")])
    assert before + after == tokens.conversation([user("a?"), said("b.")]).ids
    assert after[-1] == tokens.eos
    assert 0 <= tokens.pad < plain.n_words


def test_counts_are_what_training_sees(tokenizer_folder: Folders) -> None:
    tokens = opened(tokenizer_folder("v13"))
    chat = ChatRecord(messages=(user("a?"), said("b.")))
    pair = PreferenceRecord(prompt=(user("a?"),), chosen=(said("b."),), rejected=(said("c, d."),))
    assert tokens.count(chat) == len(tokens.conversation(chat.messages))
    both = [(*pair.prompt, *answer) for answer in (pair.chosen, pair.rejected)]
    assert tokens.count(pair) == sum(len(tokens.conversation(turns)) for turns in both)
    assert tokens.count(TextRecord(text="a b")) == len(tokens.text("a b"))
    assert tokens.count(CompletionRecord(prompt="a", completion="b")) == len(tokens.completion("a", "b"))


@pytest.mark.parametrize("name", ["v1", "v3", "v7", "tekken-240911", "v13"])
def test_transformers_decodes_what_mistral_common_encodes(tokenizer_folder: Folders, name: str) -> None:
    tokens = opened(tokenizer_folder(name))
    text = "Où est le nº 1234 ?\n\n    if x:\n\t go()  日本 🙂"
    ids = tokens.text(text).ids
    assert tokens.tokenizer.decode(ids, skip_special_tokens=True) == text
    assert len(tokens.tokenizer) == tokens._plain.n_words
    assert tokens.tokenizer.eos_token_id == tokens.eos


WORDS = st.text("ab é日\n .?", min_size=1, max_size=8).filter(str.strip)
TURN = st.one_of(st.builds(user, WORDS), st.builds(said, WORDS, st.sampled_from([None, 0, 1])))


@settings(max_examples=60, deadline=None)
@given(st.lists(TURN, max_size=7), st.sampled_from(["v3", "v7", "v13"]), st.booleans())
def test_whatever_the_turns(tokenizer_folder: Folders, turns: list[Message], name: str, led: bool) -> None:
    messages = [*([system("S")] if led else []), *turns, user("q"), said("z")]
    folder = tokenizer_folder(name)
    tokens = opened(folder)
    encoded = tokens.conversation(messages)
    assert encoded.ids == expected(folder, messages)
    ends = sum(learn for token, learn in zip(encoded.ids, encoded.learn, strict=True) if token == tokens.eos)
    neighbours = zip([None, *messages], messages, strict=False)
    groups = [
        turn for before, turn in neighbours
        if turn.role == "assistant" and (before is None or (before.role, before.weight) != (turn.role, turn.weight))
    ]  # fmt: skip
    assert ends == sum(turn.weight != 0 for turn in groups)


@pytest.mark.parametrize(
    ("name", "messages", "tools"),
    [
        ("v3", [user("a"), call(7, "SECRET"), result("x", "SECRET"), said("b")], TOOLS),
        ("v1", [user("a"), call(7, "aaaaaaaa1"), result("SECRET", "aaaaaaaa1"), said("b")], TOOLS),
        ("v2", [user("a"), said("b", 0.5)], ()),
        ("v3", [user("a"), said("b")], ({"type": "function", "function": {"name": "a b SECRET", "parameters": {}}},)),
        ("v3", [user("a"), said("b")], ({"type": "function", "function": {"SECRET": 1}},)),
        ("v13", [user("SECRET"), Message(role="assistant", content=None)], ()),
        ("v7", [user("SECRET"), result("b", "aaaaaaaa1"), said("c")], ()),
    ],
)
def test_refusals_say_why_and_quote_nothing(
    tokenizer_folder: Folders, name: str, messages: list[Message], tools: Sequence[Any]
) -> None:
    with pytest.raises(DataError) as refused:
        opened(tokenizer_folder(name)).conversation(messages, tools)
    assert "SECRET" not in str(refused.value)
    assert "refuses this conversation: " in str(refused.value)


def test_an_answer_is_not_gone_on_from(tokenizer_folder: Folders) -> None:
    with pytest.raises(DataError, match="ends with the assistant"):
        opened(tokenizer_folder("v3")).prompt([user("a"), said("b")])


# -- which tokenizer a folder has -----------------------------------------------------------------------------------


def test_which_file_counts(tmp_path: Path) -> None:
    assert mistral_file(tmp_path) is None
    (tmp_path / "tokenizer.model").touch()
    assert mistral_file(tmp_path) is None, "many families have a file of that name"
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert mistral_file(tmp_path) is None
    (tmp_path / "config.json").write_text('{"model_type": "mistral"}')
    assert mistral_file(tmp_path) == tmp_path / "tokenizer.model"
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    assert mistral_file(tmp_path) is None, "it was tuned with a template of its own"
    for name in ("tokenizer.model.v3", "tokenizer.model.v11", "tokenizer.model.v7m1", "tokenizer.model.v9.bak"):
        (tmp_path / name).touch()
    assert mistral_file(tmp_path) == tmp_path / "tokenizer.model.v11"
    (tmp_path / "tekken.json").touch()
    assert mistral_file(tmp_path) == tmp_path / "tekken.json"


def test_other_models_keep_their_template() -> None:
    from adaptkit import builtin

    assert isinstance(open_tokenizer(builtin.path("tiny")), ChatTokenizer)


@pytest.fixture
def both(tokenizer_folder: Folders, tmp_path: Path) -> Path:
    """A folder with Mistral's file, and with transformers' made from it."""
    folder = tmp_path / "both"
    shutil.copytree(tokenizer_folder("short"), folder)
    opened(tokenizer_folder("short")).tokenizer.save_pretrained(folder)
    return folder


def test_both_kinds_of_files_that_agree(both: Path, recwarn: pytest.WarningsRecorder) -> None:
    made = open_tokenizer(both)
    assert isinstance(made, MistralTokens)
    assert made.template is not None
    assert made.tokenizer.name_or_path == str(both)
    assert not [warning for warning in recwarn if issubclass(warning.category, AdaptkitWarning)]


def test_both_kinds_of_files_that_differ(both: Path) -> None:
    template = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}"
    (both / "chat_template.jinja").write_text(template)
    with pytest.warns(AdaptkitWarning, match=r"other token ids than Mistral's tekken\.json"):
        made = open_tokenizer(both)
    assert made.prompt([user("a")]) == expected(both, [user("a")]), "mistral-common's hold"


def test_files_of_two_models(both: Path, tokenizer_folder: Folders) -> None:
    shutil.copyfile(tokenizer_folder("v13") / "tekken.json", both / "tekken.json")
    said_of = json.loads((both / "tekken.json").read_text())
    said_of["config"] |= {"default_vocab_size": said_of["config"]["default_vocab_size"] - 5}
    (both / "tekken.json").write_text(json.dumps(said_of))
    with pytest.raises(ArtifactError, match="one of them is of another model"):
        open_tokenizer(both)


def test_damaged_and_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tekken.json").write_text('{"config": {}}')
    with pytest.raises(ArtifactError, match="mistral-common cannot read"):
        open_tokenizer(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "adaptkit.backends.mistral_tokens", None)
    with pytest.raises(MissingDependencyError, match=r"adaptkit\[train\]"):
        open_tokenizer(tmp_path)


def test_a_copy_for_peft_weights_is_told_without_a_configuration(tokenizer_folder: Folders, tmp_path: Path) -> None:
    base, copy, whole = (tmp_path / name for name in ("base", "copy", "whole"))
    for folder in (base, copy, whole):
        folder.mkdir()
    shutil.copyfile(tokenizer_folder("v1") / "tokenizer.model.v1", base / "tokenizer.model")
    (base / "config.json").write_text('{"model_type": "mistral"}')
    copy_tokenizer(base, copy)
    assert tokenizer_of(ModelFolder(copy, "base", {}), base) == copy
    assert opened(copy).prompt([user("a")]) == opened(base).prompt([user("a")])
    copy_tokenizer(tokenizer_folder("v7m1"), whole)
    assert [file.name for file in whole.iterdir()] == ["tokenizer.model.v7m1"]
