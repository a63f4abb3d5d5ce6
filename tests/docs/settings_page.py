"""Writes docs/settings.md from the settings: `python tests/docs/settings_page.py`."""

from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

from msgspec import Meta

from synccash.settings.loader import FIELDS, SECRETS
from synccash.settings.secret import Secret, SecretUrl

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
HEAD = """\
# Settings
Generated from `settings/loader.py` by `python tests/docs/settings_page.py`; a test compares them.

Each key is the variable `SYNCCASH_<KEY>`, or a key of `synccash.toml` in the working directory. A variable
wins. `[mtn_momo] base_url` in TOML is `mtn_momo_base_url`. `SYNCCASH_<KEY>_FILE` names a file that has the
value. Keys that end in `_s` are seconds; amounts are pesewas. `synccash config show` prints each value and
where it came from, with secrets masked: of a secret URL it shows the host and the database, but neither the
password nor parameters. Percent-encode reserved characters in a URL's password, such as `%2F` for `/`.
`synccash config check` validates all settings.

`profiles` changes the retries and breakers of outgoing calls, for example
`SYNCCASH_PROFILES='payment_provider.retry.attempts=4, mtn_momo.breaker.open_s=10'`: service.part.field=value,
separated by commas or lines. A service is `payment_provider` (all rails), a rail, one operation of a rail
(`mtn_momo:status`), `fraud`, `database`, `webhook` or `valkey`; the narrower one wins. The fields are those
of `Retry` ([options](toolkit/retry.md#options)) and `BreakerSettings`
([options](toolkit/circuit-breaker.md#options)), and `total_timeout`; `off` disables a rule.

| key | value | default |
|---|---|---|
"""


def page() -> str:
    return HEAD + "".join(_row(name) for name in FIELDS)


def _row(name: str) -> str:
    secret = ", secret" if name in SECRETS else ""
    default = FIELDS[name].default
    shown = "" if default is None else f"`{default}`" if default != "" else "empty"
    return f"| `{name}` | {_kind(FIELDS[name].type)}{secret} | {shown} |\n"


def _kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) is Annotated:
        base, *metas = get_args(kind)
        return f"{_kind(base)}{''.join(_range(meta) for meta in metas if isinstance(meta, Meta))}"
    if isinstance(kind, UnionType) or get_origin(kind) is not None:
        return " or ".join(_kind(part) for part in get_args(kind) if part is not type(None))
    return {
        str: "text",
        Secret: "text",
        SecretUrl: "URL",
        int: "whole number",
        float: "number",
        bool: "true or false",
    }[kind]


def _range(meta: Meta) -> str:
    parts = [(" above ", meta.gt), (" from ", meta.ge), (" to ", meta.le)]
    return "".join(f"{word}{bound:,}" for word, bound in parts if bound is not None)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
