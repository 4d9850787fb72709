"""What the site has beside the files of docs/: README, CONTRIBUTING, CHANGELOG and examples; roles of docstrings."""

import json
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"index.md": "README.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
"""Pages of the site that are files of the repository's root."""
EXAMPLES = ("examples/patterns.ipynb", "examples/module_to_verilog.ipynb")
FILES = ("CITATION.cff", "examples/own_model.py")
"""Files that can be downloaded as they are."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for uri, name in PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / name).read_text()))
    for name in EXAMPLES:
        files.append(File.generated(config, _page_of(name), content=_notebook(ROOT / name)))
    for name in (*FILES, *EXAMPLES):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of the repository become links of the site, where docs/ is the root and a notebook is a page."""
    uri = page.file.src_uri
    name = f"docs/{uri}" if (ROOT / "docs" / uri).is_file() else PAGES.get(uri, uri)

    def site_link(match: re.Match[str]) -> str:
        path, hash_sign, anchor = match[1].partition("#")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)).removeprefix("docs/")
        target = next((page for page, source in PAGES.items() if source == target), _page_of(target))
        return f"]({posixpath.relpath(target, posixpath.dirname(uri) or '.')}{hash_sign}{anchor})"

    return re.sub(r"\]\((?![a-z]+:|#)([^)\s]+)\)", site_link, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Roles of reStructuredText, as in ``:class:`Plan```, are code."""
    return re.sub(r":(?:attr|class|data|func|meth|mod):(<code>)~?", r"\1", html)


def _page_of(name: str) -> str:
    return name.replace(".ipynb", ".md") if name in EXAMPLES else name


def _notebook(path: Path) -> str:
    """A notebook as a page: its text and its code, without outputs."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(path.read_text())["cells"]]
    texts = [f"```python\n{text}\n```" if kind == "code" else text for kind, text in cells]
    return "\n\n".join([*texts, f"[The notebook itself]({path.name}), to be run.\n"])
