"""How Sphinx makes the site: `make docs`. The pages are plain Markdown, as they stand on a forge.

What a site needs besides is added on the way: the table of contents is that of index.md, a page for every module of
`pipeline` and `trainer` is made of its docstrings, and the few pages that lie elsewhere in the tree are taken in.
"""

import ast
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from docutils.utils.math import latex2mathml
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))
os.environ["NUMBA_DISABLE_JIT"] = "1"  # kernels as the functions that were written

_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
project = _PROJECT["name"]
release = _PROJECT["version"]
html_title = f"{project} {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "examples"]
highlight_language = "none"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
default_role = "code"
suppress_warnings = ["ref.python"]  # `bytes` as a type, where classes have fields of that name
autodoc_default_options = {"members": True, "member-order": "bysource", "exclude-members": "model_config"}
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0072B2",
        "color-brand-content": "#0072B2",
        "code-font-size": "0.76em",
    },
    "dark_css_variables": {"color-brand-primary": "#6FB8E6", "color-brand-content": "#6FB8E6"},
}

MADE = DOCS / "_made"
"""Where pages go that are made of what lies elsewhere; git ignores it."""
TAKEN_IN = {
    "benchmarks/RESULTS.md": "results",
    "benchmarks/NOTES.md": "notes",
    "pipeline/store/FORMAT.md": "store",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
}
"""Pages outside docs/ that the site has, by their path in the tree."""
PACKAGES = ("pipeline", "pipeline.convert", "trainer")
LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)]*)?\)")


def make_pages() -> None:
    """Write what is taken in, and a page for every module."""
    MADE.mkdir(exist_ok=True)
    pages = {f"{name}.md": relinked((ROOT / path).read_text(encoding="utf-8"), (ROOT / path).parent, MADE)
             for path, name in TAKEN_IN.items()}  # fmt: skip
    pages["modules.md"] = (
        "# All modules\n\nArrows go one way: `cli`, `trainer`, `pipeline`. What each is for, by subject: "
        "[code.md](../code.md).\n"
    )
    for package in PACKAGES:
        names = [f"{package}.{path.stem}" for path in sorted((ROOT / package.replace(".", "/")).glob("[!_]*.py"))]
        pages["modules.md"] += f"\n## {package}\n\n" + "".join(
            f"- [{name}]({name}.md): {about(name)}\n" for name in names
        )
        pages["modules.md"] += "\n" + contents("", [(name, f"{name}.md") for name in names])
        for name in names:
            pages[f"{name}.md"] = f"# {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n"
    for name, text in pages.items():
        if not (MADE / name).exists() or (MADE / name).read_text(encoding="utf-8") != text:
            (MADE / name).write_text(text, encoding="utf-8")
    for path in MADE.iterdir():
        if path.name not in pages:
            path.unlink()


def about(module: str) -> str:
    """The first sentence of a module's docstring, without importing it."""
    path = ROOT / (module.replace(".", "/") + ".py")
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not told:
        raise SystemExit(f"{path}: no docstring, so nothing to say of it")
    return told.split("\n\n")[0].replace("\n", " ")


def contents(caption: str, entries: list[tuple[str, str]]) -> str:
    """A hidden table of contents, which the sidebar shows."""
    lines = [f"{title} <{path.removesuffix('.md')}>" for title, path in entries]
    return "\n".join(
        ["```{toctree}", ":hidden:", *([f":caption: {caption}"] if caption else []), "", *lines, "```", ""]
    )


def relinked(text: str, at: Path, to: Path) -> str:
    """A page's text with its links as they must be for a page of folder `to`, when they were for one of folder `at`."""

    def link(found: re.Match[str]) -> str:
        before, target, anchor = found[1], found[2], found[3] or ""
        if re.match(r"\w+:", target):
            return found[0]
        path = (at / target).resolve()
        taken = TAKEN_IN.get(path.relative_to(ROOT).as_posix())
        if taken is None and path == ROOT / "README.md":
            taken = "../index"
        package = ".".join(path.parent.relative_to(ROOT).parts)
        if path.suffix == ".py" and package in PACKAGES:
            taken = f"{package}.{path.stem}"
        path = (MADE / f"{taken}.md").resolve() if taken else path
        return f"{before}{os.path.relpath(path, to)}{anchor})"

    def unlinked(found: re.Match[str]) -> str:
        """A folder is no page: its name stays, without the link."""
        return found[1] if (at / found[2]).is_dir() else found[0]

    return LINK.sub(link, re.sub(r"\[([^]]+)\]\(([^)#\s]+)\)", unlinked, text))


def sections(index: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The headings of a page, each with the links of its list, title and path."""
    for block in index.split("\n## ")[1:]:
        heading, _, rest = block.partition("\n")
        yield heading, re.findall(r"(?m)^- \[([^]]+)\]\(([^)]+\.md)\)", rest)


def read(app: Sphinx, name: str, source: list[str]) -> None:
    """Sphinx's `source-read`: links into the pages that are taken in, and in index.md the tables of contents."""
    if name.startswith(MADE.name):
        return
    source[0] = relinked(source[0], DOCS, DOCS)
    if name == "index":
        *most, (last, entries) = sections(source[0])
        tables = [*most, (last, [*entries, ("All modules", f"{MADE.name}/modules.md")])]
        source[0] += "\n" + "\n".join(contents(heading, entries) for heading, entries in tables)


def as_written(app: Sphinx, what: str, name: str, of: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain words: a star in them is a star, and what stands before a colon in a field's is no type."""
    for place, line in enumerate(lines):
        parts = line.split("`")
        parts[::2] = [re.sub(r"(?<![*\\])\*(?!\*)", r"\\*", part) for part in parts[::2]]
        lines[place] = "`".join(parts)
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # an empty comment: napoleon looks at the first line alone


def show_inline(writer: nodes.NodeVisitor, node: nodes.Element) -> None:
    """A formula within a line, as MathML: no script, no network."""
    writer.body.append(latex2mathml.tex2mathml(node.astext()))  # type: ignore[attr-defined]
    raise nodes.SkipNode


def show_display(writer: nodes.NodeVisitor, node: nodes.Element) -> None:
    """A formula of its own, as MathML."""
    made = latex2mathml.tex2mathml(node.astext(), as_block=True)
    writer.body.append(f'<div class="math">{made}</div>')  # type: ignore[attr-defined]
    raise nodes.SkipNode


html_math_renderer = "mathml"


def setup(app: Sphinx) -> None:
    """Called by Sphinx before it looks for pages."""
    make_pages()
    app.add_html_math_renderer("mathml", (show_inline, None), (show_display, None))
    for language in ("sh", "csv"):  # commands as they are, without `eval` in the colour of a builtin
        app.add_lexer(language, TextLexer)
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", as_written, priority=400)  # napoleon has 500
