"""The keys of tests that store encrypted rows."""

from synccash.settings.encryption_keys import EncryptionKeys
from synccash.stores.encryption import Encryption

KEY, OTHER_KEY, LOOKUP_KEY = bytes.fromhex("e1" * 32), bytes.fromhex("e3" * 32), bytes.fromhex("e2" * 32)
ENCRYPTION = Encryption(EncryptionKeys(1, {1: KEY}), LOOKUP_KEY)
ROTATED = Encryption(EncryptionKeys(2, {2: OTHER_KEY, 1: KEY}), LOOKUP_KEY)
"""The keys after a rotation: new values are encrypted with the key 2, and those of the key 1 can be read."""
