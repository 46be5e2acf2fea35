"""Every small change that can be made to a module's source. Pure."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitXor: ast.BitAnd,
}
TWINS = {"min": "max", "max": "min", "any": "all", "all": "any"}
NOT_CODE = {"annotation", "returns", "type_comment", "decorator_list", "bases", "type_params"}
"""Fields of a node that matter to readers and type checkers, but not to tests."""
LONGEST_EXCERPT = 120
"""Characters of source shown around a change, so that it is recognised after its lines have moved."""

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


Way = tuple[tuple[str, int | None], ...]
"""Path from the module to a node: names of fields, with an index if a field is a list."""

Key = tuple[str, str, str, str]
"""Identifies a change even if its lines have moved: module, function, original and changed source."""


@dataclass(frozen=True)
class Mutant:
    """A change: the function it is in (`-` for none), the source around it before and after, and how to make it."""

    module: str
    function: str
    line: int
    original: str
    changed: str
    whole: str
    """The module's source without the change."""
    way: Way
    new: ast.AST

    @property
    def key(self) -> Key:
        """Identify the change."""
        return self.module, self.function, self.original, self.changed

    @property
    def source(self) -> str:
        """The module's source with the change, without its comments."""
        tree = ast.parse(self.whole)
        _put(tree, self.way, copy.deepcopy(self.new))
        return ast.unparse(ast.fix_missing_locations(tree)) + "\n"

    def __str__(self) -> str:
        """Return it as a line of the report."""
        return f"{self.module}:{self.line} {self.function}: `{self.original}` -> `{self.changed}`"


def mutants(module: str, source: str) -> Iterator[Mutant]:
    """Yield every change of the source, top to bottom."""
    tree = ast.parse(source)
    for node, way, function in list(_sites(tree, (), "")):
        seen = {ast.dump(node)}
        before = _around(tree, way)
        for new in _changes(node, _at(tree, way[:-1]), way[-1][0]):
            if ast.dump(new) in seen:
                continue
            seen.add(ast.dump(new))
            _put(tree, way, ast.fix_missing_locations(new))
            original, changed = _shown(before, _around(tree, way))
            _put(tree, way, node)
            yield Mutant(module, function or "-", _line(tree, way), original, changed, source, way, new)


def _sites(node: ast.AST, way: Way, function: str) -> Iterator[tuple[ast.AST, Way, str]]:
    """Yield every node that may be changed, the way to it, and the qualified name of the function around it."""
    for field, value in ast.iter_fields(node):
        if field in NOT_CODE or (field == "keywords" and isinstance(node, ast.ClassDef)):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _is_not_code(child, function):
                continue
            inside = f"{function}.{child.name}".lstrip(".") if isinstance(child, Function) else function
            yield child, (*way, (field, index)), function
            yield from _sites(child, (*way, (field, index)), inside)


def _is_not_code(node: ast.AST, function: str) -> bool:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)]):  # `Way = A | B` is a type, `MAX_WAYS = 4` is not
            return name == "__slots__" or (not function and name[0].isupper() and not name.isupper())
        case (
            ast.Expr(value=ast.Constant())  # a docstring
            | ast.If(test=ast.Name(id="TYPE_CHECKING"))
            | ast.Call(func=ast.Name(id="cast" | "TypeVar" | "NewType"))
            | ast.JoinedStr()  # wording
            | ast.keyword(arg="strict")  # of `zip`: an assertion about our own code
        ):
            return True
    return False


def _changes(node: ast.AST, parent: ast.AST, field: str) -> Iterator[ast.AST]:
    if isinstance(node, ast.expr):
        yield from _of_expression(node)
        yield from _of_constant(node, parent, field)
        if field in {"test", "ifs"} and not isinstance(node, ast.Compare | ast.UnaryOp):
            yield ast.UnaryOp(ast.Not(), node)
    if isinstance(node, ast.stmt):
        yield from _of_statement(node)
    if isinstance(node, ast.ExceptHandler):
        yield _with(node, body=[ast.Raise()])


def _of_expression(node: ast.expr) -> Iterator[ast.AST]:
    match node:
        case ast.BoolOp():
            yield from _of_condition(node)
        case ast.Call():
            yield from _of_call(node)
        case ast.Compare():
            yield from _of_comparison(node)
        case ast.BinOp(left=ast.Constant(value=str()) | ast.JoinedStr()):
            return
        case ast.BinOp() if type(node.op) in OPERATORS:
            yield _with(node, op=OPERATORS[type(node.op)]())
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.IfExp():
            yield _with(node, body=node.orelse, orelse=node.body)
        case ast.Await():
            yield node.value


