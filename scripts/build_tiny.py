"""Make ``builtin:tiny`` and the bundled tasks from synthetic text, the same to the byte on every run.

    python scripts/build_tiny.py [--out FOLDER]

Steps, seeds and the order of all data are fixed; no clock and no outside text goes in. Equal bytes are claimed for runs
on one machine with the same library versions, not across processors.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import hashlib
import itertools
import json
import math
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from random import Random

import tiny_tasks
import tiny_text
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Row = tuple[list[int], list[float]]
Batch = tuple[torch.Tensor, torch.Tensor]
BUILTIN = Path(__file__).parent.parent / "adaptkit" / "builtin"
SPECIAL = ("<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
# One line: white space outside the tags would become part of the prompt.
TEMPLATE = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{%- if message['role'] not in ['system', 'user', 'assistant', 'tool'] -%}"
    "{{- raise_exception('builtin:tiny knows the roles system, user, assistant and tool, not ' ~ message['role']) -}}"
    "{%- endif -%}"
    "{{- '<|' ~ message['role'] ~ '|>' -}}"
    "{%- set text -%}{%- if message['content'] is string -%}{{- message['content'] -}}"
    "{%- elif message['content'] -%}"
    "{%- for part in message['content'] -%}{{- part['text'] -}}{%- endfor -%}{%- endif -%}"
    "{%- if message.get('tool_calls') -%}{{- message['tool_calls'] | tojson -}}{%- endif -%}{%- endset -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{- text ~ '<|end|>' -}}{%- endgeneration -%}"
    "{%- else -%}{{- text ~ '<|end|>' -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)
RECIPE = {
    "vocab": 1024,
    "hidden": 128,
    "layers": 4,
    "heads": 4,
    "inner": 344,
    "context": 512,
    "steps": 600,
    "echo_steps": 150,
    "tokens_per_step": 2048,
    "rate_matrices": 0.01,
    "rate_rest": 0.002,
    "warmup": 150,
    "seed": 20261124,
}


def make_tokenizer(recipe: dict[str, float]) -> PreTrainedTokenizerFast:
    """A byte-level BPE learnt from the synthetic text: any text round-trips, each digit is a token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    random = Random(recipe["seed"])
    texts = [
        text for document in tiny_text.documents(random, 12000) for turn in document for text in (turn.lead, turn.text)
    ]
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=int(recipe["vocab"]),
            special_tokens=list(SPECIAL),
            show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|begin|>",
        eos_token="<|end|>",
        pad_token="<|pad|>",
        model_max_length=int(recipe["context"]),
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE,
    )


