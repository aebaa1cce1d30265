"""Small changes to a program, each at one place of its syntax tree.

Left alone: text (docstrings, annotations, messages, formatted strings), assertions, what a card tells the records of the bench, and what is
shared between the two copies (enums, exceptions).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from tests.mutants.twin import parsed, shared, source_of


class Operator(StrEnum):
    COMPARISON = "comparison"
    ARITHMETIC = "arithmetic"
    CONSTANT = "constant"
    CONDITION = "condition"
    LOGIC = "logic"
    RETURN = "return"
    REMOVAL = "removal"
    JUMP = "jump"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change, named so that it is found again when lines move."""

    module: str
    function: str
    """Qualified name; empty for what runs when the module is loaded."""
    operator: Operator
    line: str
    """The source line, without indentation."""
    what: str
    """Before and after, and which of several alike on the line."""
    number: int
    """Place among the module's changes."""
    row: int
    statement: int
    """First row of the statement it belongs to; 0 for what runs when the module is loaded."""
    constant: str = ""
    """For what runs when the module is loaded: the name that it gives a value."""

    @property
    def package(self) -> str:
        return ".".join(self.module.split(".")[:2])

    @property
    def key(self) -> tuple[str, str, str, str]:
        return (self.module, self.function, self.line, self.what)

    def __str__(self) -> str:
        return f"{self.module.replace('.', '/')}.py:{self.row} {self.function or '(module)'}: {self.what}"

    def change(self, tree: ast.Module) -> None:
        """Make the change in a fresh tree of its module."""
        _sites(tree)[self.number].apply()


@dataclass(frozen=True, slots=True)
class _Site:
    node: ast.AST
    function: str
    statement: int
    operator: Operator
    what: str
    constant: str
    apply: Callable[[], None]


_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_SILENT = ("sink.emit", "crashes.append")
"""Calls by which a card tells the bench, and nobody on a wire."""
_TEXT = ("__repr__", "__str__")


def _word(node: object) -> str:
    return type(node).__name__


