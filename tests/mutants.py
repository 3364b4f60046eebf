"""Mutants of a file of Python: each is the file with one comparison, operator, constant, condition, call or return value changed."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

ROOT = Path(__file__).parents[1]

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any", "floor": "ceil", "ceil": "floor"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted fault: where, what stood there and what stands there now."""

    path: str
    line: int
    where: str  # qualified name of the function or class
    before: str
    after: str
    code: CodeType = field(compare=False)

    @property
    def key(self) -> str:
        """What names it in the list of explained survivors, whatever its line."""
        return f"{self.path} {self.where}: `{self.before}` → `{self.after}`"


def _edits(node: ast.AST) -> Iterator[Callable[[Any], ast.AST]]:
    """Ways to change one node: each takes a copy of it and returns what stands in its place."""
    if isinstance(node, ast.Compare):
        for k, op in enumerate(node.ops):
            yield lambda n, k=k, op=op: _with(n, ops=[*n.ops[:k], COMPARISONS[type(op)](), *n.ops[k + 1 :]])
    elif isinstance(node, ast.BoolOp):
        yield lambda n: _with(n, op=ast.Or() if isinstance(n.op, ast.And) else ast.And())
    elif (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)) or (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    ):
        yield lambda n: n.operand
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in OPERATORS:
        yield lambda n: _with(n, op=OPERATORS[type(n.op)]())
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield lambda n: _with(n, value=not n.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield lambda n: _with(n, value=n.value + 1)
    elif isinstance(node, ast.Name) and node.id in FUNCTIONS and isinstance(node.ctx, ast.Load):
        yield lambda n: _with(n, id=FUNCTIONS[n.id])
    elif isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(node.test, ast.Compare | ast.UnaryOp):
        yield lambda n: _with(n, test=ast.UnaryOp(ast.Not(), n.test))
    elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield lambda n: _with(n, value=ast.Constant(None))
    elif isinstance(node, ast.Continue | ast.Break):
        yield lambda n: ast.Break() if isinstance(n, ast.Continue) else ast.Continue()
    elif isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield lambda n: ast.Pass()


def _with(node: Any, **changes: Any) -> Any:
    for name, value in changes.items():
        setattr(node, name, value)
    return node


class _Places(ast.NodeVisitor):
    """Every node worth changing, with the name of what it stands in. Annotations, messages and decorators are left out."""

    def __init__(self) -> None:
        self.found: list[tuple[tuple[Any, ...], ast.AST, str]] = []
        self._path: list[Any] = []
        self._names: list[str] = []

    def generic_visit(self, node: ast.AST) -> None:
        self.found.append((tuple(self._path), node, ".".join(self._names) or "module"))
        named = isinstance(node, ast.FunctionDef | ast.ClassDef)
        if named:
            self._names.append(node.name)  # type: ignore[attr-defined]
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "bases", "type_comment", "type_params"):
                continue
            children = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
            for k, child in children:
                if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                    self._path.append((name, k))
                    self.visit(child)
                    self._path.pop()
        if named:
            self._names.pop()

    def visit_Assign(self, node: ast.Assign) -> None:
        names = {t.id for t in node.targets if isinstance(t, ast.Name)}
        if not names & {"__slots__", "__all__"}:
            self.generic_visit(node)


def _reach(tree: ast.AST, path: Sequence[tuple[str, int | None]]) -> tuple[Any, str, int | None, Any]:
    """(parent, field, place in it, node) at the end of a path."""
    node: Any = tree
    for name, k in path[:-1]:
        node = getattr(node, name) if k is None else getattr(node, name)[k]
    name, k = path[-1]
    return node, name, k, getattr(node, name) if k is None else getattr(node, name)[k]


def mutants(path: str) -> list[Mutant]:
    """All mutants of a file that compile to something else."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    places = _Places()
    places.visit(tree)
    made = []
    for steps, node, where in places.found:
        for edit in _edits(node):
            changed = copy.deepcopy(tree)
            parent, name, k, target = _reach(changed, steps)
            new = ast.copy_location(edit(target), target)
            if k is None:
                setattr(parent, name, new)
            else:
                getattr(parent, name)[k] = new
            ast.fix_missing_locations(changed)
            before, after = (_short(n) for n in (node, new))
            made.append(Mutant(path, node.lineno, where, before, after, compile(changed, str(ROOT / path), "exec")))  # type: ignore[attr-defined]
    return made


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split("\n", 1)[0].split())
    return text if len(text) <= 110 else text[:109] + "…"
