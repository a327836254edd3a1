"""A little PromQL: enough to see whether the rules in the examples speak when they should.

It knows two moments, before and after: ``rate`` and ``increase`` are about what has grown between
them. Vectors are dicts from labels to numbers. What is not known here is an error.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import promql_parser as promql

Labels: TypeAlias = frozenset[tuple[str, str]]
Vector: TypeAlias = dict[Labels, float]
Moment: TypeAlias = Mapping[str, Vector]

_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "/": lambda left, right: left / right if right else float("nan"),
    "*": operator.mul,
}
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
}


def matches(labels: Labels, selector: Any) -> bool:
    """Tell whether labels are as the selector wants them."""
    own = dict(labels)
    for matcher in selector.matchers.matchers:
        value = own.get(matcher.name, "")
        is_pattern = matcher.op in (promql.MatchOp.Re, promql.MatchOp.NotRe)
        found = bool(re.fullmatch(matcher.value, value)) if is_pattern else value == matcher.value
        if found is (matcher.op in (promql.MatchOp.NotRe, promql.MatchOp.NotEqual)):
            return False
    return True


def select(selector: Any, moment: Moment) -> Vector:
    series = moment.get(selector.name, {})
    return {labels: value for labels, value in series.items() if matches(labels, selector)}


def evaluate(expr: Any, before: Moment, after: Moment) -> Any:
    """Return the vector, or the number, that an expression has at the later moment."""
    if isinstance(expr, promql.NumberLiteral):
        return expr.val
    if isinstance(expr, promql.ParenExpr):
        return evaluate(expr.expr, before, after)
    if isinstance(expr, promql.VectorSelector):
        return select(expr, after)
    if isinstance(expr, promql.AggregateExpr):
        return _aggregate(expr, evaluate(expr.expr, before, after))
    if isinstance(expr, promql.BinaryExpr):
        left, right = (evaluate(each, before, after) for each in (expr.lhs, expr.rhs))
        return _binary(str(expr.op), left, right)
    return _call(expr, before, after)


def _call(expr: Any, before: Moment, after: Moment) -> Vector:
    if expr.func.name in {"rate", "increase"}:
        (matrix,) = expr.args
        seconds = matrix.range.total_seconds() if expr.func.name == "rate" else 1
        old = select(matrix.vector_selector, before)
        new = select(matrix.vector_selector, after)
        return {labels: (value - old.get(labels, 0)) / seconds for labels, value in new.items()}
    assert expr.func.name == "histogram_quantile", expr.func.name
    share, buckets = (evaluate(each, before, after) for each in expr.args)
    return _quantiles(share, buckets)


def _aggregate(expr: Any, vector: Vector) -> Vector:
    grouped: dict[Labels, list[float]] = {}
    by = expr.modifier.labels if expr.modifier else []
    for labels, value in vector.items():
        grouped.setdefault(frozenset((k, v) for k, v in labels if k in by), []).append(value)
    combine: Callable[[list[float]], float] = {"sum": sum, "max": max}[str(expr.op)]
    return {labels: combine(values) for labels, values in grouped.items()}


def _binary(op: str, left: Any, right: Any) -> Vector:
    if op == "and":
        return {labels: value for labels, value in left.items() if labels in right}
    if not isinstance(left, dict):
        left = dict.fromkeys(right, left)
    if not isinstance(right, dict):
        right = dict.fromkeys(left, right)
    pairs = {labels: (value, right[labels]) for labels, value in left.items() if labels in right}
    if op in _COMPARISONS:
        return {at: pair[0] for at, pair in pairs.items() if _COMPARISONS[op](*pair)}
    return {at: _ARITHMETIC[op](*pair) for at, pair in pairs.items()}


def _quantiles(share: float, buckets: Vector) -> Vector:
    """Return the end of the bucket that the quantile is in."""
    grouped: dict[Labels, list[tuple[float, float]]] = {}
    for labels, value in buckets.items():
        rest = frozenset((k, v) for k, v in labels if k != "le")
        grouped.setdefault(rest, []).append((float(dict(labels)["le"]), value))
    found = {}
    for labels, ends in grouped.items():
        ends.sort()
        wanted = share * ends[-1][1]
        found[labels] = next(end for end, value in ends if value >= wanted)
    return found


def selectors(expr: Any) -> Iterator[Any]:
    """Yield every selector of series in an expression."""
    if isinstance(expr, promql.VectorSelector):
        yield expr
    elif isinstance(expr, promql.MatrixSelector):
        yield expr.vector_selector
    for part in parts(expr):
        yield from selectors(part)


def parts(expr: Any) -> list[Any]:
    """Return what an expression is made of."""
    if isinstance(expr, promql.Call):
        return list(expr.args)
    if isinstance(expr, promql.BinaryExpr):
        return [expr.lhs, expr.rhs]
    return [expr.expr] if isinstance(expr, (promql.ParenExpr, promql.AggregateExpr)) else []


def groupings(expr: Any) -> Iterator[tuple[Any, list[str]]]:
    """Yield what is aggregated, and by which labels."""
    if isinstance(expr, promql.AggregateExpr):
        yield expr.expr, expr.modifier.labels if expr.modifier else []
    for part in parts(expr):
        yield from groupings(part)
