"""``where = "forge"``: a bundle for a Forge engagement, and the model that came back.

| module | idea |
|---|---|
| `adapter` | the backend |
| `packing` | what goes into a bundle |
| `bundle` | its folder, which appears whole |
| `handoff` | a job that others carry out |
| `address` | the model that came back: a folder, or an endpoint |
"""
