"""Graders of reinforcement fine-tuning: what scores an answer.

In their texts ``{{item.X}}`` is a key of the row, and ``{{sample.output_text}}`` the answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Grader",
    "LabelModel",
    "Lambda",
    "Multi",
    "Python",
    "SamplingParams",
    "ScoreModel",
    "StringCheck",
    "TextSimilarity",
    "Turn",
]

_Name = Annotated[str, Field(min_length=1)]


class _Grader(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, protected_namespaces=())


class StringCheck(_Grader):
    """1 if two texts compare as wanted, else 0."""

    type: Literal["string_check"]
    name: _Name
    input: str
    reference: str
    operation: Literal["eq", "ne", "like", "ilike"]


class TextSimilarity(_Grader):
    """How alike two texts are."""

    type: Literal["text_similarity"]
    name: _Name
    input: str
    reference: str
    evaluation_metric: Literal["cosine", "fuzzy_match", "bleu", "gleu", "meteor", "rouge_1", "rouge_2", "rouge_3",
                               "rouge_4", "rouge_5", "rouge_l"]  # fmt: skip


class Python(_Grader):
    """A program with a function ``grade(sample, item)``, run by the host."""

    type: Literal["python"]
    name: _Name
    source: str = Field(min_length=1)
    image_tag: str | None = None


class Turn(_Grader):
    """One message that a grading model is given."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | tuple[dict[str, Any], ...]


class SamplingParams(_Grader):
    """How a grading model answers; the first name is spelled as OpenAI does."""

    max_completions_tokens: int | None = Field(None, ge=1)
    reasoning_effort: str | None = None
    seed: int | None = None
    temperature: float | None = None
    top_p: float | None = None


class ScoreModel(_Grader):
    """A model's score, 0 to 1 unless ``range`` says otherwise."""

    type: Literal["score_model"]
    name: _Name
    model: _Name
    input: tuple[Turn, ...] = Field(min_length=1)
    range: tuple[float, float] | None = None
    sampling_params: SamplingParams | None = None


class LabelModel(_Grader):
    """A model's label, 1 if it is one of ``passing_labels``; only inside `Multi`."""

    type: Literal["label_model"]
    name: _Name
    model: _Name
    input: tuple[Turn, ...] = Field(min_length=1)
    labels: tuple[str, ...] = Field(min_length=1)
    passing_labels: tuple[str, ...] = Field(min_length=1)


class Multi(_Grader):
    """Several graders by name, and a formula over their names."""

    type: Literal["multi"]
    name: _Name
    graders: dict[
        str,
        Annotated[StringCheck | TextSimilarity | Python | ScoreModel | LabelModel, Field(discriminator="type")],
    ] = Field(min_length=1)
    calculate_output: str = Field(min_length=1)


class Lambda(_Grader):
    """A function on AWS Lambda, by its ARN; Amazon Bedrock's."""

    type: Literal["lambda"]
    function: str = Field(pattern=r"^arn:aws[a-z-]*:lambda:")


Grader = Annotated[StringCheck | TextSimilarity | Python | ScoreModel | Multi | Lambda, Field(discriminator="type")]
