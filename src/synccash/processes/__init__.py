"""The processes of an installation, API and worker: the only wiring of its parts."""
