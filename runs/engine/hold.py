"""How far an execution may count on its lease without a look at the database."""

from __future__ import annotations

import time

from runs import conf
from runs.engine import leases
from runs.engine.claims import Claim


class Hold:
    """A lease as its holder knows it, by a clock that goes on while the machine sleeps.

    It counts from when the claim or the renewal was asked for: the answer may have been under
    way for as long as this process was frozen, and another worker may have the run by now.
    """

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._lease = conf.lease_seconds()
        self._asked_at = claim.asked_at

    @property
    def may_be_over(self) -> bool:
        """Whether the lease has run out, as far as is known here."""
        return time.time() - self._asked_at > self._lease

    def renewed(self, asked_at: float) -> None:
        """It was extended by a renewal that was asked for then."""
        self._asked_at = asked_at

    def renew(self) -> bool:
        """Extend it now; False if the run has another owner, or none."""
        asked_at = time.time()
        if not leases.renew(self._claim.owner, [self._claim.run_id]):
            return False
        self.renewed(asked_at)
        return True
