"""`/balance`: the money that a merchant can refund and pay out."""

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency as Given
from litestar.params import QueryParameter

from synccash.api.calls import Json, answers, json
from synccash.api.ports import Balances
from synccash.api.route_scopes import BASE
from synccash.api.schemas.answers import BalanceShown
from synccash.payments.balance import BalanceAccount, balance_document
from synccash.payments.request import Tenant


@get(f"{BASE}/balance", tags=["balance"], responses=answers({200: BalanceShown}, 422))
async def get_balance(
    balances: Given[Balances],
    tenant: Given[Tenant],
    currency: Annotated[str, QueryParameter(pattern="^[A-Z]{3}$", description="ISO 4217")] = "GHS",
) -> Json:
    """Return the balance in the mode of the key. Refunds and payouts may send `available` now."""
    account = BalanceAccount(merchant_id=tenant.merchant_id, livemode=tenant.livemode, currency=currency)
    return json(balance_document(await balances.balance(account)))
