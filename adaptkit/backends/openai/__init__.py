"""The `openai` backend: OpenAI's fine-tuning wire, at OpenAI and wherever else it is spoken.

| module | idea |
|---|---|
| `config`, `graders` | what can be set |
| `profiles` | what each host on this wire has, as one table |
| `asking` | a configuration as the body of a job |
| `refusals` | everything in it that a host cannot take |
| `rules` | what training data must keep |
| `api` | the vendor's SDK behind one seam: its errors, its answers, its pages |
| `uploads` | files, whole or in parts |
| `answers` | what the host says of jobs, events and checkpoints, as values |
| `recipes` | what the host says that it runs, compared, and as a table |
| `inventory` | what an account has |
| `results` | the figures of a job, from its result files |
| `azure` | deployments, which Azure keeps behind another API |
| `adapter` | the backend |
"""

from adaptkit.backends.openai.adapter import OpenAIAdapter
from adaptkit.backends.openai.config import OpenAIConfig

__all__ = ["OpenAIAdapter", "OpenAIConfig"]
