"""What Envoy's own configuration says of a route: `context_extensions` (spec section 3.1)."""

import re
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple

from extauthz.errors import ExtauthzError
from extauthz.model.billing import MAX_PER_DAY, MICROS_PER_UNIT, to_micros
from extauthz.model.request import RouteClass

CLASS_KEY: Final = "extauthz.class"
COST_KEY: Final = "extauthz.cost"

_COST: Final = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,6})?")
_CLASSES: Final = ", ".join(RouteClass)


class BadContext(ExtauthzError):
    """A `context_extensions` value is not valid. The text names the key and what is allowed."""


class Override(NamedTuple):
    """What replaces the class and the cost (micro-units) of a route; None leaves them as they are."""

    route_class: RouteClass | None
    cost: int | None


# Envoy's configuration holds few values, so that almost every request finds its own here; the bound is for a caller that
# is not Envoy.
@lru_cache(maxsize=256)
def parse_override(class_text: str | None, cost_text: str | None) -> Override:
    """The override that the two values describe; None where the key is absent.

    Raises:
        BadContext: a value is not valid.
    """
    return Override(
        None if class_text is None else _parse_class(class_text), None if cost_text is None else _parse_cost(cost_text)
    )


def _parse_class(text: str) -> RouteClass:
    try:
        return RouteClass(text)
    except ValueError:
        raise BadContext(f"{CLASS_KEY} must be one of {_CLASSES}") from None


def _parse_cost(text: str) -> int:
    micros = to_micros(Decimal(text)) if _COST.fullmatch(text) else -1
    if not 0 <= micros <= MAX_PER_DAY * MICROS_PER_UNIT:
        raise BadContext(f"{COST_KEY} must be a decimal from 0 to {MAX_PER_DAY} with at most 6 places")
    return micros
