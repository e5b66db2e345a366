"""What one call of `submit` may spend: refused above it, and where nobody knows.

A budget is the caller's and not the run's: it is no part of its identity, a job that is there already is given back
whatever it cost, and a run that one call found too dear another may pay for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from adaptkit.adapter import Adapter, Plan, SupportsEstimate
from adaptkit.batch_cost import BatchCost
from adaptkit.data import Dataset
from adaptkit.errors import SpendError
from adaptkit.estimate import estimate
from adaptkit.prices import Prices
from adaptkit.retry import READ, attempt
from adaptkit.steps import Steps

__all__ = ["Budget"]


@dataclass(frozen=True)
class Budget:
    """How much the training of a plan may cost.

    Attributes:
        usd: US dollars at most.
        adapter: Whose host is paid.
        plan: What will be asked for.
        data: The data that it was made from.
    """

    usd: float
    adapter: Adapter[Any]
    plan: Plan[Any]
    data: Dataset

    def is_met_by_table(self) -> bool:
        """Whether the table of prices knows that it is enough; asked before anything is sent.

        Returns:
            False where the table does not know and the host may.

        Raises:
            SpendError: it is not enough, or nobody knows.
        """
        if self.plan.cost is not None:
            self._require_answers(self.plan.cost)
            return True
        known = estimate(self.plan, self.data, Prices(self.adapter.context.prices), self.adapter)
        if known.usd is not None and known.price is not None:
            self._require(known.usd, f"by {known.price.source}, {known.price.date}")
            return True
        if known.local is not None and known.local.usd is None:
            raise self._unknown("its energy depends on the time, and no run here has told that yet (--measure does)")
        if not isinstance(self.adapter, SupportsEstimate):
            raise self._unknown("and the backend has no way to ask")
        return False

    def ask_host(self, uploads: Mapping[str, str]) -> Steps[None]:
        """Have the host say that it is enough, once it has the data.

        Raises:
            SpendError: it is not enough, or the host does not know either.
            BackendError: asking failed.
        """
        if not isinstance(self.adapter, SupportsEstimate):
            raise self._unknown("and the backend has no way to ask")
        usd = yield from attempt(partial(self.adapter.estimate, self.plan, uploads), READ)
        if usd is None:
            raise self._unknown("and the host does not say")
        self._require(usd, "by the host itself")

    def _require(self, usd: float, source: str) -> None:
        if not usd <= self.usd:
            raise SpendError(
                f"training this at the {self.adapter.backend} backend costs about ${usd:,.2f} ({source}), more than "
                f"the budget of ${self.usd:,.2f}. Nothing was paid; less data, fewer epochs or a larger budget will do"
            )

    def _require_answers(self, cost: BatchCost) -> None:
        if cost.usd is None:
            raise SpendError(
                f"nobody knows what these answers cost: {cost.basis}; what is unknown is not within a budget. Nothing "
                "was sent"
            )
        if not cost.usd <= self.usd:
            raise SpendError(
                f"these answers cost up to about ${cost.usd:,.4g} ({cost.basis}), more than the budget of "
                f"${self.usd:,.4g}. Nothing was sent; fewer questions, a smaller max_tokens or a larger budget will do"
            )

    def _unknown(self, why: str) -> SpendError:
        return SpendError(
            f"nobody knows what training this at the {self.adapter.backend} backend costs: the table of prices does "
            f"not have it, {why}; what is unknown is not within a budget. Nothing was paid. A price of your own goes "
            "into the file that [prices] path names; without a budget it is submitted as it is"
        )
