"""Where a program can be changed by one small step, and the changes that a seed draws.

A seed gives every line of the scope a lot, and the lowest lot is drawn; then, likewise, one of the line's places. All
lines that can be changed are alike. A lot depends on the seed, the file and the line's own text: a change elsewhere in
the tree does not move what a seed draws, so a figure can be measured again after a test was added.
"""

from __future__ import annotations

import ast
import hashlib
import heapq
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

SCOPE = (
    "harness/esp_hil/wire/*.py",
    "harness/esp_hil/device/*.py",
    "harness/esp_hil/verdict/*.py",
    "harness/esp_hil/results/**/*.py",
    "harness/esp_hil/exact/operators/*.py",
    "firmware/core/src/*.cpp",
    "firmware/core/include/hil/*.h",
)
MOST_TRIED = 50
"""Of a seed's changes; those of C++ that do not compile are passed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One change: in `file`, the characters start..end become `text`; `line` counts from 1."""

    file: str
    line: int
    start: int
    end: int
    text: str
    said: str

    def applied_to(self, source: str) -> str:
        """The file's text with the change."""
        return source[: self.start] + self.text + source[self.end :]

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.said}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line that can be changed: where, what it says, and how often the file said the same before."""

    file: str
    text: str
    nth: int
    sites: tuple[Site, ...]

    def lot(self, seed: int, what: str = "") -> bytes:
        """What the seed gives it."""
        told = f"{seed}|{self.file}|{self.text}|{self.nth}|{what}"
        return hashlib.blake2b(told.encode(), digest_size=8).digest()

    def site(self, seed: int) -> Site:
        """One of its changes."""
        chances = [(self.lot(seed, f"{number}|{site.said}"), site) for number, site in enumerate(self.sites)]
        return min(chances, key=lambda chance: chance[0])[1]


def lines_of(root: Path) -> list[Line]:
    """Every line of the scope that can be changed."""
    found: list[Line] = []
    for path in sorted({path for pattern in SCOPE for path in root.glob(pattern)}):
        source, name = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
        sites = (python_sites if path.suffix == ".py" else cpp_sites)(name, source)
        texts, said = source.splitlines(), Counter[str]()
        for number, places in groupby(sorted(sites, key=lambda site: site.line), key=lambda site: site.line):
            text = texts[number - 1].strip()
            found.append(Line(file=name, text=text, nth=said[text], sites=tuple(places)))
            said[text] += 1
    return found


def draws(lines: list[Line], seed: int) -> Iterator[tuple[Line, Site]]:
    """The changes that a seed draws, one after the other; the first that compiles is meant."""
    for line in heapq.nsmallest(MOST_TRIED, lines, key=lambda line: line.lot(seed)):
        yield line, line.site(seed)


_COMPARE: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
_BINARY: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "+"),
    ast.FloorDiv: ("//", "*"),
    ast.Div: ("/", "*"),
    ast.Mod: ("%", "*"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
}


def python_sites(file: str, source: str) -> list[Site]:
    """The places of a Python file: everything but annotations, docstrings, imports and strings."""
    return _PythonSites(file, source).found


class _PythonSites(ast.NodeVisitor):
    def __init__(self, file: str, source: str) -> None:
        self.file, self.source, self.found = file, source, list[Site]()
        starts = [0]
        for line in source.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        self._starts = starts
        self._bytes = [line.encode() for line in source.splitlines(keepends=True)]
        self.visit(ast.parse(source))

    def _at(self, line: int, column: int) -> int:
        return self._starts[line - 1] + len(self._bytes[line - 1][:column].decode())

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._at(node.lineno, node.col_offset), self._at(node.end_lineno, node.end_col_offset)

    def _add(self, node: ast.expr | ast.stmt, text: str, said: str) -> None:
        start, end = self._span(node)
        self._put(start, end, text, said)

    def _put(self, start: int, end: int, text: str, said: str) -> None:
        line = self.source.count("\n", 0, start) + 1
        self.found.append(Site(file=self.file, line=line, start=start, end=end, text=text, said=said))

    def _between(self, left: ast.expr, right: ast.expr, was: str, becomes: str) -> None:
        """Swap the operator that stands between two operands."""
        start, end = self._span(left)[1], self._span(right)[0]
        between = self.source[start:end]
        pattern = r"\s+".join(map(re.escape, was.split()))
        if was[0].isalpha():
            pattern = rf"\b{pattern}\b"
        found = re.search(pattern, re.sub(r"#.*", lambda match: " " * len(match.group()), between))
        if found:
            self._put(start + found.start(), start + found.end(), becomes, f"{was} -> {becomes}")

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for default in [*node.args.defaults, *[d for d in node.args.kw_defaults if d is not None]]:
            self.visit(default)
        for statement in node.body:
            self.visit(statement)

    def visit_Import(self, node: ast.Import) -> None:
        pass

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        pass

    def visit_Assign(self, node: ast.Assign) -> None:
        # an alias of types is an annotation
        name = node.targets[0].id if isinstance(node.targets[0], ast.Name) else ""
        if not (
            isinstance(node.value, ast.BinOp) and isinstance(node.value.op, ast.BitOr) and name[:1].isupper()
        ):
            self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for left, op, right in zip(operands, node.ops, operands[1:], strict=False):
            self._between(left, right, *_COMPARE[type(op)])
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in _BINARY and not isinstance(node.left, (ast.JoinedStr, ast.List, ast.Tuple)):
            self._between(node.left, node.right, *_BINARY[type(node.op)])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        words = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, right, *words)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            start, end = self._span(node.operand)
            self._add(node, self.source[start:end], "not dropped")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._add(node, str(not node.value), f"{node.value} -> {not node.value}")
        elif isinstance(node.value, int):
            self._add(node, str(node.value + 1), f"{node.value} -> {node.value + 1}")

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass  # what is said is not what is done

    def _condition(self, test: ast.expr) -> None:
        start, end = self._span(test)
        self._add(test, f"not ({self.source[start:end]})", "condition turned round")
        self.visit(test)

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) == "TYPE_CHECKING":
            return
        self._condition(node.test)
        for statement in [*node.body, *node.orelse]:
            self.visit(statement)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self._add(node, "pass", f"{ast.unparse(node.value.func)}() dropped")
            self.visit(node.value)
        # else a docstring, or `...`

    def visit_Raise(self, node: ast.Raise) -> None:
        self._add(node, "pass", "raise dropped")
        # the words of an error are not mutated

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if type(node.op) in _BINARY:
            was, becomes = _BINARY[type(node.op)]
            self._between(node.target, node.value, f"{was}=", f"{becomes}=")
        self.visit(node.value)

    def visit_Break(self, node: ast.Break) -> None:
        self._add(node, "continue", "break -> continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self._add(node, "break", "continue -> break")


_CPP = (
    (r" == ", " != "),
    (r" != ", " == "),
    (r" <= ", " < "),
    (r" >= ", " > "),
    (r" < ", " <= "),
    (r" > ", " >= "),
    (r" && ", " || "),
    (r" \|\| ", " && "),
    (r" \+ ", " - "),
    (r" - ", " + "),
    (r" \* ", " + "),
    (r" / ", " * "),
    (r" % ", " * "),
    (r" << ", " >> "),
    (r" >> ", " << "),
    (r" & ", " | "),
    (r" \| ", " & "),
    (r" \+= ", " -= "),
    (r" -= ", " += "),
    (r"\+\+", "--"),
    (r"\btrue\b", "false"),
    (r"\bfalse\b", "true"),
    (r"(?<=[( ])!(?=[\w(])", ""),
)
_CPP_NUMBER = re.compile(r"(?<![\w.'])(0x[0-9A-Fa-f]+|\d+)(?=[uU]?(?![\w.']))")
_CPP_CALL = re.compile(r"^\s*((?:\(void\))?[\w.>\[\]-]+\([^;]*\));\s*$")


def cpp_sites(file: str, source: str) -> list[Site]:
    """The places of a C++ file: everything but comments, strings and the preprocessor."""
    bare = re.sub(
        r"//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])'|^#[^\n]*|\bstatic_assert[^;]*;|\btemplate <[^>]*>",
        lambda match: re.sub(r"[^\n]", "_", match.group()),
        source,
        flags=re.M,
    )
    found: list[Site] = []
    at = 0
    for number, line in enumerate(bare.splitlines(keepends=True), 1):
        changes = [
            (
                match.start(),
                match.end(),
                becomes,
                f"{match.group().strip()} -> {becomes.strip() or 'nothing'}",
            )
            for pattern, becomes in _CPP
            for match in re.finditer(pattern, line)
        ]
        for match in _CPP_NUMBER.finditer(line):
            value = int(match.group(1), 0)
            changes.append((match.start(1), match.end(1), str(value + 1), f"{match.group(1)} -> {value + 1}"))
        call = _CPP_CALL.match(line)
        if call and not re.match(r"\s*return\b", line):
            name = call.group(1).split("(")[0] or call.group(1)
            changes.append((call.start(1), call.end(1), "(void)0", f"{name}() dropped"))
        branch = re.search(r"\bif \((.+?)\)(?= return| \{| [\w+-]+.*;)", line)
        if branch and ";" not in branch.group(1) and branch.group(1).count("(") == branch.group(1).count(")"):
            inside = source[at + branch.start(1) : at + branch.end(1)]
            changes.append((branch.start(1), branch.end(1), f"!({inside})", "condition turned round"))
        for start, end, text, said in changes:
            found.append(Site(file=file, line=number, start=at + start, end=at + end, text=text, said=said))
        at += len(line)
    return found
