"""What `import adaptkit` costs over importing its own core dependencies: the ratio of the two, in the same run.

    python benchmarks/import_time.py [RUNS]

The two are timed in turn, each in a fresh interpreter, and the least of each is compared: an import does the same work
every time, so whatever is above the least is the machine's doing.
"""

import subprocess
import sys
import time

BASELINE = (
    "import sqlite3, anyio, anyio.to_thread, httpx2, msgspec, tenacity; "
    "from pydantic import BaseModel, Field, TypeAdapter, ValidationError"
)


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    empty, core, ours, used = [], [], [], []
    for _ in range(runs):
        empty.append(seconds("pass"))
        core.append(seconds(BASELINE))
        ours.append(seconds("import adaptkit"))
        used.append(seconds("from adaptkit import Client, Dataset"))
    start = min(empty)
    print(f"baseline  core dependencies  {min(core) - start:.3f} s   ({BASELINE})")
    print(f"in use    from adaptkit import Client, Dataset  {min(used) - start:.3f} s")
    print(f"adaptkit  import adaptkit    {min(ours) - start:.3f} s")
    print(f"ratio     {(min(ours) - start) / (min(core) - start):.2f} imported   (goal: at most 1.20)")
    print(f"ratio     {(min(used) - start) / (min(core) - start):.2f} in use")


if __name__ == "__main__":
    main()
