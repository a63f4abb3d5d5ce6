"""Writes docs/rails.md from the registry of rails: `python tests/docs/rails_page.py`."""

from pathlib import Path

from synccash.engine.ports import FloatRail
from synccash.engine.system import SystemClock
from synccash.payments.payer import Network
from synccash.payments.rail import CallbackAddress, Capabilities, Operation
from synccash.rails.connector import Connector
from synccash.rails.http.transport import Transport
from synccash.rails.registry import RAILS, build_rails
from synccash.rails.sandbox_account import SandboxRail
from synccash.settings.loader import convert_settings

PAGE = Path(__file__).parents[2] / "docs" / "rails.md"
_URL = "http://localhost:1"
_YES_NO = {True: "yes", False: "no"}
HEAD = """\
# Rails
Made from the registry (`rails/registry.py`) by `python tests/docs/rails_page.py`; a test compares. The rows
are in the order in which equal rails are tried. The account has all the credentials that its rail can have.

| rail | provider | networks | operations | one-time password | callback address | reports its float |
|---|---|---|---|---|---|---|
"""
CALLBACKS = """
Callbacks come to `SYNCCASH_PUBLIC_URL`, which has to be reachable from the provider. With one address per
request the service sends the address along. With one per account you choose a token, and type the address
into the provider's dashboard, for Paystack under **Settings, API Keys & Webhooks**:
```console
$ export SYNCCASH_PAYSTACK_CALLBACK_TOKEN=$(openssl rand -hex 24)
$ echo "$SYNCCASH_PUBLIC_URL/api/v1/callbacks/paystack/$SYNCCASH_PAYSTACK_CALLBACK_TOKEN"
```
Any other token is answered 200 and ignored. A lost callback costs time only: the service asks the rail by
itself.
"""
OPERATIONS = """
A reference that the rail deduplicates may be sent again after a lost answer: the rail executes it once. Where
it does not, a lost order waits for an inquiry or an operator.

| rail | operation | deduplicates references | first inquiry after | payer's prompt lasts |
|---|---|---|---|---|
"""


def page() -> str:
    """Return the page."""
    rails = connectors()
    text = HEAD + "".join(_rail_row(name, connector) for name, connector in rails.items())
    text += CALLBACKS + OPERATIONS
    return text + "".join(
        _operation_row(name, operation, connector.capabilities)
        for name, connector in rails.items()
        for operation in Operation
        if operation in connector.capabilities.operations
    )


def connectors() -> dict[str, Connector]:
    """Return each rail's connector with an account at the sandbox, but with the provider's waits."""
    sandbox_rail = SandboxRail(
        url=_URL, user="00000000-0000-4000-8000-000000000000", key="0" * 32, callbacks=_URL
    )
    settings: dict[str, str] = {}
    for rail in RAILS.values():
        settings |= rail.sandbox_account(sandbox_rail).settings
    provider_waits = {key: value for key, value in settings.items() if not key.endswith("_s")}
    return build_rails(convert_settings(provider_waits), Transport(), SystemClock())


def _rail_row(name: str, connector: Connector) -> str:
    able = connector.capabilities
    networks = ", ".join(network.value for network in Network if network in able.networks)
    operations = ", ".join(operation.value for operation in Operation if operation in able.operations)
    otp = _YES_NO[any(capability.otp for capability in able.operations.values())]
    address = able.callback_address.value.replace("_", " ")
    if able.callback_address is CallbackAddress.PER_ACCOUNT:
        address += f" (`{name}_callback_token`)"
    cells = (
        f"`{name}`",
        RAILS[name].provider,
        networks,
        operations,
        otp,
        address,
        _YES_NO[isinstance(connector, FloatRail)],
    )
    return f"| {' | '.join(cells)} |\n"


def _operation_row(name: str, operation: Operation, able: Capabilities) -> str:
    capability = able.operations[operation]
    window_s = capability.prompt_window_s
    cells = (
        f"`{name}`",
        operation.value,
        _YES_NO[capability.dedup_by_reference],
        f"{capability.inquiry_from_s:.0f} s" if capability.inquiry_from_s else "",
        "" if window_s is None else f"{window_s:.0f} s",
    )
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
