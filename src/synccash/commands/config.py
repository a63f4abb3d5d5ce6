"""`synccash config`: shows and checks the effective settings."""

from cyclopts import App

from synccash.commands.terminal import loaded, print_json, settings

CONFIG = App(name="config", help="The effective settings.")


@CONFIG.command
def show(*, json: bool = False) -> int:
    """List every setting with its value and source. Secrets are masked."""
    shown = list(loaded().shown())
    if json:
        return print_json({name: {"value": value, "source": source} for name, value, source in shown})
    for name, value, source in shown:
        print(f"{name:<42} {value:<32} {source}")
    return 0


@CONFIG.command
def check(*, json: bool = False) -> int:
    """Check whether a process can start with these settings. Exits with 1 if not."""
    from synccash.administration.errors import AdministrationError
    from synccash.processes.api import check_settings
    from synccash.settings.loader import SettingsError

    try:
        check_settings(settings())
    except SettingsError as error:
        raise AdministrationError(str(error)) from error
    if json:
        return print_json({"ok": True})
    print("The settings are valid.")
    return 0
