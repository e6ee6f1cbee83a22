"""Signatures: minisign's own files are read, and nothing that was changed passes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tamis.compiler.bundle import file_record, open_bundle, write_archive
from tamis.compiler.errors import BundleError, UsageError, VerificationError
from tamis.compiler.provenance.signing import check_bytes, check_signature, create_keys, is_encrypted, sign_bundle
from tests.toy_bundle import write_bundle

MESSAGE = b"tamis\n"
PUBLIC = """untrusted comment: minisign public key 20059E0C08F6D9B3
RWSz2fYIDJ4FINczyA95IYxUjEI6fVJGuIzcmXjVm1ucr6TtslYNB56h
"""
SECRET = """untrusted comment: minisign encrypted secret key
RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAs9n2CAyeBSCDYGkbGivka9Ct9+TvsSUhn/GTJwGkJzg5\
jdK0tkTlwNczyA95IYxUjEI6fVJGuIzcmXjVm1ucr6TtslYNB56hAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
"""
SIGNED = b"""untrusted comment: signature from minisign secret key
RUSz2fYIDJ4FINbVwzOEsOaWd7gbHp3xf6isS1PJf9gw1FooHPnUTjjlPYw4FkMT/Kow9lyiw7Gg9Hn48zzQQT6FGegACLHXfwg=
trusted comment: a trusted comment
EvKDnROyiucUTqZjLf9bLiZPESJTjYG39u3xh9NQTrGsmEZDeGx1nebf9J4htEmtw6XGJlHxdhqxeqBAX46sDQ==
"""
"""Keys by ``minisign -G -W`` and a signature by ``minisign -S`` of MESSAGE, minisign 0.11."""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle beside minisign's keys."""
    (tmp_path / "m.key").write_text(SECRET)
    (tmp_path / "m.pub").write_text(PUBLIC)
    return write_bundle(tmp_path / "b")


def test_a_signature_by_minisign_is_read(bundle: Path) -> None:
    report = check_bytes(MESSAGE, SIGNED, bundle.parent / "m.pub", where="message")
    assert (report.key, report.comment) == ("20059E0C08F6D9B3", "a trusted comment")
    for data, signature in (
        (b"other\n", SIGNED),
        (MESSAGE, SIGNED.replace(b"a trusted", b"another")),
        (MESSAGE, SIGNED.replace(b"RUSz2fY", b"RUSz2fX")),
        (MESSAGE, SIGNED[:100]),
        (MESSAGE, b""),
    ):
        with pytest.raises(VerificationError, match="does not hold") as raised:
            check_bytes(data, signature, bundle.parent / "m.pub", where="message")
        assert raised.value.exit_code == 3


def test_signing_with_a_key_by_minisign(bundle: Path) -> None:
    key = bundle.parent / "m.key"
    assert not is_encrypted(key)
    made = sign_bundle(bundle, key)
    assert made.key == "20059E0C08F6D9B3"
    for public in (bundle.parent / "m.pub", PUBLIC.split("\n")[1]):
        assert check_signature(open_bundle(bundle), public) == made
    first = (bundle / "bundle.json.minisig").read_bytes()
    sign_bundle(bundle, key)
    assert (bundle / "bundle.json.minisig").read_bytes() == first


def test_a_zipped_bundle_keeps_its_signature(bundle: Path) -> None:
    archive = bundle.parent / "b.zip"
    write_archive(bundle, archive)
    made = sign_bundle(archive, bundle.parent / "m.key")
    assert check_signature(open_bundle(archive), bundle.parent / "m.pub") == made


def change_file_and_digest(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes(b"evil")
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["files"]["model.onnx"] = file_record(bundle / "model.onnx").model_dump()
    (bundle / "bundle.json").write_text(json.dumps(manifest))


def plant_code(bundle: Path) -> None:
    (bundle / "tamis_bundle.py").write_text("evil = 1")


def plant_link(bundle: Path) -> None:
    (bundle / "more").symlink_to(bundle.parent)


def remove_signature(bundle: Path) -> None:
    (bundle / "bundle.json.minisig").unlink()


def swap_signature(bundle: Path) -> None:
    (bundle / "bundle.json.minisig").write_bytes(SIGNED)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (change_file_and_digest, "does not hold"),
        (plant_code, "not covered by the signature"),
        (plant_link, "not covered by the signature"),
        (remove_signature, "is not signed"),
        (swap_signature, "does not hold"),
    ],
)
def test_attacks_are_seen(bundle: Path, attack: object, message: str) -> None:
    sign_bundle(bundle, bundle.parent / "m.key")
    assert callable(attack)
    attack(bundle)
    with pytest.raises(VerificationError, match=message):
        check_signature(open_bundle(bundle), bundle.parent / "m.pub")


def test_measurements_are_not_covered(bundle: Path) -> None:
    sign_bundle(bundle, bundle.parent / "m.key")
    (bundle / "measurements.json").unlink()
    check_signature(open_bundle(bundle), bundle.parent / "m.pub")


def test_a_damaged_bundle_is_not_signed(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes(b"evil")
    with pytest.raises(BundleError, match="changed or damaged"):
        sign_bundle(bundle, bundle.parent / "m.key")
    assert not (bundle / "bundle.json.minisig").exists()


def test_new_keys(bundle: Path) -> None:
    folder = bundle.parent
    line = create_keys(folder / "n.key", folder / "n.pub")
    assert (folder / "n.key").stat().st_mode & 0o777 == 0o600
    assert line == (folder / "n.pub").read_text().split("\n")[1]
    sign_bundle(bundle, folder / "n.key")
    check_signature(open_bundle(bundle), line)
    with pytest.raises(VerificationError, match="incompatible key"):
        check_signature(open_bundle(bundle), folder / "m.pub")
    with pytest.raises(UsageError, match="never overwritten"):
        create_keys(folder / "n.key", folder / "other.pub")


def test_what_is_no_key(bundle: Path) -> None:
    with pytest.raises(UsageError, match="is not a secret key"):
        is_encrypted(bundle.parent / "m.pub")
    with pytest.raises(UsageError, match="cannot sign"):
        sign_bundle(bundle, bundle.parent / "m.pub")
    with pytest.raises(UsageError, match="cannot be read"):
        sign_bundle(bundle, bundle)
    sign_bundle(bundle, bundle.parent / "m.key")
    with pytest.raises(UsageError, match="is not a public key"):
        check_signature(open_bundle(bundle), bundle / "model.onnx")
