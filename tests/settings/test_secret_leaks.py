"""One canary is the value of every secret setting; no output of ours may contain it."""

import base64
import json
import os
import pickle
import subprocess
import sys
import traceback
import uuid
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from redis.exceptions import ResponseError

from synccash.administration.api import management_api
from synccash.engine.system import SystemClock
from synccash.fraud.http import FraudService
from synccash.payments.rail import Operation
from synccash.rails.http.transport import Transport
from synccash.rails.hubtel.registration import hubtel_settings
from synccash.rails.mtn_momo.registration import mtn_momo_settings
from synccash.rails.pawapay.registration import pawapay_settings
from synccash.rails.paystack.registration import paystack_settings
from synccash.rails.registry import RAILS, build_former_rails, build_rails
from synccash.settings.allowances import ALLOWANCES
from synccash.settings.loader import SECRETS, LoadedSettings, Settings, load_settings
from synccash.stores.valkey.client import build_client
from synccash.stores.valkey.connection import ValkeyConnection

CANARY = "c0ffee5ec4e7f00d" * 4
"""Valid for every kind of secret: hexadecimal digits, 32 bytes, printable in a header and in a URL."""
URLS = {
    "database_url": f"postgresql://ledger:{CANARY}@127.0.0.1:9/synccash?connect_timeout=1",
    "migration_database_url": f"postgresql://owner:{CANARY}@127.0.0.1:9/synccash?connect_timeout=1",
    "valkey_url": f"redis://:{CANARY}@127.0.0.1:9/0",
    "traces_url": f"https://traces:{CANARY}@collector.example/v1/traces",
    "fraud_url": f"https://risk:{CANARY}@fraud.example/decisions?token={CANARY}",
}
KEYS = {"encryption_keys": f"1:{CANARY}"}
OTHERS = {
    "allow_insecure": ", ".join(ALLOWANCES),
    "mtn_momo_environment": "live",
    "mtn_momo_base_url": "http://127.0.0.1:9",
    "mtn_momo_collection_user": "collector",
    "mtn_momo_disbursement_user": "payer",
    "mtn_momo_former_collection_user": "former",
    "mtn_momo_former_disbursement_user": "former",
    "paystack_environment": "live",
    "paystack_base_url": "http://127.0.0.1:9",
    "paystack_email": "payments@example.com",
    "hubtel_environment": "live",
    "hubtel_pos_sales_id": "2017001",
    "hubtel_prepaid_deposit_id": "2017002",
    "hubtel_former_pos_sales_id": "2017003",
    "hubtel_former_prepaid_deposit_id": "2017004",
    "pawapay_environment": "live",
    "pawapay_base_url": "http://127.0.0.1:9",
}
ENVIRONMENT = {
    f"SYNCCASH_{name.upper()}": value
    for name, value in (OTHERS | dict.fromkeys(SECRETS, CANARY) | URLS | KEYS).items()
}


@pytest.fixture
def loaded() -> LoadedSettings:
    return load_settings(ENVIRONMENT)


def shows_secret(text: str) -> bool:
    """Whether a text holds the canary, plain or as a part of what is encoded with base64."""
    encoded = (base64.b64encode(CANARY[begin : begin + 48].encode()).decode() for begin in range(3))
    return CANARY in text or any(part in text for part in encoded)


def printed(value: object) -> list[str]:
    """All ways in which Python turns a value into text without being asked for its secret."""
    return [
        repr(value),
        str(value),
        f"{value}",
        f"{value!r:>200}",
        "%s %r" % (value, value),  # noqa: UP031 - the old formatting must not leak either
        ascii([value]),
        json.dumps({"value": value}, default=str),
        json.dumps({"value": value}, default=repr),
    ]


def assert_masked(value: object) -> None:
    assert [text for text in printed(value) if shows_secret(text)] == []


def with_locals(error: BaseException, trace: TracebackType | None) -> str:
    told = traceback.TracebackException(type(error), error, trace, capture_locals=True)
    return "".join(told.format())


def test_no_setting_prints_its_secret(loaded: LoadedSettings):
    assert_masked(loaded)
    assert_masked(loaded.settings)
    for name in SECRETS:
        assert_masked(getattr(loaded.settings, name))


def test_a_secret_that_code_gives_as_plain_text_is_masked_too():
    assert_masked(Settings(admin_key=CANARY, database_url=URLS["database_url"]))
    assert_masked(msgspec.structs.replace(Settings(), pawapay_token=CANARY))


def test_a_secret_is_not_serialised_by_accident(loaded: LoadedSettings):
    for value in (loaded.settings, loaded.settings.admin_key):
        with pytest.raises(TypeError):
            pickle.dumps(value)
        with pytest.raises(TypeError):
            msgspec.json.encode(value)
        with pytest.raises(TypeError):
            msgspec.to_builtins(value)


@pytest.mark.parametrize(
    "read",
    [mtn_momo_settings, paystack_settings, hubtel_settings, pawapay_settings],
    ids=lambda read: read.__name__,
)
def test_no_settings_of_a_connector_print_a_secret(loaded: LoadedSettings, read: Callable[[Settings], Any]):
    account = read(loaded.settings)
    assert is_dataclass(account)
    assert_masked(account)
    assert_masked(asdict(account))  # type: ignore[arg-type]


def holders(settings: Settings) -> dict[str, object]:
    """Everything that keeps a secret as long as a process runs."""
    transport, clock = Transport(), SystemClock()
    assert settings.fraud_url is not None
    assert settings.valkey_url is not None
    return {
        **build_rails(settings, transport, clock),
        **{
            f"former_{name}": former
            for name, former in build_former_rails(settings, transport, clock).items()
        },
        "fraud": FraudService(settings.fraud_url, transport, 1.0, settings.fraud_key),
        "management": management_api(settings, "http://127.0.0.1:9"),
        "valkey": build_client(settings.valkey_url),
        "limits": ValkeyConnection(settings.valkey_url),
    }


