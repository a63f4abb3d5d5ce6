"""`synccash config`: what is in force, and whether it can be used."""

from cyclopts import App

from synccash.commands.terminal import loaded, print_json, settings

CONFIG = App(name="config", help="The effective settings.")


@CONFIG.command
def show(*, json: bool = False) -> int:
    """Print every setting with its source. Secrets are masked."""
    shown = list(loaded().shown())
    if json:
        return print_json({name: {"value": value, "source": source} for name, value, source in shown})
    for name, value, source in shown:
        print(f"{name:<42} {value:<32} {source}")
    return 0


@CONFIG.command
def check(*, json: bool = False) -> int:
    """Say whether a process could start with the settings."""
    from synccash.administration.errors import AdministrationError
    from synccash.processes.api import check_settings
    from synccash.settings.loader import SettingsError

    try:
        check_settings(settings())
    except SettingsError as error:
        raise AdministrationError(str(error)) from error
    if json:
        return print_json({"ok": True})
    print("the settings are in order")
    return 0
