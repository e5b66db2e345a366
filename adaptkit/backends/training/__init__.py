"""How training goes, whatever is trained and wherever: examples, batches, losses, checkpoints.

| module | idea |
|---|---|
| `encode` | records to token ids |
| `batches` | which examples go together, planned from the seed alone |
| `losses` | what is learned |
| `checkpoints` | whole, or they do not count |
"""
