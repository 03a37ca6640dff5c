"""Terminal output of `skelepipe doctor`; imports nothing that a broken installation could lack, except rich."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from trainer.doctor.findings import Finding


def doctor_table(found: Sequence[Finding]) -> Table:
    """Build a table of all findings, topic by topic; what to do about a finding is shown below it."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("topic", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("text", overflow="fold")
    previous_topic = ""
    for finding in found:
        text = Text(finding.text)
        if finding.todo:
            text.append(f"\n-> {finding.todo}", "bold")
        style = {"ok": "green", "note": "yellow", "problem": "bold red"}[finding.state]
        topic = "" if finding.topic == previous_topic else finding.topic
        table.add_row(topic, Text(finding.state, style), text)
        previous_topic = finding.topic
    return table


def doctor_summary(found: Sequence[Finding]) -> str:
    """Summarise all findings in one line."""
    counts = {state: sum(finding.state == state for finding in found) for state in ("problem", "note")}
    parts = [f"{count} {state}{'s' * (count > 1)}" for state, count in counts.items() if count]
    if not counts["problem"]:
        return f"everything works{'; ' + parts[0] if parts else ''}"
    return f"{' and '.join(parts)}: something will not work"
