"""Signatures of bundles in minisign's format, over ``bundle.json``, which holds the digests of all other files.

The signature is ``bundle.json.minisig``. ``minisign -V -m bundle.json`` checks it too.

References: https://jedisct1.github.io/minisign/ (format of keys and signatures).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamis.compiler.bundle import MANIFEST, MEASUREMENTS, Bundle, open_bundle, write_archive
from tamis.compiler.errors import TargetUnavailableError, UsageError, VerificationError
from tamis.compiler.exporting.shipped import SIGNATURE
from tamis.compiler.manifest import Manifest
from tamis.compiler.staging import staged_file, write_error

KEY_LIMIT = 1 << 16
"""Largest key or signature file that is read, bytes."""


@dataclass(frozen=True)
class SignatureReport:
    """A signature that was made or checked.

    Args:
        key: Identifier of the key, 16 hexadecimal digits, as minisign prints it.
        comment: The trusted comment, which the signature covers.
    """

    key: str
    comment: str

    def describe(self) -> str:
        """For people."""
        return f"by key {self.key}: {self.comment}"


def create_keys(secret: Path, public: Path, password: str | None = None) -> str:
    """Write a new pair of keys, the secret one readable by its owner only.

    Args:
        secret: Where the secret key goes; must not exist.
        public: Where the public key goes; must not exist.
        password: To encrypt the secret key with; None leaves it open.

    Returns:
        The public key as one line of base64.

    Raises:
        UsageError: One of the files exists.
        OutputError, WriteError: A file cannot be written.
    """
    minisign = _minisign()
    for path in (secret, public):
        if path.exists():
            raise UsageError("already exists", where=str(path), fix="choose another path; keys are never overwritten")
    pair = minisign.KeyPair.generate()
    if password:
        pair.secret_key.encrypt(password)
    with staged_file(public) as path:
        _key_file(path, bytes(pair.public_key), 0o644)
    with staged_file(secret) as path:
        _key_file(path, bytes(pair.secret_key), 0o600)
    text: str = pair.public_key.to_base64().decode()
    return text


def _key_file(path: Path, data: bytes, mode: int) -> None:
    path.touch(mode)
    path.write_bytes(data + b"\n")


def is_encrypted(key: Path) -> bool:
    """Whether a secret key needs a password.

    Raises:
        UsageError: Not a secret key.
    """
    minisign = _minisign()
    try:
        with minisign.SecretKey.from_bytes(_read(key, "secret key")) as secret:
            return bool(secret.is_encrypted())
    except minisign.Error as error:
        raise UsageError(
            "is not a secret key", where=str(key), found=str(error), fix="give minisign's secret key"
        ) from error


def sign_bundle(path: Path, key: Path, password: str | None = None) -> SignatureReport:
    """Sign a bundle, after its digests were checked; an earlier signature is replaced.

    The same bundle and key give the same signature: there is no time in it.

    Args:
        path: A bundle: folder or zip.
        key: File of the secret key, by ``tamis keygen`` or ``minisign -G``.
        password: Of the secret key, if it is encrypted.

    Raises:
        BundleError: Not a bundle, or damaged.
        UsageError: Not a secret key, or the wrong password.
        OutputError, WriteError: The signature cannot be written.
    """
    minisign = _minisign()
    bundle = open_bundle(path)
    data = (bundle.folder / MANIFEST).read_bytes()
    _check_covered(bundle, data)
    comment = f"file:{MANIFEST}\tsha256:{hashlib.sha256(data).hexdigest()}"
    try:
        with minisign.SecretKey.from_bytes(_read(key, "secret key")) as secret:
            secret.decrypt(password or "")
            made = secret.sign(data, trusted_comment=comment, untrusted_comment="signature of a tamis bundle")
            report = SignatureReport(_identifier(made), comment)
    except minisign.Error as error:
        raise UsageError(
            "cannot sign with this key",
            where=str(key),
            found=str(error),
            fix="give minisign's secret key, and its password",
        ) from error
    _store(bundle, bytes(made) + b"\n")
    return report


def _store(bundle: Bundle, signature: bytes) -> None:
    if bundle.path == bundle.folder:
        with staged_file(bundle.folder / SIGNATURE) as path:
            path.write_bytes(signature)
        return
    try:
        (bundle.folder / SIGNATURE).write_bytes(signature)
    except OSError as error:
        raise write_error(error, bundle.path) from error
    with staged_file(bundle.path) as archive:
        write_archive(bundle.folder, archive)


def check_signature(bundle: Bundle, key: str | Path) -> SignatureReport:
    """Check the signature of a bundle whose digests were checked, as ``open_bundle`` does.

    ``measurements.json`` is not covered. Any other file that the manifest does not name is refused, since it could be
    code that is taken for a part of the bundle.

    Args:
        bundle: The bundle.
        key: File of the public key, or the key itself (56 characters that begin with ``RW``).

    Raises:
        UsageError: Not a public key.
        VerificationError: The bundle has no signature, or one of another key or of other content.
    """
    if not (bundle.folder / SIGNATURE).is_file():
        raise VerificationError(
            "the bundle is not signed", where=str(bundle.path), expected=f"a file {SIGNATURE}", fix="run 'tamis sign'"
        )
    data = (bundle.folder / MANIFEST).read_bytes()
    report = check_bytes(data, _read(bundle.folder / SIGNATURE, "signature"), key, where=str(bundle.path))
    _check_covered(bundle, data)
    return report


def check_bytes(data: bytes, signature: bytes, key: str | Path, *, where: str) -> SignatureReport:
    """Check a signature over ``data``.

    Args:
        data: What was signed.
        signature: Content of the ``.minisig`` file.
        key: As for ``check_signature``.
        where: What ``data`` is, for messages.

    Raises:
        UsageError: Not a public key.
        VerificationError: The signature is damaged, or of another key or of other data.
    """
    minisign, public = _minisign(), _public_key(key)
    try:
        found = minisign.Signature.from_bytes(signature)
        public.verify(data, found)
    except minisign.Error as error:
        raise VerificationError(
            "the signature does not hold",
            where=where,
            expected=f"a signature by key {_identifier(public)}",
            found=str(error),
            fix="do not use it; get it again from where it was signed",
        ) from error
    return SignatureReport(_identifier(found), found.trusted_comment)


def _public_key(key: str | Path) -> Any:
    minisign = _minisign()
    text = str(key)
    try:
        if text.startswith("RW") and len(text) == 56 and not Path(text).exists():
            return minisign.PublicKey.from_base64(text)
        return minisign.PublicKey.from_bytes(_read(Path(key), "public key"))
    except minisign.Error as error:
        raise UsageError(
            "is not a public key", where=text, found=str(error), fix="give minisign's public key or its file"
        ) from error


def _check_covered(bundle: Bundle, data: bytes) -> None:
    """The manifest that was read is the one that is signed, and no file lies outside of it."""
    if Manifest.model_validate_json(data) != bundle.report:
        raise VerificationError(f"{MANIFEST} changed while it was read", where=str(bundle.path), fix="try again")
    covered = {MANIFEST, MEASUREMENTS, SIGNATURE, *bundle.report.files}
    found = (p for p in bundle.folder.rglob("*") if not p.is_dir() or p.is_symlink())
    if extra := sorted({p.relative_to(bundle.folder).as_posix() for p in found} - covered):
        raise VerificationError(
            "a file is not covered by the signature",
            where=str(bundle.path),
            expected=f"files that {MANIFEST} names",
            found=", ".join(extra[:3]),
            fix="remove it",
        )


def _identifier(thing: Any) -> str:
    """The key's identifier as minisign prints it: a little-endian number."""
    raw = thing._key_id if hasattr(thing, "_key_id") else thing._keynum_pk.key_id
    return bytes(reversed(raw)).hex().upper()


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(KEY_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"the {what} cannot be read", where=str(path), found=error.strerror or str(error)) from error
    if len(data) > KEY_LIMIT:
        raise UsageError(f"is not a {what}", where=str(path), found=f"more than {KEY_LIMIT} bytes")
    return data


def _minisign() -> Any:
    try:
        import minisign
    except ImportError as error:
        raise TargetUnavailableError("py-minisign is not installed", fix="pip install 'tamis[sign]'") from error
    return minisign
