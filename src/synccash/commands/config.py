"""`synccash config`: shows and checks the effective settings."""

from cyclopts import App

from synccash.commands.terminal import loaded, print_json, print_table, settings

_NO_ENCRYPTION = (
    "encryption_keys and lookup_key are not set: `serve`, `worker` and `webhooks` do not start without them, "
    "and commands with database credentials read and write nothing encrypted. `synccash up` makes its own."
)
CONFIG = App(name="config", help="The effective settings.")


@CONFIG.command
def show(*, json: bool = False) -> int:
    """List every setting with its value and source. Secrets are masked."""
    shown = list(loaded().shown())
    if json:
        return print_json({name: {"value": value, "source": source} for name, value, source in shown})
    return print_table(("setting", "value", "source"), shown, nothing="")


@CONFIG.command
def check(*, json: bool = False) -> int:
    """Check whether a process can start with these settings. Exits with 1 if not."""
    from synccash.administration.errors import AdministrationError
    from synccash.processes.assembly.checks import check_settings
    from synccash.settings.live_mode import insecure_settings
    from synccash.settings.loader import SettingsError
    from synccash.stores.encryption import encryption_of

    try:
        check_settings(settings())
        encryption = encryption_of(settings())
    except SettingsError as error:
        raise AdministrationError(str(error)) from error
    warnings = [] if encryption else [_NO_ENCRYPTION]
    warnings += [f"allowed by allow_insecure: {one.message}" for one in insecure_settings(settings())]
    if json:
        return print_json({"ok": True, "warnings": warnings})
    print("The settings are valid.")
    for warning in warnings:
        print(f"Warning: {warning}")
    return 0
