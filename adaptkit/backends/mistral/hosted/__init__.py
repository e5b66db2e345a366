"""``where = "hosted"``: a private deployment of Mistral's former jobs protocol, and ``ft:`` models at Mistral.

| module | idea |
|---|---|
| `adapter` | the backend |
| `retired` | what is gone, since when, and what to use instead |
| `jobs` | what the protocol says of jobs, as values |
| `files` | uploads |
| `rows` | what training data must keep |
| `owned` | ``ft:`` models, through Mistral's SDK |
"""
