"""Services that answer, behind one neutral request: who prompts, judges or reflects uses these.

| module | idea |
|---|---|
| `ask` | the neutral request, and what a service is |
| `vendors` | what is known of each vendor without asking: address, key, what it cannot express |
| `window` | how much a model reads and writes: as its service told, else by a dated table |
| `pdfs` | PDFs as parts of a message |
| `sdk` | what the official SDKs have in common: errors, logs, keys |
| `anthropic`, `openai`, `mistral` | one SDK each |
| `plain` | an address that speaks OpenAI's chat wire, and a model in this process |

A service is one request a call: it neither retries nor keeps anything.
"""

from adaptkit.backends.services.ask import Ask, Cache, Service
from adaptkit.backends.services.vendors import VENDORS, Vendor, open_vendor, split_model

__all__ = ["VENDORS", "Ask", "Cache", "Service", "Vendor", "open_vendor", "split_model"]
