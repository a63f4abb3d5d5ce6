"""Step 2 of docs/adding-a-rail.md: the toy's connector. It collects, and nothing else."""

from dataclasses import dataclass

from rails.toy.answers import judge_send, judge_status
from synccash.payments.money import to_major
from synccash.payments.payer import Network
from synccash.payments.rail import (
    AttemptDetails,
    CallbackAddress,
    Capabilities,
    Environment,
    Operation,
    OperationCapability,
    RailAccount,
    SendAnswer,
    SendOrder,
    StatusAnswer,
)
from synccash.rails.connector import Connector
from synccash.rails.http.transport import Transport
from synccash.settings.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class ToySettings:
    base_url: str
    key: Secret


class Toy(Connector):
    def __init__(self, settings: ToySettings, transport: Transport) -> None:
        self._settings = settings
        self._transport = transport
        self._headers = {"X-Toy-Key": settings.key}
        collect = OperationCapability(dedup_by_reference=True, prompt_window_s=60.0)
        super().__init__(
            RailAccount(
                rail="toy",
                account="main",
                base_url=settings.base_url,
                target_environment="toy",
                identity="toy",
            ),
            Environment.TEST,
            Capabilities(
                networks=frozenset({Network.MTN}),
                operations={Operation.COLLECT: collect},
                callback_address=CallbackAddress.PER_REQUEST,
            ),
        )

    async def _send(self, order: SendOrder, timeout_s: float) -> SendAnswer:
        body = {
            "reference": order.reference,
            "payer": order.msisdn,
            "amount": to_major(order.amount),
            "tell": order.callback_url,
        }
        url = f"{self._settings.base_url}/collections"
        answer = await self._transport.request(
            "POST", url, headers=self._headers, json=body, timeout_s=timeout_s
        )
        return judge_send(answer)

    async def _inquire(
        self, operation: Operation, reference: str, timeout_s: float, details: AttemptDetails
    ) -> StatusAnswer:
        del operation, details  # it collects only, and finds an order by its reference
        url = f"{self._settings.base_url}/collections/{reference}"
        answer = await self._transport.request("GET", url, headers=self._headers, timeout_s=timeout_s)
        return judge_status(answer, reference)
