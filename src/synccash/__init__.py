"""SyncCash: a payment orchestrator for Ghana's mobile money, and the resilience toolkit that it stands on."""


def __getattr__(name: str) -> str:
    # Read when it is asked for: nothing else of the package needs the metadata of its distribution.
    if name == "__version__":
        from importlib.metadata import version

        return version("synccash")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
