"""Checks for every HTML page: well-formed, self-contained, accessible."""

from html.parser import HTMLParser
from pathlib import Path

from pipeline.report.report import Report, write_report

VOID = {"meta", "br", "img", "input", "hr", "link", "path", "use", "rect"}


class Page(HTMLParser):
    """Parse a page tag by tag and collect its faults."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.faults += [f"<{tag}> is never closed" for tag in self._open]
        ids = [attributes["id"] for _, attributes in self.tags if attributes.get("id")]
        self.faults += [f"id {one} is used twice" for one in set(ids) if ids.count(one) > 1]
        self._check()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in {"script", "style"}:
            self.words.append(data)

    @property
    def text(self) -> str:
        """The visible text."""
        return " ".join(" ".join(self.words).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    def _check(self) -> None:
        ids = {attributes["id"] for _, attributes in self.tags if "id" in attributes}
        level = 0
        for tag, attributes in self.tags:
            for name, value in attributes.items():
                if name in {"src", "href", "xlink:href", "action", "data"} and not (value or "").startswith("#"):
                    self.faults.append(f"{tag} {name}={value} would load another resource")
                if name.startswith("on"):
                    self.faults.append(f"{tag} has a handler {name}")
                if name == "href" and (value or "").startswith("#") and (value or "")[1:] not in ids:
                    self.faults.append(f"{value} has no target")
            if tag in {"h1", "h2", "h3", "h4"}:
                if int(tag[1]) > level + 1:
                    self.faults.append(f"{tag} after h{level}")
                level = int(tag[1])
            if tag == "th" and "scope" not in attributes:
                self.faults.append("a th has no scope")
            if tag in {"canvas", "svg"} and not attributes.get("aria-label"):
                self.faults.append(f"a {tag} has no name")
        if self.count("table") != self.count("caption"):
            self.faults.append("a table has no caption")


def page_of(made: Report, out: Path) -> Page:
    """Write the page of a report, read it again and check that it has no faults."""
    write_report(made, out)
    page = Page(out.read_text(encoding="utf-8"))
    assert page.faults == []
    return page
