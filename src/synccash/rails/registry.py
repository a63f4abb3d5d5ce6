"""The registry of rails, and the connectors of those that the settings name.

A rail is routed, drilled, documented, reconciled and set up at the sandbox because it is in `RAILS`.
"""

import msgspec

from synccash.rails.connector import Connector
from synccash.rails.http.transport import Transport
from synccash.rails.hubtel.registration import HUBTEL
from synccash.rails.mtn_momo.registration import MTN_MOMO
from synccash.rails.pacer import Clock, one_process
from synccash.rails.pawapay.registration import PAWAPAY
from synccash.rails.paystack.registration import PAYSTACK
from synccash.rails.registration import CountInquirers, RegisteredRail
from synccash.settings.loader import Settings, SettingsError, former_keys

RAILS: dict[str, RegisteredRail] = {rail.name: rail for rail in (MTN_MOMO, PAYSTACK, HUBTEL, PAWAPAY)}
"""Every rail by its id, in the order in which equal rails are tried."""


def build_rails(
    settings: Settings, transport: Transport, clock: Clock, inquirers: CountInquirers = one_process
) -> dict[str, Connector]:
    """Build the connectors of the rails that are configured, by id.

    Raises SettingsError that names every missing or unusable key of the rails that are set up in part.
    """
    rails: dict[str, Connector] = {}
    problems: list[str] = []
    for name, registered in RAILS.items():
        try:
            connector = registered.build(settings, transport, clock, inquirers)
        except SettingsError as error:
            problems.append(str(error))
            continue
        if connector is not None:
            rails[name] = connector
    if problems:
        raise SettingsError("\n".join(problems))
    return rails


def build_former_rails(
    settings: Settings, transport: Transport, clock: Clock, inquirers: CountInquirers = one_process
) -> dict[str, tuple[Connector, ...]]:
    """Build the connectors with former credentials, by rail. They inquire about what was sent with these.

    Settings that are not credentials are the rail's present ones. Raises SettingsError.
    """
    former: dict[str, tuple[Connector, ...]] = {}
    problems: list[str] = []
    for name, registered in RAILS.items():
        keys = former_keys(name)
        given = {key: getattr(settings, former_key) for key, former_key in keys.items()}
        if not any(given.values()):
            continue
        changes = {key: value for key, value in given.items() if value or not key.endswith("_account")}
        changes |= registered.settings_of_former(changes)
        try:
            present = msgspec.structs.replace(settings, **changes)
            connector = registered.build(present, transport, clock, inquirers)
        except SettingsError as error:
            text = str(error)
            for key, former_key in keys.items():
                text = text.replace(key, former_key)
            problems.append(text)
            continue
        if connector is not None:
            former[name] = (connector,)
    if problems:
        raise SettingsError("\n".join(problems))
    return former
