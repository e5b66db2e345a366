"""Writing a model for other programs: merged safetensors, GGUF, or a folder that Ollama imports.

The PEFT folder itself is what vLLM and PEFT load; `merged` is a plain transformers folder, which everything loads.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from adaptkit.backends.base_model import fetch, hub_id, local_folder
from adaptkit.backends.chat_tokenizer import Tokenizer, open_tokenizer
from adaptkit.backends.local_model import load_weights, quiet
from adaptkit.backends.model_folder import base_of, copy_tokenizer, open_folder, tokenizer_of
from adaptkit.errors import ArtifactError, BackendError, UnsupportedError
from adaptkit.types import Message

__all__ = ["export"]

#: Folder with llama.cpp's converter; without it, the converter is looked for on the PATH.
LLAMA_CPP = "ADAPTKIT_LLAMA_CPP"
_CONVERTER = "convert_hf_to_gguf.py"


def export(model: str, form: str, path: Path, *, offline: bool, stand_in: str | None = None) -> Path:
    """Write a model; arguments and errors as for `SupportsExport.export`, the others as for `LocalModel.load`.

    Raises:
        UnsupportedError: no such format, or GGUF without llama.cpp's converter.
        ArtifactError: the model is damaged, or ``path`` is not empty.
        BackendError: the converter failed.
    """
    writers: Mapping[str, Callable[[Callable[[Path], None], Path], None]] = {
        "merged": lambda merge, draft: merge(draft),
        "gguf": _gguf,
        "ollama": _ollama,
    }
    if form not in writers:
        raise UnsupportedError(f"there is no export format {form!r}; there are {', '.join(writers)}")
    if form == "gguf":
        _converter()  # refuse before the slow part
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ArtifactError(f"{path} is not an empty folder; nothing was written")
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as held:
        draft = Path(held) / "model"
        draft.mkdir()
        writers[form](partial(_merged, model, offline, stand_in), draft)
        if path.exists():
            path.rmdir()
        draft.rename(path)
    return path


def _merged(model: str, offline: bool, stand_in: str | None, draft: Path) -> None:
    """The weights with the change added in: fp32 where there is no GPU, else in the base's own precision."""
    import torch  # noqa: PLC0415 - an extra

    folder = fetch(model, offline=offline) if hub_id(model) else local_folder(model)
    found = open_folder(Path(str(folder)))
    base = base_of(found, offline=offline, stand_in=stand_in)
    loaded = load_weights(found, base)
    if base is not None:
        loaded = loaded.merge_and_unload()
    with quiet():
        loaded.to(torch.device("cpu")).save_pretrained(draft)
    copy_tokenizer(tokenizer_of(found, base), draft)


def _gguf(merge: Callable[[Path], None], draft: Path) -> None:
    with tempfile.TemporaryDirectory(dir=draft.parent) as held:
        merge(Path(held))
        command = [sys.executable, str(_converter()), held, "--outfile", str(draft / "model.gguf")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise BackendError(
            f"llama.cpp's converter failed: {last}. It knows the tokenizers of the large families; one made from "
            'scratch it may refuse. export("merged") works for every model.',
            backend="lora",
        )


def _converter() -> Path:
    named = os.environ.get(LLAMA_CPP)
    found = Path(named) / _CONVERTER if named else Path(shutil.which(_CONVERTER) or "")
    if not found.is_file():
        raise UnsupportedError(
            f'export("gguf") needs {_CONVERTER} of llama.cpp: clone https://github.com/ggml-org/llama.cpp, install '
            f'its requirements.txt, and set {LLAMA_CPP} to that folder. export("merged") needs nothing.'
        )
    return found


def _ollama(merge: Callable[[Path], None], draft: Path) -> None:
    """Merged weights and the Modelfile that ``ollama create NAME -f Modelfile`` reads; GGUF where it can be made."""
    merge(draft)
    tokenizer = open_tokenizer(draft)
    lines = ["FROM .", "PARAMETER temperature 0"]
    if tokenizer.tokenizer.eos_token:
        lines.append(f"PARAMETER stop {json.dumps(tokenizer.tokenizer.eos_token)}")
    template = go_template(tokenizer)
    if template is None:
        lines.append("# the chat template has no form that Ollama reads: check TEMPLATE before use")
    else:
        lines.append(f'TEMPLATE """{template}"""')
    (draft / "Modelfile").write_text("\n".join(lines) + "\n", encoding="utf-8")


def go_template(tokenizer: Tokenizer) -> str | None:
    """The chat template in Ollama's language, where each turn is written between fixed texts; else ``None``.

    The texts are read off renderings of marked turns, and the result is checked on a conversation with all of them.
    """
    template = tokenizer.template
    if template is None:
        return None
    mark = "\x02turn\x03"
    system, user, assistant = (Message(role=role, content=mark) for role in ("system", "user", "assistant"))
    whole = [system, user, assistant, user]
    try:
        head = template.render([user]).text
        pairs = {"user": head, "system": template.render([system, user]).text}
        asked, answered = template.render([user], ask=True).text, template.render([user, assistant]).text
        wanted = template.render(whole, ask=True).text
    except (ArtifactError, ValueError):
        return None
    if pairs["system"].count(mark) != 2 or answered.count(mark) != 2 or head.count(mark) != 1:
        return None
    bos = tokenizer.tokenizer.bos_token or ""
    start = bos if bos and all(text.startswith(bos) for text in (head, asked, answered, pairs["system"])) else ""
    said_user = head.removeprefix(start).split(mark)
    said_assistant = answered.removeprefix(head).split(mark)
    said_system = (
        pairs["system"].removeprefix(start).removesuffix("".join([said_user[0], mark, said_user[1]])).split(mark)
    )
    opening = asked.removeprefix(head)
    parts = {"system": said_system, "user": said_user, "assistant": said_assistant}
    made = start + "".join(mark.join(parts[message.role]) for message in whole) + opening
    if made != wanted or any(len(part) != 2 for part in parts.values()) or "{{" in made or '"""' in made:
        return None
    body = "".join(
        f'{{{{ {"if" if first else "else if"} eq .Role "{role}" }}}}{part[0]}{{{{ .Content }}}}{part[1]}'
        for first, (role, part) in zip((True, False, False), parts.items(), strict=True)
    )
    return f"{start}{{{{ range .Messages }}}}{body}{{{{ end }}}}{{{{ end }}}}{opening}"
