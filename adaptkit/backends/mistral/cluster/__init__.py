"""``where = "cluster"``: training on your own machines.

| module | idea |
|---|---|
| `adapter` | the backend |
| `settings` | every setting that was left open |
| `sizes`, `figures`, `pace` | what it takes: parameters, memory, hours, money |
| `running` | the program of a job |
| `words` | its tokenizer, with new tokens or without |
| `encoding` | the data of all stages as token ids |
| `loading` | the model that a stage begins with |
| `telling` | how a stage talks to its job |
"""
