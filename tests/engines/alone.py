"""A program that says in which process it ran."""

import os

from adaptkit.backends.local_jobs import Job, Work


def run(job: Job, work: Work) -> str:
    return str(os.getpid())
