"""The registration of a rail: all that the rest of the program needs to know about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from synccash.rails.connector import Connector
from synccash.rails.http.transport import Transport
from synccash.rails.pacer import Clock
from synccash.rails.sandbox_account import SandboxAccount, SandboxRail
from synccash.rails.statements import StatementLayout
from synccash.settings.loader import Settings

CountInquirers = Callable[[], int]
"""Returns how many processes inquire now: they share the rate that a rail allows."""


def _cedis(_settings: Settings) -> str:
    return "GHS"


def _no_settings(_former: Mapping[str, Any]) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredRail:
    """One rail. `synccash.rails.registry.RAILS` holds all of them.

    `name` is the id of the rail, and begins the names of its settings. `provider` is its name in prose.
    `build` returns None where the settings name no account, and raises SettingsError where the account
    cannot work. `statement`: the columns of the provider's export; `statement_currency`: what its amounts
    are in. `sandbox_account`: an account at the sandbox, with the settings that lead there.
    `settings_of_former`: settings that follow from former credentials, given as present ones.
    """

    name: str
    provider: str
    build: Callable[[Settings, Transport, Clock, CountInquirers], Connector | None]
    statement: StatementLayout
    sandbox_account: Callable[[SandboxRail], SandboxAccount]
    statement_currency: Callable[[Settings], str] = _cedis
    settings_of_former: Callable[[Mapping[str, Any]], Mapping[str, str]] = _no_settings
