"""Everything that the terminal shows: command classes, completion, tables, progress."""
