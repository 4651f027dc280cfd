"""Which statements of a module belong to which of its names.

A statement belongs to every name that it binds (tuple targets, imports, walruses, blocks) or changes (augmented, an
item, an attribute, `del`; at once, or in a function that is called on import). One that only acts, such as
`register(Linear)`, belongs to every definition that it mentions, and to all of them if it mentions none or acts on
another library.

Not seen: that a value kept in a container or passed to another module is changed there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from bench.statements import Import, Statement, flat, read, root_of

ALL = ""
"""The name of what belongs to every definition: it happens when the module is imported."""


class Module:
    """The statements of a module and the names that they belong to. `package` is what relative imports start from."""

    def __init__(self, tree: ast.Module, name: str = "", package: str = "") -> None:
        self.name = name
        self.statements = [read(node, tests, package) for node, tests in flat(tree.body, ())]
        self.imports: dict[str, list[Import]] = {}
        for statement in self.statements:
            for each in statement.imports:
                self.imports.setdefault(each.bound, []).append(each)
        self.stars = [each.module for each in self.imports.pop("*", [])]
        self.opaque = any(statement.opaque for statement in self.statements)
        self._texts: dict[frozenset[str], str] = {}
        self._bound: dict[str, list[Statement]] = {}
        for statement in self.statements:
            for bound in statement.binds:
                self._bound.setdefault(bound, []).append(statement)
        self._aliases = self._aliased()
        self._lasting = self._changed_by_calls(perhaps=False)
        self._perhaps = self._changed_by_calls(perhaps=True)
        self._belong: dict[str, list[int]] = {}
        for number, statement in enumerate(self.statements):
            for owner in self._owners(statement):
                self._belong.setdefault(owner, []).append(number)
        self.definitions = self._belong.keys() - {ALL}
        """Every name that the module binds, imports included."""

    def of(self, name: str) -> list[Statement]:
        """The statements that belong to a name; ALL for what is in no definition."""
        return [self.statements[number] for number in self._belong.get(name, [])]

    def text(self, names: frozenset[str]) -> str:
        """The code of some definitions, as hashes. Its order counts only where a name is bound or changed twice."""
        if names not in self._texts:
            self._texts[names] = self._text(names)
        return self._texts[names]

    def _text(self, names: frozenset[str]) -> str:
        held = [self._belong.get(name, []) for name in names]
        reached = [self.statements[number] for number in sorted({number for numbers in held for number in numbers})]
        twice = {number for numbers in held if len(numbers) > 1 for number in numbers}
        if not twice and not self._belong.get(ALL):
            return "\n".join(sorted(statement.digest for statement in reached))
        placed = {id(self.statements[number]) for number in twice}
        free = [each.digest for each in reached if each.alone and id(each) not in placed]
        fixed = [each.digest for each in reached if not each.alone or id(each) in placed]
        return "\n".join([*sorted(free), *fixed])

    def _own(self, names: Iterable[str]) -> set[str]:
        """Those that are the module's own definitions, not imports."""
        return {name for name in names if name in self._bound and name not in self.imports}

    def _owners(self, statement: Statement) -> set[str]:
        owners = set(statement.binds)
        for name, depth in statement.changes:
            owners |= {ALL} if name in self.imports else self._same(name)
            if depth > 1:  # what the container holds
                owners |= {held for each in self._bound.get(name, []) for held in self._own(each.now)}
        owners |= {same for name in statement.later for same in self._same(name)}
        for name in statement.derives:
            owners |= self._lasting.get(name, set())
        for name in statement.run:
            owners |= self._perhaps.get(name, set())
        for function, name in statement.calls:
            if self._function(function):
                owners |= self._same(name)
        if any(each.name == "*" for each in statement.imports):
            owners.add(ALL)
        if any(name in self.imports and not self._in_package(name) for name in statement.acts):
            owners.add(ALL)
        if statement.acting:
            owners |= self._own(chain[0] for chain in statement.uses)
            owners = owners or {ALL}
        return owners

    def _function(self, name: str) -> bool:
        return any(isinstance(each.node, ast.FunctionDef) for each in self._bound.get(name, []))

    def _in_package(self, name: str) -> bool:
        return all(each.module.partition(".")[0] == "bench" for each in self.imports[name])

    def _same(self, name: str) -> set[str]:
        """A definition and what else may be the same object."""
        return self._aliases.get(name, {name}) if self._own([name]) else set()

    def _aliased(self) -> dict[str, set[str]]:
        groups: dict[str, set[str]] = {}
        for statement in self.statements:
            if not isinstance(statement.node, ast.Assign | ast.AnnAssign) or statement.node.value is None:
                continue
            value = statement.node.value
            parts = value.elts if isinstance(value, ast.Tuple | ast.List) else [value]
            roots = self._own(root for root in map(root_of, parts) if root)
            if not roots and len(statement.binds) < 2:
                continue
            joined = set.union(roots, statement.binds, *(groups.get(n, set()) for n in roots | statement.binds))
            groups.update(dict.fromkeys(joined, joined))
        return groups

    def _changed_by_calls(self, *, perhaps: bool) -> dict[str, set[str]]:
        """For each definition, the module's names that a call of it changes, through others too.

        One that changes something under a name of its own changes perhaps what it mentions, functions excepted.
        """
        held = {name: bound for name, bound in self._bound.items() if name not in self.imports}
        mentions = {name: self._own(chain[0] for each in bound for chain in each.uses) for name, bound in held.items()}
        users: dict[str, set[str]] = {}
        changed: dict[str, set[str]] = {}
        for name, bound in held.items():
            changed[name] = {same for each in bound for later in each.later for same in self._same(later)}
            if perhaps and any(each.changing for each in bound):
                data = (other for other in mentions[name] if not all(each.alone for each in held[other]))
                changed[name] |= {same for each in data for same in self._same(each)}
            for other in mentions[name]:
                users.setdefault(other, set()).add(name)
        todo = [name for name in changed if changed[name]]
        while todo:
            name = todo.pop()
            for user in users.get(name, ()):
                if not changed[name] <= changed[user]:
                    changed[user] |= changed[name]
                    todo.append(user)
        return {name: names for name, names in changed.items() if names}
