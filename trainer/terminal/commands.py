"""What a command line is made of: groups and commands, the words they take, and how they end.

What users get wrong is told in one line with what they may have meant; SIGTERM and Ctrl-C end a command alike.
"""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from pipeline.errors import OutputFailed, SkelepipeError

COMPLETE = "_SKELEPIPE_COMPLETE"
"""The variable by which a shell asks for completions, as click calls it."""


class Command(click.Command):
    """A command whose repeatable options also take several values at once, and whose words the shell completes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for param in self.params:
            if type(param.type) is click.Choice:
                param.type = Choice(param.type.choices)
            elif param.type is click.STRING or type(param.type) is Place:
                param.type = Word(param.type)

    @property
    def several(self) -> set[str]:
        """The options that take several values."""
        return {name for option in self.params if getattr(option, "multiple", False) for name in option.opts}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Spread the values of repeatable options, `--protocol knn linear`, before click looks at them."""
        try:
            return super().parse_args(ctx, spread(args, self.several))
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
                    raise click.BadParameter(f"{error.message}; {word} stands first", ctx, error.param) from error
            raise


class Group(click.Group):
    """Commands in the order of definition; for an unknown one, those that may be meant."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of definition."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Every command with the whole first sentence of its help: click cuts it at the width of the terminal."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, command.get_short_help_str(limit=1000) if command.help else "")
                    for name, command in self.commands.items()
                ]
            )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Say where an option that is a command's belongs."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            whose = [
                command
                for command in self.commands.values()
                if any(error.option_name in p.opts for p in command.params)
            ]
            if whose:
                ctx.fail(
                    f"{error.option_name} belongs behind a command: {ctx.command_path} COMMAND {error.option_name}"
                )
            raise

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command by its name."""
        if not ctx.resilient_parsing and args[0] not in self.commands and not args[0].startswith("-"):
            from pipeline.suggest import did_you_mean  # noqa: PLC0415

            ctx.fail(
                f"there is no command {args[0]!r}{did_you_mean(args[0], self.commands)}; commands: {', '.join(self.commands)}"
            )
        return super().resolve_command(ctx, args)


class Commands(Group):
    """The group of all commands: in order of the work, with every error of ours as one line and its own exit code."""

    group_class = Group

    def main(self, *args: Any, **options: Any) -> Any:
        """Run, or answer the shell by whatever name the program is called."""
        return super().main(*args, **{"complete_var": COMPLETE, **options})

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what goes wrong becomes one line and an exit code."""
        try:
            with terminable():
                return super().invoke(ctx)
        except KeyboardInterrupt as error:
            self._fail(ctx, interrupted(ctx), code_of(error))
        except SystemError as error:  # compiled code has no better word for it
            if not isinstance(error.__cause__, KeyboardInterrupt):
                raise
            self._fail(ctx, interrupted(ctx), code_of(error.__cause__))
        except SkelepipeError as error:
            self._fail(ctx, str(error), error.exit_code)
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            where = f"{error.filename}: " if error.filename else ""
            self._fail(ctx, f"{where}{error.strerror or error}", OutputFailed.exit_code)

    def _fail(self, ctx: click.Context, message: str, code: int) -> NoReturn:
        if ctx.params.get("debug"):
            raise
        if message:  # none when another process that trains with this one has said it
            click.echo(f"Error: {message}", err=True)
        ctx.exit(code)


class Terminated(KeyboardInterrupt):
    """SIGTERM has come, as from a batch scheduler."""


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does: what is half done is removed, and workers end."""

    def stop(number: int, frame: object) -> NoReturn:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # only there can signals be handled
        yield
        return
    former = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def code_of(interrupt: KeyboardInterrupt) -> int:
    """128 and the signal."""
    return 128 + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)


def spread(args: Sequence[str], several: set[str]) -> list[str]:
    """Give every value behind an option in `several` the option's name: `-a 1 2` becomes `-a 1 -a 2`."""
    out: list[str] = []
    option = None
    for place, arg in enumerate(args):
        if arg in several:
            option = arg
            if place + 1 == len(args) or args[place + 1].startswith("-"):
                out.append(arg)  # no value: click says so
        elif arg.startswith("-"):
            option = None
            out.append(arg)
        else:
            out += [arg] if option is None else [option, arg]
    return out


def interrupted(ctx: click.Context) -> str:
    """What Ctrl-C has left of the command at work."""
    if ctx.invoked_subcommand in {"ingest", "pretrain"}:
        return "interrupted; the same command goes on where it stopped"
    return "interrupted; what was not finished is not there, and the same command makes it"


class Place(click.Path):
    """A path that ends in a name: artifacts are called, and have siblings written beside them, by theirs."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Replace `.` and `..`, which name nothing, by the folder that they mean."""
        path = Path(super().convert(value, param, ctx))  # type: ignore[arg-type]
        return path if path.name not in {"", ".."} else path.resolve()


Folder = Place()


class Choice(click.Choice[str]):
    """One of a few words."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Say which there are, and which may be meant."""
        from pipeline.suggest import did_you_mean  # noqa: PLC0415

        return f"{value!r} is not one of {', '.join(self.choices)}{did_you_mean(value, self.choices)}"

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:
        """Say which there are."""
        return f"one of {', '.join(self.choices)}"


class Word(click.ParamType[Any]):
    """A text or path whose beginning the shell completes, by what trainer/terminal/completion_words.py knows of the parameter's name."""

    def __init__(self, of: click.ParamType[Any]) -> None:
        self.of, self.name = of, of.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Leave that to the type itself."""
        return self.of.convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """What may stand here; any path where paths do and nothing is known."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415

        from trainer.terminal import completion_words  # noqa: PLC0415

        place, given = param.name or "", {**ctx.params, "command": ctx.info_name}
        found = completion_words.complete(place, incomplete, given) if place in completion_words.COMPLETERS else []
        items = [CompletionItem(word, help=about or None) for word, about in found]
        return items or self.of.shell_complete(ctx, param, incomplete)


class Job(click.ParamType[tuple[int, int]]):
    """One of several jobs: `2/8`."""

    name = "K/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Take `2/8` apart."""
        k, slash, n = str(value).partition("/")
        if not (slash and k.isdecimal() and n.isdecimal() and 1 <= int(k) <= int(n)):
            self.fail(f"{value!r} is not K/N with K from 1 to N, such as 1/8", param, ctx)
        return int(k), int(n)


class Aspect(click.ParamType[float]):
    """Width by height: `16:9`."""

    name = "W:H"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Take `16:9` apart."""
        wide, colon, high = str(value).partition(":")
        if not (colon and wide.isdecimal() and high.isdecimal() and int(wide) and int(high)):
            self.fail(f"{value!r} is not W:H, such as 16:9 or 1080:1920", param, ctx)
        return int(wide) / int(high)
