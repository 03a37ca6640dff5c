"""What the terminal shows of an examination; apart from display.py, which imports what may be broken."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from trainer.doctor.findings import Finding


def doctor_table(found: Sequence[Finding]) -> Table:
    """What an examination found, a topic after the other; below a line what to do about it."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("topic", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("text", overflow="fold")
    before = ""
    for finding in found:
        text = Text(finding.text)
        if finding.todo:
            text.append(f"\n-> {finding.todo}", "bold")
        style = {"ok": "green", "note": "yellow", "problem": "bold red"}[finding.state]
        table.add_row("" if finding.topic == before else finding.topic, Text(finding.state, style), text)
        before = finding.topic
    return table


def doctor_line(found: Sequence[Finding]) -> str:
    """The examination in a sentence."""
    counts = {state: sum(finding.state == state for finding in found) for state in ("problem", "note")}
    said = [f"{count} {state}{'s' * (count > 1)}" for state, count in counts.items() if count]
    if not counts["problem"]:
        return f"all works{'; ' + said[0] if said else ''}"
    return f"{' and '.join(said)}: something will not work"