def make_model(recipe: dict[str, float], seed: int) -> LlamaForCausalLM:
    """The untrained model; the same seed gives the same weights."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=int(recipe["vocab"]),
            hidden_size=int(recipe["hidden"]),
            intermediate_size=int(recipe["inner"]),
            num_hidden_layers=int(recipe["layers"]),
            num_attention_heads=int(recipe["heads"]),
            num_key_value_heads=int(recipe["heads"]),
            max_position_embeddings=int(recipe["context"]),
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
            dtype="float32",
        )
    )


@torch.no_grad()
def prime(model: LlamaForCausalLM) -> None:
    """Start with heads that look one token back, and heads that look for what followed the same token before.

    Learning in context is built on this pair (Olsson et al. 2022, induction heads), and it takes random weights far
    longer to find it than the whole budget here. The lower half of the residual stream holds the token; a head of each
    even layer copies the previous token's lower half into the upper half, where the layer above compares it with the
    present token. All of it is ordinary weights, and all of it is trained on.
    """
    size, width = model.config.hidden_size, model.config.hidden_size // model.config.num_attention_heads
    eye, half, fast = torch.eye(size), width // 2, 5
    # Rotary angle per token of the fast pairs: a key turned by one step matches best one token back.
    angles = model.config.rope_parameters["rope_theta"] ** (-torch.arange(fast) / half)
    slow = [*range(fast, half), *range(half + fast, width)]
    embedding = model.model.embed_tokens.weight
    embedding[:, : size // 2] *= 2**0.5
    embedding[:, size // 2 :] *= 0.1
    embedding[:, 0] = 0.1  # a constant that heads can build a fixed query from; it shifts all logits alike
    layers = model.model.layers
    for back, match in zip(layers[::2], layers[1::2], strict=True):
        for head in range(2):
            rows = slice(head * width, (head + 1) * width)
            present, previous = eye[rows].clone(), eye[size // 2 :][rows]
            present[:, 0] = 0
            for layer in (back.self_attn, match.self_attn):
                for part in (layer.q_proj, layer.k_proj, layer.v_proj):
                    part.weight[rows] *= 0.1
                layer.v_proj.weight[rows] += present
            back.self_attn.q_proj.weight[rows][:fast, 0] += 1.5
            back.self_attn.k_proj.weight[rows][:fast, 0] += 1.5 * angles.cos()
            back.self_attn.k_proj.weight[rows][half : half + fast, 0] += 1.5 * angles.sin()
            back.self_attn.o_proj.weight[:, rows] = 0.03 * previous.T
            match.self_attn.q_proj.weight[rows][slow] += 1.2 * present[1 : 1 + len(slow)]
            match.self_attn.k_proj.weight[rows][slow] += 1.2 * previous[1 : 1 + len(slow)]
            match.self_attn.o_proj.weight[:, rows] = 0.3 * present.T


def encode(tokenizer: PreTrainedTokenizerFast, documents: list[tiny_text.Document]) -> list[Row]:
    """Token ids and loss weights, laid out as the chat template does (which ``check_template`` proves)."""
    texts = [text for document in documents for turn in document for text in (turn.lead, turn.text)]
    pieces = iter(tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False))
    rows = []
    for document in documents:
        ids, weights = [1], [0.0]
        for turn in document:
            lead, text = next(pieces).ids, next(pieces).ids
            ids += [SPECIAL.index(f"<|{turn.role}|>"), *lead, *text, 2]
            weights += [0.0] * (1 + len(lead)) + [turn.weight] * (len(text) + 1)
        rows.append((ids, weights))
    return rows


def check_template(tokenizer: PreTrainedTokenizerFast, documents: list[tiny_text.Document]) -> None:
    """Refuse to train on another layout than the one that chat will use."""
    for document, (ids, _) in zip(documents, encode(tokenizer, documents), strict=True):
        messages = [{"role": turn.role, "content": turn.lead + turn.text} for turn in document]
        if tokenizer.apply_chat_template(messages, return_dict=False) != ids:
            raise AssertionError(f"the chat template and the training layout differ on {messages}")


def echoes(recipe: dict[str, float]) -> Iterator[Batch]:
    """Random tokens that only looking back can answer, for a few hundred steps before any text.

    Even steps: a list said three times over. Odd steps: pairs in random order, the second of a pair to be recalled.
    """
    random = torch.Generator().manual_seed(int(recipe["seed"]) + 2)
    half, low, high = int(recipe["tokens_per_step"]) // 2, len(SPECIAL), int(recipe["vocab"])
    for step in range(int(recipe["echo_steps"])):
        width = 3 + step * 7 % 14
        count = half // (3 * width)
        if step % 2:
            pairs = torch.randint(low, high, (count, width, 2), generator=random)
            picked = torch.randint(width, (count, 2 * width), generator=random)
            ids = pairs[torch.arange(count)[:, None], picked].flatten(1)
            again = (picked[:, :, None] == picked[:, None, :]).tril(-1).any(-1)
            weights = torch.stack([torch.zeros(again.shape), again.float()], 2).flatten(1)
        else:
            ids = torch.randint(low, high, (count, width), generator=random).repeat(1, 3)
            weights = torch.ones(ids.shape)
            weights[:, : width + 1] = 0
        yield torch.nn.functional.pad(ids, (1, 0), value=1), torch.nn.functional.pad(weights, (1, 0))


def dialogues(tokenizer: PreTrainedTokenizerFast, recipe: dict[str, float]) -> Iterator[Batch]:
    """Endless ``(ids, weights)`` of about ``tokens_per_step`` tokens, rows of like length together."""
    random = Random(recipe["seed"] + 1)
    budget, context = int(recipe["tokens_per_step"]), int(recipe["context"])
    while True:
        rows = encode(tokenizer, tiny_text.documents(random, 2500))
        rows = sorted((row for row in rows if len(row[0]) <= context), key=lambda row: len(row[0]))
        groups, group = [], []
        for row in rows:
            if group and len(row[0]) * (len(group) + 1) > budget:
                groups.append(group)
                group = []
            group.append(row)
        groups.append(group)
        random.shuffle(groups)
        for group in groups:
            width = max(len(ids) for ids, _ in group)
            yield (
                torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in group]),
                torch.tensor([weights + [0.0] * (width - len(weights)) for _, weights in group]),
            )


class Muon:
    """Momentum with orthogonalised updates for matrices (Jordan et al. 2024), in float32 and batched by shape.

    torch's own works in bfloat16, which is 20 times slower on processors without bfloat16 units.
    """

    def __init__(self, matrices: list[torch.nn.Parameter], rate: float, momentum: float = 0.95) -> None:
        self.rate, self.momentum = rate, momentum
        shapes = sorted({tuple(matrix.shape) for matrix in matrices})
        self.groups = [[matrix for matrix in matrices if tuple(matrix.shape) == shape] for shape in shapes]
        self.averages = [torch.zeros(len(group), *group[0].shape) for group in self.groups]

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """One update at ``factor`` times the rate; the gradients are left as they are."""
        for group, average in zip(self.groups, self.averages, strict=True):
            gradient = torch.stack([matrix.grad for matrix in group])
            average.lerp_(gradient, 1 - self.momentum)
            update = orthogonal(gradient.lerp(average, self.momentum))
            rate = self.rate * factor * max(1.0, update.shape[1] / update.shape[2]) ** 0.5
            torch._foreach_add_(group, list(update.unbind()), alpha=-rate)


def orthogonal(x: torch.Tensor) -> torch.Tensor:
    """Roughly the nearest orthogonal matrices, by five quintic Newton-Schulz steps (coefficients of Jordan et al.)."""
    if x.shape[1] > x.shape[2]:
        return orthogonal(x.mT).mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: dict[str, float]) -> None:
    """Muon on the matrices of the layers, AdamW on the embeddings and norms; cosine to a tenth."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    chosen = {id(p) for p in matrices}
    muon = Muon(matrices, recipe["rate_matrices"])
    adam = torch.optim.AdamW(
        [p for p in model.parameters() if id(p) not in chosen],
        lr=recipe["rate_rest"],
        betas=(0.9, 0.98),
        weight_decay=0.0,
        fused=True,
    )
    steps, begun, shown = int(recipe["echo_steps"] + recipe["steps"]), time.monotonic(), 0.0
    tokens = 0
    data = itertools.chain(echoes(recipe), dialogues(tokenizer, recipe))
    for step, (ids, weights) in enumerate(itertools.islice(data, steps)):
        warm = min(1.0, (step + 1) / recipe["warmup"])
        factor = warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        adam.param_groups[0]["lr"] = recipe["rate_rest"] * factor
        # Rows are padded on the right and attention is causal, so no mask is needed.
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        counted = weights[:, 1:] > 0
        logits = model.lm_head(hidden[counted])
        losses = torch.nn.functional.cross_entropy(logits, ids[:, 1:][counted], reduction="none")
        share = weights[:, 1:][counted]
        loss = (losses * share).sum() / share.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        muon.step(factor)
        adam.step()
        model.zero_grad()
        tokens += ids.numel()
        shown = 0.98 * shown + 0.02 * loss.item()
        if step % 50 == 49 or step == 5:
            took = time.monotonic() - begun
            print(
                f"step {step + 1}/{steps}  loss {shown / (1 - 0.98 ** (step + 1)):.3f}  {tokens / took:.0f} tok/s  "
                f"{took:.0f} s  {probe(model, tokenizer)}",
                flush=True,
            )