def given_name(node: ast.stmt) -> str:
    """What a statement of a module or class gives a value; empty where it is no such statement."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name
    target = (
        node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else None
    )
    return target.id if isinstance(target, ast.Name) else ""


class Names:
    """Where the names of modules are spoken of: rows of statements in functions, and other names."""

    def __init__(self, modules: Iterable[str]) -> None:
        self.rows: dict[str, set[tuple[str, int]]] = {}
        self.within: dict[str, set[str]] = {}
        for module in modules:
            self._block(module, parsed(module).body, False)

    def _block(self, module: str, body: Iterable[ast.stmt], inside: bool) -> None:
        for node in body:
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            blocks: list[ast.stmt] = []
            heads: list[ast.AST] = []
            for value in (
                each for _, field in ast.iter_fields(node) for each in (field if isinstance(field, list) else [field])
            ):
                if isinstance(value, ast.stmt):
                    blocks.append(value)
                elif isinstance(value, ast.ExceptHandler | ast.match_case):
                    blocks.extend(value.body)
                    heads.extend(each for each in ast.iter_child_nodes(value) if not isinstance(each, ast.stmt))
                elif isinstance(value, ast.AST):
                    heads.append(value)
            for name in {each for head in heads for each in _spoken(head)}:
                if inside:
                    self.rows.setdefault(name, set()).add((module, node.lineno))
                elif given := given_name(node):
                    self.within.setdefault(name, set()).add(given)
            self._block(module, blocks, inside or function)

    def places(self, name: str) -> set[tuple[str, int]]:
        """Statements that speak of ``name``, or of what is made of it."""
        found: set[tuple[str, int]] = set()
        known: set[str] = set()
        todo = [name]
        while todo:
            each = todo.pop()
            if each not in known:
                known.add(each)
                found |= self.rows.get(each, set())
                todo.extend(self.within.get(each, ()))
        return found


def _spoken(head: ast.AST) -> Iterator[str]:
    for node in ast.walk(head):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg


class _Finder(ast.NodeVisitor):
    def __init__(self) -> None:
        self.sites: list[_Site] = []
        self.names: list[str] = []
        self.functions = 0
        self.statement = 0
        self.constant = ""
        self.returns: ast.expr | None = None

    def add(self, node: ast.AST, operator: Operator, what: str, apply: Callable[[], None]) -> None:
        self.sites.append(_Site(node, ".".join(self.names), self.statement, operator, what, self.constant, apply))

    # -- where we are ----------------------------------------------------------------------------------------------

    def visit(self, node: ast.AST) -> None:
        if not isinstance(node, ast.stmt):
            super().visit(node)
            return
        before = self.statement, self.constant
        self.statement = node.lineno if self.functions else 0
        self.constant = "" if self.functions else given_name(node) or self.constant
        super().visit(node)
        self.statement, self.constant = before

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.names.append(node.name)
        self._body(node.body)
        self.names.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if node.name in _TEXT:
            return
        self.visit(node.args)
        self.names.append(node.name)
        self.functions += 1
        before, self.returns = self.returns, node.returns
        self._body(node.body)
        self.returns = before
        self.functions -= 1
        self.names.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def _body(self, body: list[ast.stmt]) -> None:
        for place, node in enumerate(body):
            if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
                self._removal(body, place)
                self.visit(node)

    def generic_visit(self, node: ast.AST) -> None:
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_comment"):
                continue
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                self._body(value)
            elif isinstance(value, list):
                for each in value:
                    if isinstance(each, ast.AST):
                        self.visit(each)
            elif isinstance(value, ast.AST):
                self.visit(value)

    # -- what is left alone ----------------------------------------------------------------------------------------

    def visit_Assert(self, node: ast.Assert) -> None:
        pass

    def visit_Raise(self, node: ast.Raise) -> None:
        pass

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_Import(self, node: ast.AST) -> None:
        pass

    visit_ImportFrom = visit_Import  # noqa: N815

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.value, ast.Name) and node.value.id in (
            "Callable",
            "dict",
            "list",
            "tuple",
            "Mapping",
            "deque",
        ):
            return
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not _silent(node):
            self.generic_visit(node)

    # -- changes ---------------------------------------------------------------------------------------------------

    def _removal(self, body: list[ast.stmt], place: int) -> None:
        node = body[place]
        if not self.functions or _silent(node):
            return
        attribute = isinstance(node, ast.Assign) and any(
            isinstance(each, ast.Attribute | ast.Subscript) for each in node.targets
        )
        if not (attribute or isinstance(node, ast.Expr | ast.AugAssign | ast.Raise | ast.Delete)):
            return

        def apply() -> None:
            body[place] = ast.copy_location(ast.Pass(), node)

        self.statement, before = node.lineno, self.statement
        self.add(node, Operator.REMOVAL, f"without {_word(node)}", apply)
        self.statement = before

    def visit_Compare(self, node: ast.Compare) -> None:
        for place, operator in enumerate(node.ops):
            other = _COMPARED[type(operator)]

            def apply(place: int = place, other: type[ast.cmpop] = other) -> None:
                node.ops[place] = other()

            self.add(node, Operator.COMPARISON, f"{_word(operator)} -> {other.__name__}", apply)
        self.generic_visit(node)

    def _computed(self, node: ast.BinOp | ast.AugAssign) -> None:
        other = _COMPUTED.get(type(node.op))
        texts = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.value]
        if any(isinstance(each, ast.Constant) and isinstance(each.value, str) for each in texts):
            return
        if other is not None:

            def apply() -> None:
                node.op = other()

            self.add(node, Operator.ARITHMETIC, f"{_word(node.op)} -> {other.__name__}", apply)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self._computed(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._computed(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._constant(node, not value)
        elif isinstance(value, int):
            self._constant(node, value + 1)
            if value > 0:
                self._constant(node, value - 1)

    def _constant(self, node: ast.Constant, other: int) -> None:
        def apply() -> None:
            node.value = other

        self.add(node, Operator.CONSTANT, f"{node.value} -> {other}", apply)

    def _condition(self, node: ast.If | ast.While | ast.IfExp) -> None:
        def apply() -> None:
            node.test = ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test)

        if not isinstance(node.test, ast.Name) or node.test.id != "TYPE_CHECKING":
            self.add(node.test, Operator.CONDITION, f"{_word(node)} turned", apply)
            self.generic_visit(node)

    visit_If = visit_While = visit_IfExp = _condition  # noqa: N815

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other = ast.Or if isinstance(node.op, ast.And) else ast.And

        def apply() -> None:
            node.op = other()

        self.add(node, Operator.LOGIC, f"{_word(node.op)} -> {other.__name__}", apply)
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        value = node.value
        if value is None or (isinstance(value, ast.Constant) and isinstance(value.value, int | None)):
            self.generic_visit(node)
            return
        kind = ast.unparse(self.returns) if self.returns is not None else ""
        other = {"bool": "not (X)", "int": "(X) + 1", "bytes": "(X)[:-1]"}.get(kind, "None")

        def apply() -> None:
            made = ast.parse(other.replace("X", ast.unparse(value)), mode="eval").body
            node.value = ast.copy_location(made, value)

        self.add(node, Operator.RETURN, f"return {other}", apply)
        self.generic_visit(node)

    def visit_Break(self, node: ast.Break) -> None:
        pass  # loops that do not end say little

    def visit_Continue(self, node: ast.Continue) -> None:
        def apply() -> None:
            node.__class__ = ast.Break  # type: ignore[assignment]

        self.add(node, Operator.JUMP, "continue -> break", apply)


def _silent(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func).endswith(_SILENT)
    )


def _sites(tree: ast.Module) -> list[_Site]:
    finder = _Finder()
    finder._body(tree.body)
    return finder.sites


def mutants_of(module: str) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its text."""
    lines = source_of(module).splitlines()
    seen: dict[tuple[int, str], int] = {}
    common = shared(module)
    for number, site in enumerate(_sites(parsed(module))):
        if site.function.partition(".")[0] in common:
            continue
        row = site.node.lineno  # type: ignore[attr-defined]
        place = seen[row, site.what] = seen.get((row, site.what), 0) + 1
        what = site.what if place == 1 else f"{site.what} #{place}"
        yield Mutant(
            module,
            site.function,
            site.operator,
            lines[row - 1].strip(),
            what,
            number,
            row,
            site.statement,
            site.constant,
        )


def marked(mark: Callable[[int], int]) -> Callable[[ast.Module], None]:
    """A change that tells of every statement of a function that runs: ``__ran__[mark(row)] = 1``."""

    def body(statements: list[ast.stmt]) -> list[ast.stmt]:
        made: list[ast.stmt] = []
        for node in statements:
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if not docstring:
                (told,) = ast.parse(f"__ran__[{mark(node.lineno)}] = 1").body
                made.append(ast.copy_location(told, node))
            inside(node)
            made.append(node)
        return made

    def inside(node: ast.AST) -> None:
        for name, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                setattr(node, name, body(value))
            elif isinstance(value, list):
                for each in value:
                    if isinstance(each, ast.excepthandler | ast.match_case):
                        inside(each)

    def change(tree: ast.Module) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.Module):
                for each in node.body:
                    if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                        each.body = body(each.body)
        ast.fix_missing_locations(tree)

    return change
