"""Signed versions: made by a configured key, or refused."""

import builtins
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.artifact import ArtifactError, ArtifactFault, load_artifact
from models.artifact.registry import Registry, RegistryError, load_configured
from models.artifact.signature import (
    MAX_KEYS,
    SIGNATURE_BYTES,
    KeyFileError,
    PublicKeys,
    SigningKey,
    make_keys,
)
from models.settings import ModelSettings

Make = Callable[..., Path]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key; its public key is the file of the same name with ``.pub``."""
    path = tmp_path / "key.pem"
    make_keys(path)
    return path


def signing(tmp_path: Path, key: Path | None, public: Path | None = None) -> Registry:
    """A registry in ``tmp_path`` that signs with ``key`` and requires one of ``public``."""
    model = ModelSettings(
        registry=str(tmp_path / "registry"),
        signing_key=str(key or ""),
        public_key=str(public or ""),
    )
    return Registry.of(model, signing=True)


def public(key: Path) -> Path:
    return key.with_name(f"{key.name}.pub")


def refusal(registry: Registry, version: str = "v1") -> ArtifactFault:
    url = f"{registry.url}/{version}"
    with pytest.raises(ArtifactError) as caught:
        registry.fetch(url, registry.manifest_sha256(url))
    return caught.value.code


def test_a_signed_version_is_loaded(make_artifact: Make, tmp_path: Path, key: Path) -> None:
    """What a registry with a key publishes has the key's signature."""
    url = signing(tmp_path, key).publish(make_artifact(), "v1")
    registry = signing(tmp_path, None, public(key))
    assert registry.fetch(url, registry.manifest_sha256(url)).manifest.version == "v1"
    assert (Path(url) / "manifest.sig").stat().st_size == SIGNATURE_BYTES
    assert registry.signed("v1") is True
    assert signing(tmp_path, key).signed("v1") is None
    assert Registry(registry.url).fetch(url, registry.manifest_sha256(url)) is not None


def test_an_unsigned_version_is_refused(make_artifact: Make, tmp_path: Path, key: Path) -> None:
    """Under its own code, until it is signed."""
    Registry(tmp_path / "registry").publish(make_artifact(), "v1")
    registry = signing(tmp_path, None, public(key))
    assert refusal(registry) is ArtifactFault.UNSIGNED
    assert ArtifactFault.UNSIGNED.is_transient
    assert registry.signed("v1") is False
    assert signing(tmp_path, key).sign("v1") == SigningKey.load(key).fingerprint
    assert registry.fetch_version("v1").manifest.version == "v1"


def test_publishing_again_signs_what_was_not_signed(
    make_artifact: Make, tmp_path: Path, key: Path
) -> None:
    """As after the key has been configured."""
    folder = make_artifact()
    Registry(tmp_path / "registry").publish(folder, "v1")
    signing(tmp_path, key, public(key)).publish(folder, "v1")
    assert signing(tmp_path, None, public(key)).signed("v1") is True


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, bytes]:
    """A private key, 1,000 bytes, and their signature."""
    path = tmp_path_factory.mktemp("keys") / "key.pem"
    make_keys(path)
    return path, bytes(1_000), SigningKey.load(path).sign(bytes(1_000))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bit=st.integers(0, SIGNATURE_BYTES * 8 - 1))
def test_a_signature_with_a_flipped_bit_is_refused(
    signed: tuple[Path, bytes, bytes], bit: int
) -> None:
    """Whichever bit it is, of the signature or of what was signed."""
    path, content, signature = signed
    (key,) = PublicKeys.load(public(path)).keys
    assert PublicKeys._made(key, signature, content)
    for original, other in ((signature, content), (content, signature)):
        flipped = bytearray(original)
        flipped[bit // 8] ^= 1 << bit % 8
        pair = (bytes(flipped), other) if original is signature else (other, bytes(flipped))
        assert not PublicKeys._made(key, *pair)


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"x" * 63, b"x" * 65, b"x" * 5_000_000])
def test_anything_else_is_a_bad_signature(
    make_artifact: Make, tmp_path: Path, key: Path, content: bytes
) -> None:
    """Of any length; a file that is too long is not read."""
    url = signing(tmp_path, key).publish(make_artifact(), "v1")
    (Path(url) / "manifest.sig").write_bytes(content)
    assert refusal(signing(tmp_path, None, public(key))) is ArtifactFault.BAD_SIGNATURE


def test_a_changed_manifest_is_refused(make_artifact: Make, tmp_path: Path, key: Path) -> None:
    """Also where its hash is announced: a writer of registry and topic does not have the key."""
    url = signing(tmp_path, key).publish(make_artifact(), "v1")
    other = signing(tmp_path / "other", key).publish(make_artifact("two", seed=5), "v1")
    shutil.copy(Path(other) / "manifest.sig", Path(url) / "manifest.sig")
    assert refusal(signing(tmp_path, None, public(key))) is ArtifactFault.BAD_SIGNATURE


def test_another_key_is_refused(make_artifact: Make, tmp_path: Path, key: Path) -> None:
    """And accepted once it is one of the configured keys, as when keys are changed."""
    make_keys(tmp_path / "new")
    signing(tmp_path, tmp_path / "new").publish(make_artifact(), "v1")
    assert refusal(signing(tmp_path, None, public(key))) is ArtifactFault.BAD_SIGNATURE
    both = tmp_path / "both.pub"
    both.write_bytes(public(key).read_bytes() + public(tmp_path / "new").read_bytes())
    assert signing(tmp_path, None, both).signed("v1") is True