@torch.no_grad()
def probe(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> str:
    """Share of the answers' tokens that are right, by kind of document: what the figures in the log mean."""
    said = []
    for maker in (tiny_text.topic, tiny_text.coded, tiny_text.repeat, tiny_text.reply):
        random = Random(7)
        rows = encode(tokenizer, [maker(random) for _ in range(24)])
        width = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows])
        weights = torch.tensor([weights + [0.0] * (width - len(weights)) for _, weights in rows])
        asked = weights[:, 1:] >= 1.0
        right = model(input_ids=ids).logits[:, :-1].argmax(-1) == ids[:, 1:]
        said.append(f"{maker.__name__} {right[asked].float().mean():.2f}")
    return "  ".join(said)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: dict[str, float], out: Path) -> None:
    """The model folder with its manifest."""
    folder = out / "tiny"
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    files = sorted(path for path in folder.iterdir() if path.name != "manifest.json")
    for path in files:
        path.chmod(0o644)
    manifest = {
        "name": "tiny",
        "made": "from synthetic text only, by scripts/build_tiny.py",
        "recipe": recipe,
        "parameters": sum(p.numel() for p in model.parameters()),
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers", "safetensors")},
        "files": {path.name: sha256(path) for path in files},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def main() -> None:
    """Build everything into the package, or elsewhere."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=BUILTIN)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="try another recipe")
    options = parser.parse_args()
    recipe = RECIPE | {key: json.loads(value) for key, value in (item.split("=") for item in options.set)}
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    tokenizer = make_tokenizer(recipe)
    check_template(tokenizer, tiny_text.documents(Random(1), 500))
    model = make_model(recipe, int(recipe["seed"]))
    prime(model)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(tokenizer)} tokens", flush=True)
    train(model, tokenizer, recipe)
    write(model, tokenizer, recipe, options.out)
    tiny_tasks.write(options.out / "tasks")


if __name__ == "__main__":
    main()
