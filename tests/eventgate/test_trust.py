"""Promises of `trust`: the CAs in use while their file changes."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from sidecar.errors import SettingError
from sidecar.eventgate.trust import Trust, make_ssl_context
from tests.fakes import Authority


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return the CA in use at first."""
    return Authority(tmp_path_factory.mktemp("old"))


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return its successor."""
    return Authority(tmp_path_factory.mktemp("new"))


def trusted(trust: Trust) -> set[bytes]:
    """Return the certificates in use."""
    return set(trust.context.get_ca_certs(binary_form=True))


def certificate(authority: Authority) -> bytes:
    """Return its certificate in the form of `trusted`."""
    return ssl.PEM_cert_to_DER_cert(authority.ca_file.read_text())


def test_tls_is_version_1_2_at_least() -> None:
    """With any Python: Debian's takes what /etc/ssl/openssl.cnf allows."""
    assert make_ssl_context(None).minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a_replaced_file_is_read_again(tmp_path: Path, old: Authority, new: Authority) -> None:
    """The next connection trusts only the new CAs; an unchanged file is not read again."""
    file = tmp_path / "ca.pem"
    file.write_bytes(old.ca_file.read_bytes())
    trust = Trust(str(file))
    assert (await trust.renew(), trusted(trust)) == (False, {certificate(old)})
    file.with_suffix(".new").write_bytes(new.ca_file.read_bytes())
    file.with_suffix(".new").replace(file)
    assert (await trust.renew(), await trust.renew(), trust.problem) == (True, False, "")
    assert trusted(trust) == {certificate(new)}
    assert trust.context.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a_swapped_link_is_a_new_file(tmp_path: Path, old: Authority, new: Authority) -> None:
    """Kubernetes swaps the folder behind the file's name, which stays the same link."""
    for name, authority in (("..1", old), ("..2", new)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ca.crt").write_bytes(authority.ca_file.read_bytes())
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "ca.crt").symlink_to("..data/ca.crt")
    trust = Trust(str(tmp_path / "ca.crt"))
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert (await trust.renew(), trusted(trust)) == (True, {certificate(new)})


@pytest.mark.parametrize("broken", [b"no certificate", b"", b"-----BEGIN CERTIFICATE-----\nMIIB", None], ids=str)
async def test_a_broken_file_changes_nothing(
    tmp_path: Path, old: Authority, new: Authority, broken: bytes | None
) -> None:
    """The previous CAs stay in use; the reason stays until a file can be used."""
    file = tmp_path / "ca.pem"
    file.write_bytes(old.ca_file.read_bytes())
    trust = Trust(str(file))
    file.unlink() if broken is None else file.write_bytes(broken)
    assert (await trust.renew(), await trust.renew()) == (True, False)
    assert trust.problem.startswith(f"tls.ca_file {file} cannot be read as PEM certificates: ")
    assert trusted(trust) == {certificate(old)}
    file.write_bytes(new.ca_file.read_bytes())
    assert (await trust.renew(), trust.problem, trusted(trust)) == (True, "", {certificate(new)})


async def test_a_pipe_in_place_of_the_file_does_not_block(tmp_path: Path, old: Authority) -> None:
    """Only a regular file is read: OpenSSL would open the pipe and block."""
    file = tmp_path / "ca.pem"
    file.write_bytes(old.ca_file.read_bytes())
    trust = Trust(str(file))
    file.unlink()
    os.mkfifo(file)
    assert await trust.renew()
    assert trust.problem.endswith(": it is a pipe, and must be a regular file")


def test_an_unusable_file_is_an_error_at_the_start(tmp_path: Path) -> None:
    """Before anything is sent."""
    with pytest.raises(SettingError, match=r"^tls\.ca_file .* cannot be read"):
        Trust(str(tmp_path / "none.pem"))


async def test_the_systems_cas_are_read_once() -> None:
    """They come with the image."""
    trust = Trust(None)
    assert (await trust.renew(), trust.problem) == (False, "")
