"""Click classes of the command line: commands, groups, parameter types, error messages and exit codes.

Every error of skelepipe becomes one line and an exit code. SIGTERM and Ctrl-C end a command in the same way.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click

from pipeline.artifacts.paths import MANIFEST_FILE, RUN_FILE
from pipeline.errors import OutputFailed, SkelepipeError
from pipeline.files.address_space import require_address_space
from pipeline.files.numba_cache import choose_cache_folder
from pipeline.files.regular_files import UnsuitableFile
from trainer.terminal.examples import EXAMPLES
from trainer.terminal.standard_streams import discard_output, open_missing_streams

COMPLETE_VARIABLE = "_SKELEPIPE_COMPLETE"
"""The environment variable with which a shell asks click for completions."""


class Command(click.Command):
    """A command with suggestions for typos, and with several values after one repeatable option."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for param in self.params:
            if type(param.type) is click.Choice:
                param.type = Choice(param.type.choices)

    @property
    def repeatable_options(self) -> dict[str, Callable[[str], bool]]:
        """Return the options that can be given several times, each with a test of whether a word is a value of it."""
        return {
            name: partial(_is_value, option)
            for option in self.params
            if getattr(option, "multiple", False)
            for name in option.opts
        }

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show an example below the options."""
        if example := EXAMPLES.get(self.name or ""):
            with formatter.section("Example"):
                formatter.write_text(f"skelepipe {example}")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse arguments, after expanding `--protocol knn linear` to `--protocol knn --protocol linear`."""
        try:
            return super().parse_args(ctx, expand_repeatable_options(args, self.repeatable_options))
        except click.NoSuchOption as error:
            from pipeline.suggest import did_you_mean  # noqa: PLC0415

            name = error.option_name
            if any(name in option.opts for option in ctx.find_root().command.params):
                ctx.fail(f"{name} belongs before the command: skelepipe {name} {self.name}")
            known = [option for param in self.get_params(ctx) for option in param.opts if option.startswith("-")]
            ctx.fail(f"there is no option {name}{did_you_mean(name, known)}")
        except click.BadParameter as error:
            if isinstance(error.param, click.Argument) and isinstance(error.param.type, Choice):
                for word in [word for word in args if word in error.param.type.choices][:1]:
                    raise click.BadParameter(f"{error.message}; {word} must come first", ctx, error.param) from error
            raise


class Group(click.Group):
    """A group that lists its commands in the order of definition, and suggests commands for typos."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names in the order of definition."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List every command with the whole first sentence of its help, which click would cut off."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, command.get_short_help_str(limit=1000) if command.help else "")
                    for name, command in self.commands.items()
                ]
            )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse arguments; for an option that belongs to a command, say so."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = error.option_name
            if any(name in param.opts for command in self.commands.values() for param in command.params):
                ctx.fail(f"{name} belongs after the command: {ctx.command_path} COMMAND {name}")
            raise

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command by its name."""
        if not ctx.resilient_parsing and args[0] not in self.commands and not args[0].startswith("-"):
            from pipeline.suggest import did_you_mean  # noqa: PLC0415

            ctx.fail(
                f"there is no command {args[0]!r}{did_you_mean(args[0], self.commands)}; "
                f"commands: {', '.join(self.commands)}"
            )
        return super().resolve_command(ctx, args)


READER_GONE = 141
"""Exit code when the reader of standard output has gone (`| head -1`): 128 + SIGPIPE, as a shell reports it."""


class MainGroup(Group):
    """The group of all commands; turns every error of skelepipe into one line and its exit code."""

    group_class = Group

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command, or answer a shell's completion request, whatever the program's file is called."""
        open_missing_streams()
        choose_cache_folder()
        return super().main(*args, **{"complete_var": COMPLETE_VARIABLE, **options})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse arguments; help and version are printed here, possibly to a full disk.

        `help`, `help COMMAND` and `version` mean the options of these names.
        """
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        elif args == ["version"]:
            args = ["--version"]
        try:
            return super().parse_args(ctx, args)
        except BrokenPipeError:
            _exit_without_reader(ctx)
        except OSError as error:
            _print_error(f"standard output: {error.strerror or error}")
            ctx.exit(OutputFailed.exit_code)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error becomes one line and an exit code."""
        try:
            require_address_space()
            with handle_sigterm():
                return super().invoke(ctx)
        except KeyboardInterrupt as error:
            self._fail(ctx, interrupt_message(ctx), interrupt_exit_code(error))
        except SystemError as error:  # raised by numba's compiled code when it is interrupted
            if not isinstance(error.__cause__, KeyboardInterrupt):
                raise
            self._fail(ctx, interrupt_message(ctx), interrupt_exit_code(error.__cause__))
        except SkelepipeError as error:
            self._fail(ctx, str(error), error.exit_code)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self._fail(ctx, f"{OUT_OF_MEMORY} ({next(iter(str(error).splitlines()), 'MemoryError')})", 1)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                _exit_without_reader(ctx)
            prefix = f"{error.filename}: " if error.filename else ""
            code = SkelepipeError.exit_code if isinstance(error, UnsuitableFile) else OutputFailed.exit_code
            self._fail(ctx, f"{prefix}{error.strerror or error}", code)

    def _fail(self, ctx: click.Context, message: str, code: int) -> NoReturn:
        if ctx.params.get("debug"):
            raise
        if message:  # empty if another process of the same training has printed it
            _print_error(message)
        ctx.exit(code)


OUT_OF_MEMORY = "the memory is not enough; use smaller settings or a machine with more memory"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an allocation failed: in Python or numpy, in torch on the host, or on a GPU."""
    text = str(error)
    return isinstance(error, MemoryError) or "can't allocate memory" in text or "CUDA out of memory" in text


