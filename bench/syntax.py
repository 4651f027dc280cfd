"""What several readers of Python source ask of a piece of syntax."""

from __future__ import annotations

import ast

OPAQUE = frozenset(("globals", "exec", "eval", "__import__"))
"""Names whose use hides what a module binds and reaches."""


def plain_text(node: ast.AST) -> str:
    """Code without docstrings, comments and layout."""
    _strip(node)
    return ast.unparse(node)


def _strip(node: ast.AST) -> None:
    """Drop, in place, every text that stands as a statement of its own; `pass` holds the place of a lone one."""
    for part in ("body", "orelse", "finalbody", "handlers", "cases"):
        block = getattr(node, part, None)
        if isinstance(block, list):
            kept = [inner for inner in block if not is_text(inner)]
            for inner in kept:
                _strip(inner)
            lone = [ast.Pass()] if part == "body" and block and not isinstance(node, ast.Module) else []
            setattr(node, part, kept or lone)


def literal_import(call: ast.Call) -> str | None:
    """What `import_module` is asked for; "" where that is no literal, None for any other call."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", None)
    if name != "import_module":
        return None
    first = call.args[0] if len(call.args) == 1 and not call.keywords else None
    literal = isinstance(first, ast.Constant) and isinstance(first.value, str) and not first.value.startswith(".")
    return first.value if literal else ""  # type: ignore[union-attr]


def absolute(node: ast.ImportFrom, package: str) -> str:
    """The module that a from-import names; "" where it leads out of the package."""
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    if node.level - 1 >= len(parts):
        return ""
    return ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])


def is_text(node: ast.AST) -> bool:
    """Whether a statement is a docstring, or another text that nobody keeps."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
