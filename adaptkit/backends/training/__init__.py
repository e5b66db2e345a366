"""How training goes, whatever is trained and wherever: examples, batches, losses, checkpoints.

| module | idea |
|---|---|
| `defaults` | what is taken where nothing is set |
| `adapters` | LoRA as PEFT is asked for it |
| `encode` | records to token ids |
| `batches` | which examples go together, planned from the seed alone |
| `losses` | what is learned: tokens, or a preference |
| `checkpoints` | whole, or they do not count |
| `saving` | a trained model as a folder |
| `failures`, `threads` | memory that is too small, and threads that only wait |

Beyond transformers' trainer, for one process and many:

| module | idea |
|---|---|
| `parallel` | the group of processes, and a model spread over it |
| `corpus` | encoded data on disk |
| `rows` | which rows each step learns from |
| `loop` | the loop itself |
| `shards` | its checkpoints, which any number of processes reads |
| `report` | what it tells, and when a checkpoint is due |
| `flops` | how much of a GPU it uses |
"""
