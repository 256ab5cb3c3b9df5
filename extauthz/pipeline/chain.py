"""Lifecycle, billing and the charge, in this order, for a caller that is known."""

import asyncio
from dataclasses import replace
from typing import Final

from extauthz.gates.base import Found
from extauthz.gates.billing import BillingGate, BillingRuling
from extauthz.gates.lifecycle import LifecycleGate
from extauthz.gates.limits import Terms
from extauthz.gates.protection import ProtectionGate, ProtectionRuling
from extauthz.model.billing import BillingRecord
from extauthz.model.deadline import Deadline
from extauthz.model.decision import Denial, Gate, GateReport
from extauthz.model.lifecycle import Onboarding
from extauthz.pipeline.asks import Asks
from extauthz.pipeline.trail import Trail

CHARGE_SHARE: Final = 0.3
"""At most this part of a check's budget is kept for the charge."""

_BillingFound = Found[BillingRecord | None]
_BILLING: Final = Gate.BILLING


class GateChain:
    """Asks the gates that a request needs; the first denial wins.

    With everything cached and protection in process nothing suspends and no task is made.

    Args:
        lifecycle: the lifecycle gate.
        billing: the billing gate.
        protection: the protection gate.
        charge_timeout: the protection provider's own deadline in seconds; at most this much is kept for the charge.
    """

    def __init__(
        self, *, lifecycle: LifecycleGate, billing: BillingGate, protection: ProtectionGate, charge_timeout: float
    ) -> None:
        self.lifecycle = lifecycle
        self.billing = billing
        self.protection = protection
        self._charge_timeout = charge_timeout
        # The loop holds tasks only weakly, and a denial by lifecycle leaves billing's look-up behind.
        self._under_way: set[asyncio.Task[_BillingFound]] = set()

    @property
    def skipped(self) -> tuple[GateReport, GateReport, GateReport]:
        """The reports of gates that are not asked."""
        return self.lifecycle.control.skipped, self.billing.control.skipped, self.protection.control.skipped

    async def run(self, needs: Asks, trail: Trail, deadline: Deadline, *, commit: bool) -> Denial | None:
        """The first denial, None where every gate lets the tenant's request through. With `commit` False nothing is charged."""
        tenant_id = trail.tenant_id
        found: _BillingFound | asyncio.Task[_BillingFound] | None = None
        onboarding: Onboarding | None = None
        if needs.activity is not None and self.lifecycle.control.asked:
            state = self.lifecycle.peek(tenant_id)
            if state is None:
                sooner = self._keep_charge(needs, trail, deadline)
                found = self._look_ahead(tenant_id, needs, sooner)
                known = await self.lifecycle.ask(tenant_id, sooner)
            else:
                known = state
            ruling = self.lifecycle.judge(known, needs.activity, trail)
            denial, trail.lifecycle, trail.lifecycle_state, onboarding = ruling
            if denial is not None:
                return denial
        if not needs.billing:
            return None
        standing = await self._bill(needs, found, onboarding, trail, deadline)
        trail.billing, trail.billing_state, trail.plan = standing.report, standing.state, standing.plan
        if standing.denial is not None:
            return standing.denial
        if not (needs.protection and self.protection.control.asked):
            return None
        return await self._charge(standing, trail, deadline, commit=commit)

    def _keep_charge(self, needs: Asks, trail: Trail, deadline: Deadline) -> Deadline:
        """The deadline of the look-ups: what the charge needs is kept for it, however long they take."""
        if not (needs.protection and self.protection.control.asked):
            return deadline
        budget = deadline.at - trail.started
        return deadline.sooner(max(0.0, min(self._charge_timeout, CHARGE_SHARE * budget)))

    def _look_ahead(
        self, tenant_id: str, needs: Asks, deadline: Deadline
    ) -> _BillingFound | asyncio.Task[_BillingFound] | None:
        """Billing's part of looking both up at once, while lifecycle's is waited for."""
        billing = self.billing
        if not (needs.billing and billing.control.asked):
            return None
        plan_only = not needs.billing_denies
        known = billing.peek(tenant_id, plan_only=plan_only)
        if known is not None:
            return known
        task = asyncio.create_task(billing.ask(tenant_id, deadline, plan_only=plan_only))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _bill(
        self,
        needs: Asks,
        found: _BillingFound | asyncio.Task[_BillingFound] | None,
        onboarding: Onboarding | None,
        trail: Trail,
        deadline: Deadline,
    ) -> BillingRuling:
        """Billing's ruling, from what was looked up ahead where it was."""
        billing = self.billing
        if not billing.control.asked:
            return billing.skip(onboarding)
        if isinstance(found, asyncio.Task):
            found = await found
        elif found is None:
            plan_only = not needs.billing_denies
            found = billing.peek(trail.tenant_id, plan_only=plan_only)
            if found is None:
                sooner = self._keep_charge(needs, trail, deadline)
                found = await billing.ask(trail.tenant_id, sooner, plan_only=plan_only)
        return billing.judge(found, onboarding, trail, consulted=needs.billing_denies)

    async def _charge(
        self, standing: BillingRuling, trail: Trail, deadline: Deadline, *, commit: bool
    ) -> Denial | None:
        plan = standing.plan
        terms = Terms(
            tenant_id=trail.tenant_id,
            limits=standing.limits,
            cost=trail.route.cost,
            quota_counts=standing.quota_counts,
            quota_blocks=standing.quota_counts and self.billing.control.enforces,
            plan_id="" if plan is None else plan.plan_id,
            billing_state=standing.state,
            commit=commit,
        )
        ruling = await self.protection.judge(terms, deadline, trail)
        trail.protection, trail.warnings, trail.near = ruling.report, ruling.warnings, ruling.near
        trail.rate = ruling.rate
        _note_quota(ruling, trail)
        return ruling.denial


def _note_quota(ruling: ProtectionRuling, trail: Trail) -> None:
    """The day quota is counted with the charge, and denied, or would have been, by billing."""
    denial = ruling.denial
    if denial is not None and denial.gate is _BILLING:
        trail.billing = replace(trail.billing, verdict="deny")
    if ruling.shadow_quota is not None:
        trail.billing = replace(trail.billing, shadow=ruling.shadow_quota)
