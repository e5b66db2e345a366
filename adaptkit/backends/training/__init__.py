"""How training goes, whatever is trained and wherever: examples, rows, losses, checkpoints.

| module | idea |
|---|---|
| `defaults` | what is taken where nothing is set |
| `adapters` | LoRA as PEFT is asked for it |
| `encode` | records to token ids |
| `corpus`, `reading` | encoded data on disk, made from the files of a job |
| `rows` | which rows each step learns from |
| `losses` | what is learned: tokens, or a preference |
| `parallel` | the group of processes, and a model spread over it |
| `loop` | the loop itself, for one process and many |
| `checkpoints` | whole, or they do not count |
| `shards` | those of the loop, which any number of processes reads |
| `saving` | a trained model as a folder |
| `failures`, `threads` | memory that is too small, and threads that only wait |
| `report` | what it tells, and when a checkpoint is due |
| `flops` | how much of a GPU it uses |
"""
