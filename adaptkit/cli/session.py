"""What every command shares: the common options, where output goes, and how errors end.

What was asked for goes to stdout, what is said on the way to stderr. With ``--json`` stdout is JSON only: one document,
or one document a line where a command follows something.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, wraps
from pathlib import Path
from typing import Annotated, Any, TextIO

import msgspec
import typer
from rich.console import Console, RenderableType
from rich.text import Text

from adaptkit.cli.exits import Exit, code_of
from adaptkit.client import Client
from adaptkit.errors import AdaptkitError, AdaptkitWarning, DataError
from adaptkit.types import JobRef

__all__ = ["Session", "clean", "verb"]

#: Columns for tables in a pipe, where nothing says how many there are.
PIPE_WIDTH = 160
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """Text from a model, a file or a service without the control characters that could steer a terminal."""
    return _CONTROL.sub("�", text.replace("\r\n", "\n"))


def console(stream: TextIO) -> Console:
    """A console that wraps for a terminal and leaves lines whole in a pipe."""
    piped = not stream.isatty()
    return Console(
        file=stream, highlight=False, markup=False, emoji=False, soft_wrap=piped, width=PIPE_WIDTH if piped else None
    )


class Session:
    """One run of a command.

    Args:
        as_json: Whether stdout is for a program.
        config: The configuration file, or ``None`` to look for one.
        home: The home folder, or ``None`` for the default.
        debug: Whether errors come with a traceback.
    """

    def __init__(self, *, as_json: bool, config: Path | None, home: Path | None, debug: bool) -> None:
        self.as_json, self.config, self.home, self.debug = as_json, config, home, debug
        self.stderr = console(sys.stderr)
        #: Where text for people goes.
        self.screen = self.stderr if as_json else console(sys.stdout)
        #: The job being followed, so that Ctrl-C can say how to come back.
        self.following: JobRef | None = None
        #: What Ctrl-C says where no job is followed.
        self.on_interrupt = "interrupted"

    @cached_property
    def client(self) -> Client:
        """A client for the configuration that was named or found."""
        return Client(self.config, home=self.home)

    def close(self) -> None:
        """Let go of the client, if there is one."""
        if "client" in self.__dict__:
            self.client.close()

    @contextmanager
    def watching(self, ref: JobRef) -> Iterator[None]:
        """While this lasts Ctrl-C, like an error, leaves a job running; then it is said how to come back to it."""
        self.following = ref
        yield
        self.following = None  # not after an exception: what handles that wants to know

    def say(self, *what: RenderableType) -> None:
        """Show something to people."""
        for part in what:
            self.screen.print(part)

    def note(self, text: str) -> None:
        """Say something on the way, on stderr."""
        self.stderr.print(Text(clean(text), style="dim"), soft_wrap=True)  # a reference in it can be copied whole

    def document(self, value: object) -> None:
        """Write one JSON document on a line of its own, if stdout is for a program."""
        if self.as_json:
            sys.stdout.write(msgspec.json.encode(value, enc_hook=_plain).decode() + "\n")
            sys.stdout.flush()

    def indented(self, value: object) -> None:
        """Give what is JSON for people too: a line to a program, indented otherwise."""
        encoded = msgspec.json.encode(value, enc_hook=_plain)
        shown = encoded if self.as_json else msgspec.json.format(encoded, indent=2)
        sys.stdout.write(shown.decode() + "\n")

    def answer(self, value: object, *shown: RenderableType) -> None:
        """Give what was asked for: as a document to a program, as text to people."""
        if self.as_json:
            self.document(value)
        else:
            self.say(*shown)

    def line(self, value: object, text: object) -> None:
        """The same for one line that people copy and scripts capture: never wrapped."""
        if self.as_json:
            self.document(value)
        else:
            sys.stdout.write(f"{clean(str(text))}\n")
            sys.stdout.flush()


def _plain(value: object) -> object:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)


# the common options -----------------------------------------------------------------------------------------------

_COMMON: dict[str, tuple[Any, Any]] = {
    "as_json": (Annotated[bool, typer.Option("--json", help="Write JSON to stdout and all else to stderr.")], False),
    "config": (
        Annotated[
            Path | None,
            typer.Option("--config", metavar="PATH", help="Configuration file; default: the nearest adaptkit.toml."),
        ],
        None,
    ),
    "home": (
        Annotated[
            Path | None,
            typer.Option("--home", metavar="PATH", help="Folder of journal, jobs and models; default: ~/.adaptkit."),
        ],
        None,
    ),
    "debug": (Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")], False),
}


def verb(app: typer.Typer, **settings: Any) -> Callable[[Callable[..., Exit | None]], Callable[..., None]]:
    """Make a command of a function whose first parameter is the `Session`.

    Adds the common options, and turns every error into a few lines and an exit code.
    """

    def register(function: Callable[..., Exit | None]) -> Callable[..., None]:
        @wraps(function)
        def command(**given: Any) -> None:
            session = Session(**{name: given.pop(name) for name in _COMMON})
            with _ending(session):
                raise typer.Exit(function(session, **given) or Exit.OK)

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        common = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in _COMMON.items()
        ]
        command.__signature__ = inspect.Signature([*own, *common])  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *common)}
        app.command(**settings)(command)
        return command

    return register


@contextmanager
def _ending(session: Session) -> Iterator[None]:
    try:
        with _warnings(session):
            yield
    except KeyboardInterrupt as stop:
        _interrupted(session)
        raise typer.Exit(code_of(stop)) from None
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(Exit.OK) from None
    except typer.Exit:
        raise
    except Exception as error:  # noqa: BLE001 - the last that can say what happened
        if session.debug:
            session.stderr.print_exception()
        _tell(session, error)
        raise typer.Exit(code_of(error)) from None
    finally:
        session.close()


@contextmanager
def _warnings(session: Session) -> Iterator[None]:
    """Say adaptkit's own warnings as notes; what libraries warn their developers of is not for here."""
    with warnings.catch_warnings():
        if not session.debug:
            warnings.simplefilter("ignore")
        warnings.simplefilter("always", AdaptkitWarning)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, AdaptkitWarning):
                session.note(f"note: {message}")
            else:
                usual(message, category, *where, **more)

        warnings.showwarning = show
        yield


def _tell(session: Session, error: Exception) -> None:
    foreseen = isinstance(error, AdaptkitError)
    message = str(error) if foreseen else f"unexpected {type(error).__name__}: {error}. --debug shows where."
    session.stderr.print(Text.assemble(("error: ", "bold red"), clean(message)), soft_wrap=True)
    if not session.as_json:
        return
    told: dict[str, object] = {"type": type(error).__name__, "message": message, "exit": int(code_of(error))}
    for name in ("ref", "tag", "retry_after", "since", "replacement", "status_code"):
        value = getattr(error, name, None)
        if value is not None:
            told[name] = str(value) if name == "ref" else value
    if isinstance(error, DataError):
        told["problems"] = list(error.problems)
    session.document({"error": told})


def _interrupted(session: Session) -> None:
    ref = session.following
    said = f"the job runs on: {ref}" if ref else session.on_interrupt
    session.stderr.print()
    session.note(said)
    if ref:
        session.note(f"Come back with  adaptkit watch {ref.id}\nor stop it with adaptkit cancel {ref.id}")
    told = {"type": "KeyboardInterrupt", "message": said, "exit": int(Exit.INTERRUPTED), "ref": ref and str(ref)}
    session.document({"error": told})