def test_a_link_or_a_pipe_is_no_signature(make_artifact: Make, tmp_path: Path, key: Path) -> None:
    """A link out of the registry is not followed, and nothing waits for a pipe's writer."""
    url = Path(signing(tmp_path, key).publish(make_artifact(), "v1"))
    (url / "manifest.sig").rename(tmp_path / "sig")
    (url / "manifest.sig").symlink_to(tmp_path / "sig")
    assert refusal(signing(tmp_path, None, public(key))) is ArtifactFault.NOT_A_FILE
    (url / "manifest.sig").unlink()
    os.mkfifo(url / "manifest.sig")
    assert refusal(signing(tmp_path, None, public(key))) is ArtifactFault.NOT_A_FILE


def test_the_configured_artifact_needs_a_signature_unless_it_ships(
    make_artifact: Make, tmp_path: Path, key: Path
) -> None:
    """What is in Weir's own package is trusted like its code."""
    registry = signing(tmp_path, None, public(key))
    assert registry.fetch_configured("pretrained:openrtb").manifest.version
    with pytest.raises(ArtifactError, match="unsigned"):
        registry.fetch_configured(str(make_artifact()))
    model = ModelSettings(artifact="pretrained:openrtb", public_key=str(public(key)))
    assert load_configured(model).tasks
    with pytest.raises(ArtifactError, match="unsigned"):
        load_configured(model.model_copy(update={"artifact": str(make_artifact())}))


def test_a_key_that_workers_do_not_accept_publishes_nothing(tmp_path: Path, key: Path) -> None:
    """The mistake is found before the first version that no worker would load."""
    make_keys(tmp_path / "new")
    with pytest.raises(KeyFileError, match=r"does not have the public key of .*new"):
        signing(tmp_path, tmp_path / "new", public(key))


def test_nothing_is_signed_without_a_key(make_artifact: Make, tmp_path: Path) -> None:
    """The error names the setting and the command."""
    registry = Registry(tmp_path / "registry")
    registry.publish(make_artifact(), "v1")
    with pytest.raises(RegistryError, match=r"model\.signing_key is not set.*keygen"):
        registry.sign("v1")


@pytest.mark.parametrize("mode", [0o644, 0o606, 0o660, 0o601, 0o777])
def test_a_private_key_that_others_can_read_is_refused(key: Path, mode: int) -> None:
    """The error says how to mend it."""
    key.chmod(mode)
    with pytest.raises(KeyFileError, match=f"chmod 600 {key}"):
        SigningKey.load(key)


def test_keys_of_other_users_are_refused(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They can be replaced by them; root's may be read by a group."""
    owner = key.stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    if owner != 0:
        with pytest.raises(KeyFileError, match="another user"):
            SigningKey.load(key)
    else:
        key.chmod(0o640)
        assert SigningKey.load(key).fingerprint


def test_files_that_are_no_keys(tmp_path: Path, key: Path) -> None:
    """Each error names the setting and the file, and none shows what is in it."""
    secret = tmp_path / "secret"
    begin, end = b"-----BEGIN PUBLIC KEY-----", b"-----END PUBLIC KEY-----"
    rsa = begin + b"\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAL\n" + end
    many = public(key).read_bytes() * (MAX_KEYS + 1)
    for content in (b"", b"hunter2", key.read_bytes()[:60], rsa, b"\0" * 50_000, many):
        secret.write_bytes(content)
        secret.chmod(0o600)
        for load, setting in ((SigningKey.load, "signing_key"), (PublicKeys.load, "public_key")):
            with pytest.raises(KeyFileError, match=rf"model\.{setting}: {secret}") as caught:
                load(secret)
            assert "hunter2" not in str(caught.value)
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(KeyFileError, match=re.escape(str(path))):
            PublicKeys.load(path)


def test_keys_are_never_overwritten(tmp_path: Path, key: Path) -> None:
    """Neither of the two, and a new private key is readable by its owner alone."""
    before = key.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyFileError, match="exists already"):
        make_keys(key)
    assert key.read_bytes() == before
    with pytest.raises(KeyFileError, match="name another file"):
        make_keys(tmp_path / "absent" / "key")


def test_without_the_library_the_error_names_the_extra(
    key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever configures keys needs it; nobody else does."""
    real = builtins.__import__

    def absent(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "cryptography":
            raise ModuleNotFoundError("No module named 'cryptography'", name="cryptography")
        return real(name, *arguments, **options)

    monkeypatch.setattr("builtins.__import__", absent)
    with pytest.raises(KeyFileError, match=r"pip install 'weir\[sign\]'"):
        SigningKey.load(key)
    with pytest.raises(KeyFileError, match=r"pip install 'weir\[sign\]'"):
        PublicKeys.load(public(key))
    with pytest.raises(KeyFileError, match=r"pip install 'weir\[sign\]'"):
        make_keys(key.with_name("other"))
    assert load_artifact("pretrained:openrtb").manifest.version


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_checks_the_same_signature(make_artifact: Make, tmp_path: Path, key: Path) -> None:
    """Files of keys and signatures are in common forms."""
    url = signing(tmp_path, key).publish(make_artifact(), "v1")
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", str(public(key))]
    files = ["-in", f"{url}/manifest.json", "-sigfile", f"{url}/manifest.sig"]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
