"""Ed25519 signatures of adapters, and the publishers that the user trusts.

signature.json in an adapter's folder: {"publisher": name, "public_key": base64 of the key's 32 bytes,
"signature": base64 of 64 bytes}. The signed message is UTF-8 text of three lines, each ended by a newline:
"edge-app adapter signature 1", the publisher's name, and the sha256 (hex) of adapter.toml, which in turn holds
the sha256 of every other file. The package cryptography makes keys and checks signatures.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.store.manifest import ALLOWED_FILES, MANIFEST_FILE, SIGNATURE_FILE
from models.core.errors import FileError, UserError
from models.core.files import write_document

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PUBLIC_SUFFIX = ".pub"
_HEADER = "edge-app adapter signature 1"
_MOST_NAME = 100
_MOST_TRUSTED = 2**20  # bytes of the file of publishers


@dataclass(frozen=True)
class Signer:
    """The signer of an adapter.

    publisher: the name in the signature, which anyone can choose. fingerprint: sha256 (hex) of the public key, which
    identifies the signer.
    """

    publisher: str
    fingerprint: str


class Publishers:
    """The trusted publishers: a JSON file of key fingerprints by name."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def all(self) -> Mapping[str, str]:
        """Fingerprints by name, sorted. Raises UserError when the file is damaged."""
        try:
            with self._file.open("rb") as file:
                content = json.loads(file.read(_MOST_TRUSTED))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UserError(f"{self._file} cannot be read ({error.strerror}).") from None
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict) or not all(_is_fingerprint(value) for value in content.values()):
            raise UserError(f"{self._file} is damaged; remove it and trust your publishers again.")
        return dict(sorted(content.items()))

    def name_of(self, fingerprint: str) -> str | None:
        """The user's name for the publisher with this key, or None when it is not trusted."""
        return next((name for name, known in self.all().items() if known == fingerprint), None)

    def add(self, name: str, key: str) -> str:
        """Trust a publisher. Returns the key's fingerprint. key: see fingerprint_of. Raises UserError."""
        _check_publisher(name)
        publishers, fingerprint = dict(self.all()), fingerprint_of(key)
        if publishers.get(name, fingerprint) != fingerprint:
            raise UserError(
                f"{name!r} is trusted with another key ({publishers[name]}); remove that first, or use another name."
            )
        if (known := self.name_of(fingerprint)) not in (None, name):
            raise UserError(f"This key is trusted already, as {known!r}.")
        self._write({**publishers, name: fingerprint})
        return fingerprint

    def remove(self, name: str) -> None:
        """Remove a trusted publisher. Raises UserError when none has that name."""
        publishers = dict(self.all())
        if publishers.pop(name, None) is None:
            raise UserError(f"No trusted publisher is called {name!r}; see `edge-app adapters trust list`.")
        self._write(publishers)

    def _write(self, publishers: Mapping[str, str]) -> None:
        """Replace the file. Raises UserError when the disk refuses."""
        write_document(self._file, json.dumps(publishers, indent=1, ensure_ascii=False).encode())


def read_signer(folder: Path) -> Signer | None:
    """The signer of the adapter in a folder; None when it has no signature.

    Raises UserError when the signature is damaged or does not fit the adapter, which must then not be used.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    path = folder / SIGNATURE_FILE
    try:
        with path.open("rb") as file:
            data = file.read(ALLOWED_FILES[SIGNATURE_FILE] + 1)
        content = json.loads(data)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        content = None
    match content:
        case {"publisher": str(publisher), "public_key": str(key_text), "signature": str(signature_text)}:
            if problem := _problem_of_publisher(publisher):
                raise FileError(path, f": publisher {problem}")
            key = _decoded(key_text, 32)
            signature = _decoded(signature_text, 64)
        case _:
            key = signature = None
    if not isinstance(content, dict) or key is None or signature is None or len(content) != 3:
        raise FileError(path, " is not a signature of this app; the adapter is refused.")
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _message(folder, publisher))
    except (InvalidSignature, ValueError):
        raise FileError(
            folder / MANIFEST_FILE,
            ": it was changed after signing; the adapter is refused.",
            before=f"The signature of {publisher!r} does not fit ",
        ) from None
    return Signer(publisher, _fingerprint(key))


def write_signature(folder: Path, publisher: str, private_key: Path) -> Signer:
    """Sign the adapter.toml in a folder. Raises UserError when the key cannot be used."""
    _check_publisher(publisher)
    private = _read_private(private_key)
    public = private.public_key().public_bytes_raw()
    content = {
        "publisher": publisher,
        "public_key": base64.b64encode(public).decode(),
        "signature": base64.b64encode(private.sign(_message(folder, publisher))).decode(),
    }
    (folder / SIGNATURE_FILE).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    return Signer(publisher, _fingerprint(public))


def make_key(file: Path) -> str:
    """Write a new private key (PEM, PKCS8, readable for its owner alone) and, beside it, the public key in base64
    as FILE.pub. Returns the fingerprint. Raises UserError when either file exists."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    public_file = file.with_name(file.name + PUBLIC_SUFFIX)
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        for path, data, mode in (
            (file, pem, 0o600),
            (public_file, base64.b64encode(public) + b"\n", 0o644),
        ):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
    except FileExistsError as error:
        raise UserError(f"{error.filename} exists already; a key is never overwritten.") from None
    except OSError as error:
        raise UserError(f"{error.filename} cannot be written ({error.strerror}).") from None
    return _fingerprint(public)


def fingerprint_of(key: str) -> str:
    """The fingerprint of a public key: sha256 (hex) of its 32 bytes.

    key: the fingerprint, the key in base64, or the path of a file that holds either. Raises UserError otherwise.
    """
    text = key.strip()
    path = Path(key).expanduser()
    if _key_text(text) is None and path.is_file():
        try:
            text = path.read_bytes()[:1024].decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            text = ""
    found = _key_text(text)
    if found is None:
        raise UserError(
            f"{key!r} is neither a public key in base64, nor a fingerprint of 64 hexadecimal digits, nor a file "
            "with one of them."
        )
    return found


def _key_text(text: str) -> str | None:
    if _is_fingerprint(text.lower()):
        return text.lower()
    key = _decoded(text, 32)
    return _fingerprint(key) if key is not None else None


def _message(folder: Path, publisher: str) -> bytes:
    digest = hashlib.sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest()
    return f"{_HEADER}\n{publisher}\n{digest}\n".encode()


def _fingerprint(public_key: bytes) -> str:
    return hashlib.sha256(public_key).hexdigest()


def _is_fingerprint(text: object) -> bool:
    return isinstance(text, str) and len(text) == 64 and all(char in "0123456789abcdef" for char in text)


def _decoded(text: str, size: int) -> bytes | None:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if len(data) == size else None


def _check_publisher(name: str) -> None:
    if problem := _problem_of_publisher(name):
        raise UserError(f"The publisher's name {problem}")


def _problem_of_publisher(name: str) -> str:
    """The end of an error message about a publisher's name; empty when the name is valid."""
    if name.strip() and len(name) <= _MOST_NAME and name.isprintable():
        return ""
    return f"is {name[:40]!r}; it must be up to {_MOST_NAME} characters on one line."


def _read_private(file: Path) -> Ed25519PrivateKey:
    """The private key in a PEM file. Raises UserError when it is not an Ed25519 key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}).") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it has a password
        raise UserError(
            f"{file} is not a private key in PEM without a password; choose another file."
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(
            f"{file} is not an Ed25519 key; make one with `edge-app adapters trust new-key FILE`."
        )
    return key