def _exit_without_reader(ctx: click.Context) -> NoReturn:
    """End with the exit code of a program that SIGPIPE ended, because nobody reads standard output any more."""
    discard_output()
    ctx.exit(READER_GONE)


def _print_error(message: str) -> None:
    with suppress(OSError):  # the exit code says enough if stderr is gone or its disk is full
        click.echo(f"Error: {message}", err=True)


class Terminated(KeyboardInterrupt):
    """SIGTERM was received, for example from a batch scheduler."""


@contextmanager
def handle_sigterm() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does: temporary files are removed and worker processes end."""

    def stop(number: int, frame: object) -> NoReturn:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # Python handles signals in the main thread only
        yield
        return
    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def interrupt_exit_code(interrupt: KeyboardInterrupt) -> int:
    """Return 128 plus the number of the signal."""
    return 128 + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)


def interrupt_message(ctx: click.Context) -> str:
    """Return what the user can do after Ctrl-C."""
    if ctx.invoked_subcommand in {"ingest", "pretrain"}:
        return "interrupted; run the same command again to resume"
    return "interrupted; unfinished output was removed; run the same command again to create it"


def _is_value(option: click.Parameter, word: str) -> bool:
    """Whether a word after the first value of a repeatable option is another value, not an argument of the command."""
    kind = option.type
    if isinstance(kind, click.Choice):
        return word in kind.choices
    if isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
        return word.replace(".", "", 1).replace("e-", "", 1).isdecimal()
    if option.name == "settings":
        return "=" in word
    path = Path(word)
    is_artifact = any((path / name).is_file() for name in (MANIFEST_FILE, RUN_FILE))
    return path.exists() and not is_artifact if isinstance(kind, click.Path) else not path.exists()


def expand_repeatable_options(args: Sequence[str], repeatable: Mapping[str, Callable[[str], bool]]) -> list[str]:
    """Put the option's name before each of its values: `-a 1 2` becomes `-a 1 -a 2`; `-a 1 file` keeps `file` apart.

    Args:
        args: the words of a command line.
        repeatable: for each repeatable option whether a word after its first value is a value, too.
    """
    expanded: list[str] = []
    option = None
    for index, arg in enumerate(args):
        if arg in repeatable:
            option = arg
            if index + 1 == len(args) or args[index + 1].startswith("-"):
                expanded.append(arg)  # without a value: click reports the error
        elif arg.startswith("-") or option is None or (args[index - 1] != option and not repeatable[option](arg)):
            option = None
            expanded.append(arg)
        else:
            expanded += [option, arg]
    return expanded


class NamedPath(click.Path):
    """A path that ends in a name, because artifacts and the files next to them are named after it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Resolve paths that end in `.` or `..`."""
        path = Path(super().convert(value, param, ctx))  # type: ignore[arg-type]
        return path if path.name not in {"", ".."} else Path(os.path.realpath(path))


NAMED_PATH = NamedPath()


class RunName(click.ParamType[str]):
    """The name of a run in runs/."""

    name = "NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check that the name is one part of a path."""
        if Path(str(value)).name != value or value in {".", ".."}:
            self.fail(f"{value!r} is not a name; --out takes a path", param, ctx)
        return str(value)


class Choice(click.Choice[str]):
    """A choice of a few words, with suggestions for typos."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Return a message with all choices, and the one that was probably meant."""
        from pipeline.suggest import did_you_mean  # noqa: PLC0415

        return f"{value!r} is not one of {', '.join(self.choices)}{did_you_mean(value, self.choices)}"

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:
        """Return a message with all choices."""
        return f"one of {', '.join(self.choices)}"


class JobNumber(click.ParamType[tuple[int, int]]):
    """One of several jobs: `2/8`."""

    name = "K/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parse `2/8` to (2, 8)."""
        k, slash, n = str(value).partition("/")
        if not (slash and k.isdecimal() and n.isdecimal() and 1 <= int(k) <= int(n)):
            self.fail(f"{value!r} is not K/N with K from 1 to N, such as 1/8", param, ctx)
        return int(k), int(n)


class AspectRatio(click.ParamType[float]):
    """Width to height: `16:9`."""

    name = "W:H"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse `16:9` to 1.78."""
        width, colon, height = str(value).partition(":")
        if not (colon and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
            self.fail(f"{value!r} is not W:H, such as 16:9 or 1080:1920", param, ctx)
        return int(width) / int(height)
