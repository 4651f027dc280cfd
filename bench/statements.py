"""What each top-level statement of a module binds, changes and uses, told from its syntax alone.

The branches of an `if` are told apart, with the tests that lead to them; other blocks are one statement.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.syntax import OPAQUE, absolute, is_text, literal_import, plain_text

Chain = tuple[str, ...]
"""A name and the attributes asked of it: `p.Linear.alpha` is ("p", "Linear", "alpha")."""

CHANGING = frozenset(
    ("add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "register", "remove",
     "reverse", "setdefault", "sort", "update", "__setitem__", "__delitem__")
)  # fmt: skip
"""Methods that are taken to change what they are called on."""

KEEPING = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Delete, getattr(ast, "TypeAlias", ast.Assign))
"""Statements that act by the calls in them at most."""


@dataclass(frozen=True)
class Import:
    """`from module import name as bound`; of `import module as bound` the name is empty.

    `import a.b` binds `a`, and what is asked of it may be in `a.b`: `module` is a, `loaded` a.b.
    """

    bound: str
    module: str
    name: str = ""
    loaded: str = ""


@dataclass(eq=False)
class Statement:
    """One top-level statement, or one in a branch of a top-level `if`, with the tests that lead to it."""

    node: ast.stmt
    tests: tuple[ast.expr, ...] = ()
    binds: set[str] = field(default_factory=set)
    uses: set[Chain] = field(default_factory=set)
    """Everything that it mentions."""
    imports: set[Import] = field(default_factory=set)
    """Those of the module's own scope."""
    inner: set[Import] = field(default_factory=set)
    """Those inside its functions and classes."""
    now: set[str] = field(default_factory=set)
    """Names that it mentions when the module is imported, not only when a function of it is called."""
    run: set[str] = field(default_factory=set)
    """Names that it may call on import: called, passed to a call, decorating."""
    derives: set[str] = field(default_factory=set)
    """Names that its classes derive from."""
    changes: set[tuple[str, int]] = field(default_factory=set)
    """Names that it changes on import, and how deep: 2 of `TABLE["x"].flag = True`."""
    later: set[str] = field(default_factory=set)
    """The module's names that a function of it changes."""
    changing: bool = False
    """Whether a function of it changes anything but attributes of `self`, be it under a name of its own."""
    calls: set[tuple[str, str]] = field(default_factory=set)
    """(function, name among the arguments), of calls on import."""
    acts: set[str] = field(default_factory=set)
    """Where the chains of calls begin whose result nobody keeps."""
    opaque: bool = False

    @property
    def alone(self) -> bool:
        """Whether it is a definition whose place among the others does not matter."""
        return isinstance(
            self.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
        )

    @property
    def acting(self) -> bool:
        """Whether it belongs to what it mentions, not only to what it binds."""
        if isinstance(self.node, ast.Assign) and self.binds == {"_"}:
            return True
        return not self.alone and not isinstance(self.node, KEEPING)

    @functools.cached_property
    def digest(self) -> str:
        """Hash of its code without docstrings, comments and layout."""
        tests = [ast.unparse(test) for test in self.tests]
        return hashlib.sha256("\n".join([*tests, plain_text(self.node)]).encode()).hexdigest()


def flat(body: list[ast.stmt], tests: tuple[ast.expr, ...]) -> Iterator[tuple[ast.stmt, tuple[ast.expr, ...]]]:
    """Statements with the tests that lead to them. What type checkers alone see never runs."""
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from flat(node.orelse, tests)
        elif isinstance(node, ast.If) and not _acts(node.test):
            yield from flat(node.body, (*tests, node.test))
            yield from flat(node.orelse, (*tests, ast.UnaryOp(ast.Not(), node.test)))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                one = ast.Import([alias])
                if isinstance(node, ast.ImportFrom):
                    yield ast.ImportFrom(node.module, [alias], node.level), tests
                else:
                    yield one, tests
        elif not is_text(node) and not isinstance(node, ast.Pass):
            yield node, tests


def _acts(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Call | ast.NamedExpr) for node in ast.walk(test))


