"""Which class asks which gate: the table of spec 3.1."""

from typing import Final, NamedTuple

from extauthz.model.lifecycle import Activity
from extauthz.model.request import RouteClass


class Asks(NamedTuple):
    """What a request of one class, reading or writing, asks the gates.

    `activity` is what lifecycle must permit; None: not asked. `billing`: its provider is asked (for standing or plan);
    `billing_denies`: it has a say. `operator`: only an operator credential will do.
    """

    activity: Activity | None = None
    billing: bool = False
    billing_denies: bool = False
    protection: bool = False
    operator: bool = False


_PUBLIC = Asks()
_REFRESH = Asks(activity=Activity.TOKEN_REFRESH)
_ONBOARDING = Asks(activity=Activity.ONBOARDING)
_OPERATOR = Asks(operator=True)
_SDK = Asks(activity=Activity.SDK_EXECUTION, billing=True, billing_denies=True, protection=True)
# Reads count towards the limits of the plan, so it is looked up; billing itself denies only writes.
_READ = Asks(activity=Activity.READ, billing=True, protection=True)
_WRITE = Asks(activity=Activity.WRITE, billing=True, billing_denies=True, protection=True)

_FOR_WRITES: Final = {
    RouteClass.PUBLIC: _PUBLIC,
    RouteClass.REFRESH: _REFRESH,
    RouteClass.ONBOARDING: _ONBOARDING,
    RouteClass.OPERATOR: _OPERATOR,
    RouteClass.SDK: _SDK,
    RouteClass.STANDARD: _WRITE,
}
_FOR_READS: Final = {**_FOR_WRITES, RouteClass.STANDARD: _READ}


def asks(route_class: RouteClass, *, is_read: bool) -> Asks:
    """What a request of that class asks the gates."""
    return (_FOR_READS if is_read else _FOR_WRITES)[route_class]
