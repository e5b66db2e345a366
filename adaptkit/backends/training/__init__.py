"""How training goes, whatever is trained and wherever: examples, batches, losses, checkpoints.

| module | idea |
|---|---|
| `defaults` | what is taken where nothing is set |
| `encode` | records to token ids |
| `batches` | which examples go together, planned from the seed alone |
| `losses` | what is learned |
| `checkpoints` | whole, or they do not count |
"""
