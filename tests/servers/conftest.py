import shutil
import tempfile
from pathlib import Path

import pytest


def _temporary():
    # Directly in the machine's folder for such things: the servers' user may not enter pytest's.
    folder = Path(tempfile.mkdtemp(prefix="synccash-servers-"))
    folder.chmod(0o755)
    return folder


def _remove(folder):
    for pointer in folder.rglob("elsewhere"):
        shutil.rmtree(pointer.read_text().strip())
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def folder():
    """A data folder that the tests of a module use in turn: making the databases takes longest."""
    folder = _temporary()
    yield folder
    _remove(folder)


@pytest.fixture
def new_folder():
    """A folder with nothing in it."""
    folder = _temporary()
    yield folder
    _remove(folder)
