"""The `prompt` backend: a model is adapted by what is said to it, with no training.

| module | idea |
|---|---|
| `config` | what can be set |
| `choose` | which rows become examples |
| `adapted` | the adapted model: a file of ordered segments |
| `endpoint` | OpenAI's chat wire over HTTP |
| `adapter` | the backend |
"""

from adaptkit.backends.prompt.adapter import PromptAdapter
from adaptkit.backends.prompt.config import PromptConfig

__all__ = ["PromptAdapter", "PromptConfig"]
