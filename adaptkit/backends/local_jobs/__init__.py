"""Jobs of this machine, each in a process of its own that outlives the client.

| module | idea |
|---|---|
| `job` | a job is a folder, and a lock that its worker holds |
| `data` | copies of what a job is made from |
| `queueing` | whose turn it is |
| `worker` | the process |
| `work` | how a program and its worker talk |
| `failures` | what went wrong, in words |

What a job does is a program: a module of the backend, named in the job's `Spec`.
"""

from adaptkit.backends.local_jobs.job import OFFLINE, QUIET, Job, Spec
from adaptkit.backends.local_jobs.work import Interrupted, ProcessWork, Stop, Work

__all__ = ["OFFLINE", "QUIET", "Interrupted", "Job", "ProcessWork", "Spec", "Stop", "Work"]