def _of_comparison(node: ast.Compare) -> Iterator[ast.AST]:
    for at, operator in enumerate(node.ops):
        for other in COMPARISONS[type(operator)]:
            yield _with(node, ops=[*node.ops[:at], other(), *node.ops[at + 1 :]])


def _of_condition(node: ast.BoolOp) -> Iterator[ast.AST]:
    yield _with(node, op=ast.And() if isinstance(node.op, ast.Or) else ast.Or())
    for at in range(len(node.values)):
        rest = [*node.values[:at], *node.values[at + 1 :]]
        yield _with(node, values=rest) if rest[1:] else rest[0]


def _of_call(node: ast.Call) -> Iterator[ast.AST]:
    if not any(isinstance(argument, ast.Starred) for argument in node.args):
        for at in range(len(node.args) - 1):
            first, second = node.args[at : at + 2]
            yield _with(node, args=[*node.args[:at], second, first, *node.args[at + 2 :]])
    for each in node.keywords:
        if each.arg != "strict":
            yield _with(node, keywords=[other for other in node.keywords if other is not each])
    if isinstance(node.func, ast.Name) and node.func.id in TWINS:
        yield _with(node, func=ast.Name(TWINS[node.func.id]))


def _of_constant(node: ast.expr, parent: ast.AST, field: str) -> Iterator[ast.AST]:
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
            yield ast.Constant(value - 1)
        case ast.Constant(value=str(value)) if _is_looked_at(parent, field):
            yield ast.Constant(value + "XX")
        case ast.Constant(value=bytes(value)) if _is_looked_at(parent, field):
            yield ast.Constant(value + b"XX")


def _is_looked_at(parent: ast.AST, field: str) -> bool:
    """Distinguish a string that is compared or looked up from one that is shown to people."""
    return isinstance(parent, ast.Compare | ast.Subscript | ast.Set | ast.Tuple | ast.arguments) or field == "keys"


def _of_statement(node: ast.stmt) -> Iterator[ast.AST]:
    match node:
        case ast.Expr(value=ast.Yield()):
            return
        case ast.Expr() | ast.AugAssign() | ast.Delete() | ast.Raise() | ast.Return(value=None):
            yield ast.Pass()
        case ast.Assign() if all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
            yield ast.Pass()
        case ast.Break() | ast.Continue():
            yield ast.Pass()
            yield ast.Continue() if isinstance(node, ast.Break) else ast.Break()
        case ast.Return(value=value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield ast.Return(ast.Constant(None))
        case ast.If():
            yield _with(node, test=ast.Constant(value=False))
            yield _with(node, test=ast.Constant(value=True))
        case ast.With() | ast.AsyncWith() if all(item.optional_vars is None for item in node.items):
            yield ast.If(ast.Constant(value=True), node.body, [])
    if isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS:
        yield _with(node, op=OPERATORS[type(node.op)]())


def _with(node: ast.AST, **fields: object) -> ast.AST:
    """Return the node with some of its fields replaced."""
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})


def _at(tree: ast.AST, way: Way) -> ast.AST:
    node: ast.AST = tree
    for field, index in way:
        value = getattr(node, field)
        node = value if index is None else value[index]
    return node


def _put(tree: ast.AST, way: Way, new: ast.AST) -> None:
    parent = _at(tree, way[:-1])
    field, index = way[-1]
    if index is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[index] = new


def _line(tree: ast.AST, way: Way) -> int:
    lines = (getattr(_at(tree, way[:end]), "lineno", 0) for end in range(len(way), 0, -1))
    return next((line for line in lines if line), 0)


def _around(tree: ast.AST, way: Way) -> list[str]:
    """Return the source of the node and of each enclosing node, up to its statement."""
    found = []
    for end in range(len(way), 0, -1):
        node = _at(tree, way[:end])
        if isinstance(node, ast.expr | ast.stmt | ast.ExceptHandler):
            found.append(_in_a_line(node))
        if isinstance(node, ast.stmt | ast.ExceptHandler):
            break
    return found


def _in_a_line(node: ast.AST) -> str:
    """Return the source in one line; of a compound statement only the first line."""
    text = ast.unparse(node)
    return text.splitlines()[0] if isinstance(node, ast.stmt) and hasattr(node, "body") else " ".join(text.split())


def _shown(before: list[str], after: list[str]) -> tuple[str, str]:
    """Show the change within as much of its statement as fits."""
    pairs = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    fitting = [pair for pair in pairs if max(map(len, pair)) <= LONGEST_EXCERPT]
    return fitting[-1] if fitting else pairs[0]
