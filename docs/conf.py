"""Sphinx configuration of `make docs`. The pages are plain Markdown that also reads well on a Git forge.

The site adds three things to the pages: the table of contents (from the lists in index.md), one page per module of
`pipeline` and `trainer` (from docstrings), and the Markdown files that are kept outside docs/.
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
os.environ["NUMBA_DISABLE_JIT"] = "1"  # autodoc sees kernels as plain functions

_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
project = _PROJECT["name"]
release = _PROJECT["version"]
html_title = f"{project} {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "examples", "figures"]
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

BUILT = DOCS / "_made"
"""Folder of the pages written by this file; ignored by git."""
OUTSIDE_PAGES = {
    "benchmarks/RESULTS.md": "results",
    "benchmarks/UI-PRMD.md": "results-ui-prmd",
    "benchmarks/NOTES.md": "optimisation-notes",
    "pipeline/store/FORMAT.md": "store-format",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
}
"""Pages outside docs/ that the site includes: path in the repository to page name."""
PACKAGES = sorted(
    {
        ".".join(path.parent.relative_to(ROOT).parts)
        for folder in ("pipeline", "trainer")
        for path in (ROOT / folder).rglob("[!_]*.py")
    }
)
"""Packages with modules, each a section of the module list."""
LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)]*)?\)")


def build_pages() -> None:
    """Write the pages of `BUILT`: those kept outside docs/, and one per module."""
    BUILT.mkdir(exist_ok=True)
    pages = {f"{name}.md": relink((ROOT / path).read_text(encoding="utf-8"), (ROOT / path).parent, BUILT)
             for path, name in OUTSIDE_PAGES.items()}  # fmt: skip
    pages["modules.md"] = "# All modules\n\nImports go one way: `cli`, then `trainer`, then `pipeline`.\n"
    for package in PACKAGES:
        names = [f"{package}.{path.stem}" for path in sorted((ROOT / package.replace(".", "/")).glob("[!_]*.py"))]
        pages["modules.md"] += f"\n## {package}\n\n" + "".join(
            f"- [{name}]({name}.md): {summary(name)}\n" for name in names
        )
        pages["modules.md"] += "\n" + toctree("", [(name, f"{name}.md") for name in names])
        for name in names:
            pages[f"{name}.md"] = f"# {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n"
    for name, text in pages.items():
        if not (BUILT / name).exists() or (BUILT / name).read_text(encoding="utf-8") != text:
            (BUILT / name).write_text(text, encoding="utf-8")
    for path in BUILT.iterdir():
        if path.name not in pages:
            path.unlink()


def summary(module: str) -> str:
    """The first paragraph of a module's docstring, read without importing the module."""
    path = ROOT / (module.replace(".", "/") + ".py")
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not docstring:
        raise SystemExit(f"{path}: no module docstring")
    return docstring.split("\n\n")[0].replace("\n", " ")


def toctree(caption: str, entries: list[tuple[str, str]]) -> str:
    """A hidden table of contents, which the sidebar shows."""
    lines = [f"{title} <{path.removesuffix('.md')}>" for title, path in entries]
    return "\n".join(
        ["```{toctree}", ":hidden:", *([f":caption: {caption}"] if caption else []), "", *lines, "```", ""]
    )


def relink(text: str, source: Path, target: Path) -> str:
    """Rewrite the links of a page: they are relative to folder `source`, and become relative to folder `target`."""

    def link(match: re.Match[str]) -> str:
        before, address, anchor = match[1], match[2], match[3] or ""
        if re.match(r"\w+:", address):
            return match[0]
        path = (source / address).resolve()
        name = OUTSIDE_PAGES.get(path.relative_to(ROOT).as_posix())
        if path == ROOT / "README.md":
            name = "../index"
        package = ".".join(path.parent.relative_to(ROOT).parts)
        if path.suffix == ".py" and package in PACKAGES:
            name = f"{package}.{path.stem}"
        path = (BUILT / f"{name}.md").resolve() if name else path
        return f"{before}{os.path.relpath(path, target)}{anchor})"

    def drop_folder_link(match: re.Match[str]) -> str:
        """Folders have no page: keep the text without the link."""
        return match[1] if (source / match[2]).is_dir() else match[0]

    return LINK.sub(link, re.sub(r"\[([^]]+)\]\(([^)#\s]+)\)", drop_folder_link, text))


def sections(index: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The headings of index.md, each with the links of its list: title and path."""
    for block in index.split("\n## ")[1:]:
        heading, _, rest = block.partition("\n")
        yield heading, re.findall(r"(?m)^- \[([^]]+)\]\(([^)]+\.md)\)", rest)


def edit_source(app: Sphinx, name: str, source: list[str]) -> None:
    """Handle `source-read`: rewrite links to pages of `BUILT`, and append the tables of contents to index.md."""
    if name.startswith(BUILT.name):
        return
    folder = (DOCS / name).parent
    source[0] = relink(source[0], folder, folder)
    if name == "index":
        *others, (last, entries) = [(heading, links) for heading, links in sections(source[0]) if links]
        tables = [*others, (last, [*entries, ("All modules", f"{BUILT.name}/modules.md")])]
        source[0] += "\n" + "\n".join(toctree(heading, links) for heading, links in tables)


def escape_docstring(app: Sphinx, what: str, name: str, item: object, options: object, lines: list[str]) -> None:
    """Handle `autodoc-process-docstring`: docstrings are plain text, so stars are literal and colons mark no type."""
    for number, line in enumerate(lines):
        pieces = line.split("`")
        pieces[::2] = [re.sub(r"(?<![*\\])\*(?!\*)", r"\\*", piece) for piece in pieces[::2]]
        lines[number] = "`".join(pieces)
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # an empty comment, because napoleon parses only the first line


def visit_inline_math(writer: nodes.NodeVisitor, node: nodes.Element) -> None:
    """Write an inline formula as MathML, which needs no script and no network."""
    writer.body.append(latex2mathml.tex2mathml(node.astext()))  # type: ignore[attr-defined]
    raise nodes.SkipNode


def visit_display_math(writer: nodes.NodeVisitor, node: nodes.Element) -> None:
    """Write a displayed formula as MathML."""
    mathml = latex2mathml.tex2mathml(node.astext(), as_block=True)
    writer.body.append(f'<div class="math">{mathml}</div>')  # type: ignore[attr-defined]
    raise nodes.SkipNode


html_math_renderer = "mathml"


def setup(app: Sphinx) -> None:
    """Register the handlers; Sphinx calls this before it looks for pages."""
    build_pages()
    app.add_html_math_renderer("mathml", (visit_inline_math, None), (visit_display_math, None))
    for language in ("sh", "csv"):  # show commands without highlighting `eval` as a shell builtin
        app.add_lexer(language, TextLexer)
    app.connect("source-read", edit_source)
    app.connect("autodoc-process-docstring", escape_docstring, priority=400)  # before napoleon, which has 500
