"""The user's examples: records, reading, checks, formats.

```python
data = Dataset.open("tickets.jsonl")
train, held_out = data.split(0.2, seed=0)
print(train.check("lora"))
train.write("train.jsonl", format="mistral")
```
"""

from adaptkit.data.check import DataRules, Report
from adaptkit.data.dataset import Dataset, Written
from adaptkit.data.formats.messages import message_from
from adaptkit.data.problems import Finding, Problem
from adaptkit.data.records import ChatRecord, CompletionRecord, PreferenceRecord, Record, TextRecord
from adaptkit.data.stats import FileFacts, Lengths, Stats

__all__ = [
    "ChatRecord",
    "CompletionRecord",
    "DataRules",
    "Dataset",
    "FileFacts",
    "Finding",
    "Lengths",
    "PreferenceRecord",
    "Problem",
    "Record",
    "Report",
    "Stats",
    "TextRecord",
    "Written",
    "message_from",
]
