"""The manifest beside a backup: what is in the file, its checksum, and which keys it needs."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import msgspec

from synccash.administration.errors import AdministrationError
from synccash.payments.references import ReferenceKey
from synccash.settings.encryption_keys import EncryptionKeys
from synccash.settings.loader import Settings

_READ_BYTES = 1 << 20


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest of one backup. `installation_key` and `encryption_keys` are ids, no keys."""

    format: int = 1
    created_at: datetime
    bytes: int
    sha256: str
    encrypted: bool
    synccash: str
    postgresql: str
    schema: str
    installation_key: str | None
    encryption_keys: list[int]


class Checksum:
    """Counts and hashes the bytes that pass through."""

    def __init__(self) -> None:
        self.bytes = 0
        self._hash = sha256()

    def through(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the parts unchanged."""
        for part in parts:
            self.bytes += len(part)
            self._hash.update(part)
            yield part

    @property
    def sha256(self) -> str:
        """The digest of what has passed so far."""
        return self._hash.hexdigest()


def manifest_path(file: Path) -> Path:
    """Return where the manifest of a backup is."""
    return file.with_name(f"{file.name}.manifest.json")


def write_manifest(file: Path, manifest: Manifest) -> None:
    """Write the manifest beside its backup."""
    encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    manifest_path(file).write_bytes(encoded + b"\n")


def read_manifest(file: Path) -> Manifest:
    """Read the manifest of a backup. Raises AdministrationError."""
    path = manifest_path(file)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise AdministrationError(
            f"{path}: {error.strerror}. The manifest is written beside each backup; copy both files"
        ) from error
    except msgspec.MsgspecError as error:
        raise AdministrationError(f"{path} is no manifest of a backup: {error}") from error


def check_file(file: Path, manifest: Manifest) -> None:
    """Raise AdministrationError unless the file is the one that the manifest describes."""
    checksum = Checksum()
    for _ in checksum.through(file_parts(file)):
        pass
    if (checksum.bytes, checksum.sha256) != (manifest.bytes, manifest.sha256):
        raise AdministrationError(
            f"{file} is not as it was written: {checksum.bytes} bytes with SHA-256 {checksum.sha256}, "
            f"expected {manifest.bytes} bytes with {manifest.sha256}. Copy it again, or take another backup"
        )


def file_parts(file: Path) -> Iterator[bytes]:
    """Yield the file in parts. Raises AdministrationError."""
    try:
        with file.open("rb") as opened:
            while part := opened.read(_READ_BYTES):
                yield part
    except OSError as error:
        raise AdministrationError(f"{file}: {error.strerror}") from error


def missing_keys(manifest: Manifest, settings: Settings) -> list[str]:
    """Return what the settings lack to read the restored rows and to find what was sent."""
    found: list[str] = []
    keys = settings.encryption_keys
    given = frozenset(EncryptionKeys.of(keys.reveal()).by_id) if keys else frozenset[int]()
    if lacking := [str(number) for number in manifest.encryption_keys if number not in given]:
        found.append(f"encryption_keys has no key with the id {', '.join(lacking)}, which the backup needs")
    ours = ReferenceKey.of(settings.installation_key.reveal()).id if settings.installation_key else None
    if manifest.installation_key not in (None, ours):
        found.append(
            f"installation_key is not the one of the backup ({manifest.installation_key}): what was sent "
            "cannot be found at the rails"
        )
    return found