def test_no_client_and_no_connector_prints_a_secret(loaded: LoadedSettings):
    found = holders(loaded.settings)
    assert {*RAILS, *(f"former_{rail}" for rail in RAILS)} <= found.keys()
    for holder in found.values():
        assert_masked(holder)


@pytest.mark.parametrize("rail", RAILS)
async def test_a_request_that_breaks_in_our_code_shows_no_secret(loaded: LoadedSettings, rail: str):
    class Broken(Transport):
        async def request(self, *given: Any, headers: Any, **named: Any) -> Any:
            raise RuntimeError("a defect of ours")

    connector = build_rails(loaded.settings, Broken(), SystemClock())[rail]
    with pytest.raises(RuntimeError) as raised:
        await connector.inquire(connector.account, Operation.COLLECT, str(uuid.uuid4()), timeout_s=1.0)
    told = with_locals(raised.value, raised.tb)
    assert "Authorization" in told
    assert not shows_secret(told)


async def test_a_password_that_valkey_refuses_is_not_in_the_traceback(valkey_url: str):
    password = urlsplit(valkey_url).password
    assert password is not None
    connection = ValkeyConnection(valkey_url.replace(password, CANARY), deadline_s=5.0)
    with pytest.raises(ResponseError, match="WRONGPASS") as raised:
        await connection.call("PING")
    assert not shows_secret(with_locals(raised.value, raised.tb))


def test_a_traceback_with_local_variables_shows_no_secret(loaded: LoadedSettings):
    def fail(settings: Settings, **holder: object) -> None:
        values = {name: getattr(settings, name) for name in SECRETS}
        raise RuntimeError(f"{sorted(values)} {holder.keys()}")

    try:
        fail(loaded.settings, **holders(loaded.settings))
    except RuntimeError as error:
        told = with_locals(error, error.__traceback__)
    assert "values = " in told
    assert not shows_secret(told)


def synccash(folder: Path, *arguments: str, program: str | None = None, **changes: str) -> tuple[int, str]:
    """Run a command with every secret set: its exit code and all that it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SYNCCASH_")}
    done = subprocess.run(
        [sys.executable, *(("-c", program) if program else ("-m", "synccash.cli")), *arguments],
        env=environment | ENVIRONMENT | changes,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


LOGS = """
import os, structlog, logging
from synccash.observability.logs import configure_logging
from synccash.settings.loader import load_settings

loaded = load_settings(os.environ)
configure_logging("info")
log = structlog.get_logger("canary")
log.warning("settings_read", settings=loaded.settings, sources=loaded, key=loaded.settings.admin_key)
log.warning("urls_read", urls=[loaded.settings.database_url], named={"url": loaded.settings.valkey_url})
logging.getLogger("library").warning("%s %r", loaded.settings, loaded.settings.pawapay_token)
try:
    raise ValueError(loaded.settings.hubtel_client_secret, loaded.settings)
except ValueError:
    log.exception("start_failed")
raise ValueError(loaded.settings)
"""


def test_no_log_line_shows_a_secret(tmp_path: Path):
    code, told = synccash(tmp_path, program=LOGS)
    assert (code, shows_secret(told)) == (1, False)
    for event in ("settings_read", "urls_read", "start_failed", "Secret('***')", "library"):
        assert event in told


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_config_show_masks_every_secret_and_still_says_where_the_database_is(
    tmp_path: Path, as_json: tuple[str, ...]
):
    code, told = synccash(tmp_path, "config", "show", *as_json)
    assert (code, shows_secret(told)) == (0, False)
    assert "postgresql://ledger:***@127.0.0.1:9/synccash" in told
    if as_json:
        shown = json.loads(told)
        assert {name for name in SECRETS if "***" not in shown[name]["value"]} == set()


BAD = {
    "SYNCCASH_INSTALLATION_KEY": f"{CANARY}g",
    "SYNCCASH_ENCRYPTION_KEYS": f"1:{CANARY}g",
    "SYNCCASH_LOOKUP_KEY": f"{CANARY}g",
    "SYNCCASH_PAYSTACK_SECRET_KEY": f"{CANARY} ",
    "SYNCCASH_PAYSTACK_CALLBACK_TOKEN": f"{CANARY}!",
    "SYNCCASH_HUBTEL_CLIENT_ID": f"{CANARY}:",
    "SYNCCASH_PAWAPAY_TOKEN": f"{CANARY}\n",
    "SYNCCASH_MTN_MOMO_COLLECTION_KEY": f"{CANARY} x",
    "SYNCCASH_DATABASE_URL": f"postgresql://ledger:{CANARY}/x@127.0.0.1/synccash",
    "SYNCCASH_VALKEY_URL": f"redis://:{CANARY}#@127.0.0.1/0",
    "SYNCCASH_FRAUD_URL": f"ftp://risk:{CANARY}@fraud.example",
    "SYNCCASH_ADMIN_KEYS": CANARY,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [("config", "check"), ("serve",), ("worker",), ("migrate",)], ids=" ".join
)
@pytest.mark.parametrize("variable", BAD)
def test_a_process_that_cannot_start_names_the_setting_and_not_its_value(
    tmp_path: Path, command: tuple[str, ...], variable: str
):
    setting = variable.removeprefix("SYNCCASH_").lower()
    code, told = synccash(tmp_path, *command, **{variable: BAD[variable]})
    assert not shows_secret(told)
    assert "Traceback" not in told
    assert (code, setting in told or command == ("migrate",)) == (1, True)
