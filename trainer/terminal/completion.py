"""How a shell completes what is typed: options with several values, and in bash `KEY=VALUE`, besides click's own."""

import os
from typing import Any

from trainer.terminal.commands import COMPLETE, Command, spread

SHELLS = {
    "bash": 'eval "$(skelepipe completion bash)"  # in ~/.bashrc',
    "zsh": 'eval "$(skelepipe completion zsh)"  # in ~/.zshrc, below compinit',
    "fish": "skelepipe completion fish | source  # in ~/.config/fish/config.fish",
}
"""The line that makes each shell complete."""


def completer(shell: str) -> Any:
    """Click's completion for a shell, that knows of options with several values, and in bash of `KEY=VALUE`."""
    from click import shell_completion  # noqa: PLC0415

    known: Any = {
        "bash": shell_completion.BashComplete,
        "zsh": shell_completion.ZshComplete,
        "fish": shell_completion.FishComplete,
    }[shell]

    class Completer(known):  # type: ignore[misc]
        def get_completions(self, args: list[str], incomplete: str) -> list[Any]:
            command = self.cli
            for place, word in enumerate(args):
                command = getattr(command, "commands", {}).get(word, command)
                if isinstance(command, Command):  # a value of an option that takes several has the option before it
                    args = args[: place + 1] + spread([*args[place + 1 :], incomplete or "VALUE"], command.several)[:-1]
                    break
            found: list[Any] = super().get_completions(args, incomplete)
            return found

    class Bash(Completer):
        source_template = known.source_template.replace(
            "COMPREPLY+=($value)", "COMPREPLY+=($value)\n            [[ $value == *= ]] && compopt -o nospace"
        )

        def get_completion_args(self) -> tuple[list[str], str]:
            args, incomplete = super().get_completion_args()
            joined: list[str] = []  # bash has cut KEY=VALUE into three
            for word in [*args, incomplete]:
                tied = word == "=" or (joined and joined[-1].endswith("=") and not joined[-1].startswith("-"))
                joined[-1:] = [joined[-1] + word] if joined and tied else [*joined[-1:], word]
            self.cut = len(joined[-1]) - len(incomplete.removeprefix("="))
            return joined[:-1], joined[-1]

        def format_completion(self, item: Any) -> str:
            item.value = item.value[self.cut :] if item.type == "plain" else item.value
            said: str = super().format_completion(item)
            return said

    return Bash if shell == "bash" else Completer


def answer() -> None:
    """Have click answer a shell that asks, if one does."""
    if COMPLETE in os.environ:
        from click.shell_completion import add_completion_class  # noqa: PLC0415

        for name in SHELLS:
            add_completion_class(completer(name), name)
