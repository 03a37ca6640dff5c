"""How a class is shown to people: NTU's classes by their number in file names, others by their label."""

from pipeline.sources.ntu.names import class_names


def class_title(label: int, name: str) -> str:
    """Return `A006 pickup` for class 5 of NTU RGB+D, `5 squat` for other data, `5` without a name."""
    ntu = class_names()
    if 0 <= label < len(ntu) and ntu[label] == name:
        return f"A{label + 1:03d} {name}"
    return f"{label} {name}".rstrip()
