"""Formulas from text, in the syntax of rtamt."""

import functools

from tfshrink.errors import UserError
from tfshrink.stl import formula as stl

DEEPEST = 100  # what is made of a formula calls itself for each level
GRAMMAR = r"""
?start: implication
?implication: disjunction (_IMPLIES implication)?
?disjunction: conjunction (_OR conjunction)*
?conjunction: until (_AND until)*
?until: unary (_UNTIL [interval] unary)?
?unary: _NOT unary -> negation
      | _ALWAYS [interval] unary -> always
      | _EVENTUALLY [interval] unary -> eventually
      | "(" implication ")"
      | NAME COMPARISON number -> predicate
      | number COMPARISON NAME -> mirrored
interval: "[" bound (":" | ",") bound "]"
bound: SIGNED_NUMBER | INFINITY
number: SIGNED_NUMBER

// A keyword ends where its word does: `always_on` is a name.
_IMPLIES.2: /implies\b|->/
_OR.2: /or\b|\|/
_AND.2: /and\b|&/
_UNTIL.2: /(until|U)\b/
_NOT.2: /not\b|!/
_ALWAYS.2: /(always|G)\b/
_EVENTUALLY.2: /(eventually|F)\b/
INFINITY.2: /inf\b/
COMPARISON: /[<>]=?/
NAME: /[A-Za-z_]\w*/
%import common.SIGNED_NUMBER
%import common.WS
%ignore WS
"""


def parse(text):
    """Reads a formula.

    Args:
        text: Such as `"always[0:31](jsd <= 0.15) and eventually(top >= 0.9)"`.
            Intervals are in samples and include both ends; without one a window
            reaches to the end. `G`, `F`, `U`, `!`, `&`, `|` and `->` are short
            for always, eventually, until, not, and, or, implies. On the margin,
            `<` means what `<=` does.

    Returns:
        A `Formula`.

    Raises:
        UserError: with a mark under the place where the text cannot be read.
    """
    from lark.exceptions import UnexpectedInput
    from lark.exceptions import VisitError

    try:
        tree = _parser().parse(text)
        _check_depth(tree)
        return _transformer().transform(tree)
    except UnexpectedInput as error:
        raise UserError(_marked(text, error)) from None
    except VisitError as error:
        if isinstance(error.orig_exc, UserError):
            raise error.orig_exc from None
        raise


def _check_depth(tree):
    """Raises a `UserError` where operators stand too deep in each other."""
    layer = [tree]
    for _ in range(DEEPEST):
        layer = [own for part in layer for own in _children(part)]
        if not layer:
            return
    raise UserError(
        f"`formula` must have fewer than {DEEPEST} operators in each other. "
        "Received: more"
    )


def _children(part):
    return getattr(part, "children", ())  # a token has none


def _marked(text, error):
    """What was expected, with a caret under the spot."""
    column = getattr(error, "column", -1)
    line = getattr(error, "line", -1)
    lines = text.splitlines() or [""]
    ended = getattr(getattr(error, "token", None), "type", None) == "$END"
    if ended or column < 1 or line < 1:
        line, column = len(lines), len(lines[-1]) + 1
    shown = lines[line - 1]
    return (
        "`formula` must read like always[0:31](jsd <= 0.15). Received:\n"
        f"  {shown}\n  {' ' * (column - 1)}^"
    )


@functools.cache
def _parser():
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", maybe_placeholders=True)


@functools.cache
def _transformer():
    from lark import Transformer
    from lark import v_args

    @v_args(inline=True)
    class Builder(Transformer):
        def implication(self, left, right):
            return stl.Implies(left, right)

        def disjunction(self, *parts):
            return stl.Or(parts)

        def conjunction(self, *parts):
            return stl.And(parts)

        def negation(self, child):
            return stl.Not(child)

        def always(self, interval, child):
            return stl.Always(child, *(interval or ()))

        def eventually(self, interval, child):
            return stl.Eventually(child, *(interval or ()))

        def until(self, left, interval, right):
            return stl.Until(left, right, *(interval or ()))

        def interval(self, start, stop):
            return start, stop

        def bound(self, token):
            if token == "inf":
                return None
            value = float(token)
            return int(value) if value.is_integer() else value

        def number(self, token):
            return float(token)

        def predicate(self, name, comparison, number):
            return stl.Predicate(str(name), _wide(comparison), number)

        def mirrored(self, number, comparison, name):
            turned = {"<=": ">=", ">=": "<="}[_wide(comparison)]
            return stl.Predicate(str(name), turned, number)

    return Builder()


def _wide(comparison):
    return comparison[0] + "="
