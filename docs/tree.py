"""Writes the tree of modules, made from their docstrings, into docs/architecture.md: `python docs/tree.py`."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- tree: python docs/tree.py -->", "<!-- end of tree -->"
PACKAGES = ("models", "adapters", "router", "edge_app", "benchmarks")


def tree() -> str:
    """One line a module: its name, and what it does in its own words (up to the first full stop)."""
    lines = []
    for package in PACKAGES:
        files = sorted((ROOT / package).rglob("*.py"), key=lambda file: (str(file.parent), file.name))
        folder = None
        for file in files:
            purpose = first_sentence(file)
            if not purpose:
                continue
            if file.parent != folder:
                folder = file.parent
                lines.append(f"{folder.relative_to(ROOT)}/")
            lines.append(f"    {file.name:<22}{purpose}")
    return "\n".join(lines)


def first_sentence(file: Path) -> str:
    doc = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    first_line = " ".join(doc.split("\n\n")[0].split())
    return first_line.split(". ")[0].rstrip(".")


def with_tree(text: str) -> str:
    """The page's text with the tree between its two marks made anew."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n```\n{tree()}\n```\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_tree(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