def read(node: ast.stmt, tests: tuple[ast.expr, ...], package: str) -> Statement:
    """A statement of a module in this package, read."""
    statement = Statement(node, tests)
    reader = _Reader(statement, package)
    for part in (*tests, node):
        reader.visit(part)
    return statement


def root_of(node: ast.AST) -> str:
    """The name that a target or a value begins with; "" where it is no chain of attributes and items."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _reached(node: ast.AST) -> tuple[str, int]:
    """Where a changed place begins, calls on the way included, and how many steps it is away."""
    depth = 0
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.Starred):
        depth += isinstance(node, ast.Attribute | ast.Subscript)
        node = node.func if isinstance(node, ast.Call) else node.value
    return (node.id if isinstance(node, ast.Name) else ""), depth


def _locals(arguments: ast.arguments, body: Sequence[ast.AST]) -> set[str]:
    """The names that a function binds in its own scope."""
    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
    found = {each.arg for each in every if each}
    todo = list(body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif not isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            todo.extend(ast.iter_child_nodes(node))
    return found


class _Reader(ast.NodeVisitor):
    """Fills in a statement. `scope` is where names are bound: the module's, a class's, a function's."""

    def __init__(self, statement: Statement, package: str) -> None:
        self.into, self.package, self.scope = statement, package, "module"
        self.outer: set[str] = set()
        """Names that are the module's or imported somewhere in the statement, whatever else they stand for."""

    def _bind(self, name: str | None) -> None:
        if name and self.scope == "module":
            self.into.binds.add(name)

    def _change(self, node: ast.AST, more: int = 0) -> None:
        name, depth = _reached(node)
        if not name:
            return
        if self.scope == "function":
            self.into.later.add(name)
            self.into.changing |= (name, depth + more) not in (("self", 1), ("cls", 1))
        else:
            self.into.changes.add((name, depth + more))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Decorators and defaults run at once, the body later."""
        self._bind(node.name)
        self._decorated(node)
        self._annotated(node.returns)
        self.visit(node.args)
        if node.name == "__init_subclass__" and self.scope == "class" and isinstance(self.into.node, ast.ClassDef):
            self._shared(node, node.args.args[0].arg if node.args.args else "")
        self._body(node.args, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def _body(self, arguments: ast.arguments, body: Sequence[ast.AST]) -> None:
        """A function's body: what it binds itself hides the module's names."""
        into = self.into
        uses, later = into.uses, into.later
        into.uses, into.later = set(), set()
        before, self.scope = self.scope, "function"
        for node in body:
            self.visit(node)
        self.scope = before
        own = _locals(arguments, body) - self.outer
        into.uses = uses | {chain for chain in into.uses if chain[0] not in own}
        into.later = later | (into.later - own)

    def _shared(self, node: ast.AST, cls: str) -> None:
        """`cls.known[name] = cls` in __init_subclass__ changes what all subclasses share."""
        for inner in ast.walk(node):
            stored = isinstance(inner, ast.Subscript) and not isinstance(inner.ctx, ast.Load)
            called = isinstance(inner, ast.Attribute) and inner.attr in CHANGING
            if (stored or called) and _reached(inner)[0] == cls and _reached(inner)[1] > 1:
                self.into.later.add(getattr(self.into.node, "name", ""))

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Likewise."""
        self.visit(node.args)
        self._body(node.args, [node.body])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Its body runs at once, in a scope of its own."""
        self._bind(node.name)
        self._decorated(node)
        for part in (*node.bases, *node.keywords):
            self.visit(part)
            self.into.derives.update(inner.id for inner in ast.walk(part) if isinstance(inner, ast.Name))
        before, self.scope = self.scope, "function" if self.scope == "function" else "class"
        for inner in node.body:
            self.visit(inner)
        self.scope = before

    def _decorated(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        for decorator in node.decorator_list:
            function = decorator.func if isinstance(decorator, ast.Call) else decorator
            if isinstance(function, ast.Attribute) and self.scope == "module":  # @shown.register
                name = root_of(function)
                self.into.later.add(name)
            self.visit(decorator)
            self._runs(decorator)

    def _runs(self, node: ast.AST) -> None:
        if self.scope != "function":
            self.into.run.update(inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name))

    def _annotated(self, node: ast.expr | None) -> None:
        if node is None:
            return
        self.visit(node)
        for inner in ast.walk(node):
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                try:
                    self.visit(ast.parse(inner.value, mode="eval"))
                except (SyntaxError, ValueError):
                    continue

    def visit_arg(self, node: ast.arg) -> None:
        """Annotations may be evaluated, texts too."""
        self._annotated(node.annotation)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Likewise."""
        if node.value is not None:
            self.visit(node.target)
            self.visit(node.value)
        elif not isinstance(node.target, ast.Name):
            self.visit(node.target)
        self._annotated(node.annotation)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """`K += 1` uses K, binds it, and may change it in place."""
        self._change(node.target)
        if isinstance(node.target, ast.Name):
            self._mention((node.target.id,))
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        """Its targets are its own."""
        before, self.scope = self.scope, "class" if self.scope == "module" else self.scope
        self.visit(node.target)
        self.scope = before
        for part in (node.iter, *node.ifs):
            self.visit(part)

    def visit_Global(self, node: ast.Global) -> None:
        """What follows in this scope binds the module's names."""
        self.into.binds.update(node.names)
        self.outer.update(node.names)
        if self.scope == "function":
            self.into.later.update(node.names)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        """`except E as name` binds and unbinds."""
        self._bind(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        """A capture binds."""
        self._bind(node.name)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs  # noqa: N815

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        """`**rest` binds."""
        self._bind(node.rest)
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        """A call whose result nobody keeps is made for what it does."""
        if self.scope != "function" and isinstance(node.value, ast.Call):
            self.into.acts.add(_reached(node.value)[0])
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Some calls change what they are called on or given."""
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr in CHANGING:
            self._change(function.value, 1)
        named = function.id if isinstance(function, ast.Name) else ""
        asked_of = function.attr if isinstance(function, ast.Attribute) else named
        if asked_of in ("setattr", "delattr", "next", "__setattr__", "__delattr__") and node.args:
            self._change(node.args[0], asked_of != "next")
        self._runs(node)
        if self.scope != "function" and named:
            parts = (*node.args, *(keyword.value for keyword in node.keywords))
            inner = (each for part in parts for each in ast.walk(part))
            self.into.calls.update((named, each.id) for each in inner if isinstance(each, ast.Name))
        asked = literal_import(node)
        if asked:
            each = Import(asked, asked)
            self.into.inner.add(each)
            self.into.uses.add((asked,))
        elif asked is not None:
            self.into.opaque = True
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """`TABLE["x"] = ...`."""
        if not isinstance(node.ctx, ast.Load):
            self._change(node)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """`CONFIG.x = ...`, and chains."""
        if not isinstance(node.ctx, ast.Load):
            self._change(node)
        attributes: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            attributes.insert(0, inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self._mention((inner.id, *attributes))
            self.into.opaque |= (inner.id, attributes[0]) == ("sys", "modules")
        else:
            self.visit(inner)

    def visit_Name(self, node: ast.Name) -> None:
        """A name alone."""
        if not isinstance(node.ctx, ast.Load):
            self._bind(node.id)
            return
        self._mention((node.id,))
        self.into.opaque |= node.id in OPAQUE

    def _mention(self, chain: Chain) -> None:
        self.into.uses.add(chain)
        if self.scope != "function":
            self.into.now.add(chain[0])

    def visit_Import(self, node: ast.Import) -> None:
        """`import a.b` binds a; `import a.b as c` binds a.b."""
        for alias in node.names:
            top = alias.name.partition(".")[0]
            if alias.asname:
                self._import(Import(alias.asname, alias.name))
            else:
                self._import(Import(top, top, loaded=alias.name))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """`from a import b`."""
        module = absolute(node, self.package)
        for alias in node.names:
            self._import(Import(alias.asname or alias.name, module, alias.name))
            ours = module.partition(".")[0] == "bench"
            self.into.opaque |= (alias.name == "*" and not ours) or (module, alias.name) == ("sys", "modules")

    def _import(self, each: Import) -> None:
        if self.scope == "module":
            self.into.imports.add(each)
            if each.name != "*":
                self._bind(each.bound)
        else:
            self.into.inner.add(each)
            self.outer.add(each.bound)
