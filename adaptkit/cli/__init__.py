"""The command line: parses, calls the library, prints. `main` is the command ``adaptkit``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command on this process's arguments and give its exit code (`adaptkit.cli.exits`)."""
    try:
        from adaptkit.cli.app import run  # noqa: PLC0415 - typer and rich are an extra
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] not in {"typer", "rich"}:
            raise
        print(  # noqa: T201 - there is no rich to print with
            f"error: the adaptkit command needs {error.name}, which is not installed: pip install 'adaptkit[cli]'",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130
    return run()
