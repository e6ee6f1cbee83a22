"""Seals of entries on a remote: who does not know the secret can neither make nor change an entry unnoticed.

Blobs need none, since the entry has their digests.
"""

from __future__ import annotations

import hashlib
import hmac

from tamis.compiler.cache.entry import EntryError

MARK = b"\nseal "


def seal(text: bytes, secret: str) -> bytes:
    """``text`` with its HMAC-SHA-256 (RFC 2104) under ``secret``."""
    return text + MARK + _code(text, secret).encode()


def unseal(text: bytes, secret: str | None) -> bytes:
    """The text of an entry, its seal checked and taken off; without a secret it is only taken off.

    Raises:
        EntryError: There is a secret, and the seal is missing or was made with another one.
    """
    body, _, code = text.partition(MARK)
    if secret is not None and not hmac.compare_digest(code, _code(body, secret).encode()):
        raise EntryError("without the seal of TAMIS_CACHE_REMOTE_KEY")
    return body


def _code(text: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
