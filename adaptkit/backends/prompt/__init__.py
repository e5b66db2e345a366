"""The `prompt` backend: a model is adapted by what is said to it, with no training.

| module | idea |
|---|---|
| `config` | what can be set |
| `choose` | which rows become examples |
| `beside` | files that the configuration names: the schema of the answers, the corpus |
| `adapted` | the adapted model: a file of ordered segments |
| `serving` | who answers for it |
| `cost` | what a call will cost |
| `adapter` | the backend |
| `searching` | what the worker of a job that asks does |
| `division`, `trials` | the parts of its data; asking within a budget |
| `measuring`, `optimizing` | how many examples; better instructions |
"""

from adaptkit.backends.prompt.adapter import PromptAdapter
from adaptkit.backends.prompt.config import PromptConfig

__all__ = ["PromptAdapter", "PromptConfig"]
