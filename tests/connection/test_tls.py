"""Encrypted connections, API keys, and what somebody reads whose certificates do not fit."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import trustme

from durable_anyio.client import Client, TLSConfig
from durable_anyio.exceptions import RPCError, RPCStatusCode

from .service import FakeService
from .test_connect import list_namespaces, refused

pytestmark = pytest.mark.anyio

KEY = "a-key-that-nobody-may-see"


class Authority:
    """Somebody who signs, for one test run."""

    def __init__(self) -> None:
        self._authority = trustme.CA()
        self.root = self._authority.cert_pem.bytes()

    def of_server(self, name: str, *, wants_client: Authority | None = None) -> grpc.ServerCredentials:
        issued = self._authority.issue_cert(name)
        chain = b"".join(one.bytes() for one in issued.cert_chain_pems)
        return grpc.ssl_server_credentials(
            [(issued.private_key_pem.bytes(), chain)], wants_client and wants_client.root, wants_client is not None
        )

    def of_client(self) -> dict[str, Any]:
        issued = self._authority.issue_cert("client.example")
        return {"client_cert": issued.cert_chain_pems[0].bytes(), "client_private_key": issued.private_key_pem.bytes()}


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def encrypted(authority: Authority) -> Iterator[FakeService]:
    with FakeService(authority.of_server("127.0.0.1")) as service:
        yield service


async def test_an_authority_of_ones_own(authority: Authority, encrypted: FakeService) -> None:
    async with Client.connect(encrypted.target, tls=TLSConfig(server_root_ca_cert=authority.root)) as client:
        assert (await list_namespaces(client)).next_page_token == b"more"


async def test_an_authority_that_is_not_trusted(encrypted: FakeService) -> None:
    for tls in (True, TLSConfig(server_root_ca_cert=Authority().root)):
        error = await refused(encrypted.target, tls=tls)
        assert error.status is RPCStatusCode.UNAVAILABLE
        assert encrypted.target in error.message
        assert "the TLS handshake failed: invalid peer certificate" in error.message
        assert "server_root_ca_cert" in error.message


async def test_a_certificate_for_another_name(authority: Authority) -> None:
    with FakeService(authority.of_server("temporal.example")) as service:
        error = await refused(service.target, tls=TLSConfig(server_root_ca_cert=authority.root))
        assert "the server's certificate is for another name" in error.message
        tls = TLSConfig(server_root_ca_cert=authority.root, domain="temporal.example")
        async with Client.connect(service.target, tls=tls) as client:
            await list_namespaces(client)


async def test_a_client_certificate(authority: Authority) -> None:
    clients = Authority()
    with FakeService(authority.of_server("127.0.0.1", wants_client=clients)) as service:
        tls = TLSConfig(server_root_ca_cert=authority.root, **clients.of_client())
        async with Client.connect(service.target, tls=tls) as client:
            await list_namespaces(client)
        others: list[dict[str, Any]] = [{}, Authority().of_client()]
        for other in others:
            error = await refused(service.target, tls=TLSConfig(server_root_ca_cert=authority.root, **other))
            assert "client certificate" in error.message or "client's certificate" in error.message, error.message


async def test_one_side_speaks_plain_text(authority: Authority, encrypted: FakeService) -> None:
    error = await refused(encrypted.target)
    assert "tls=True" in error.message, error.message
    with FakeService() as plain:
        error = await refused(plain.target, tls=TLSConfig(server_root_ca_cert=authority.root))
        assert "tls=False" in error.message, error.message


async def test_an_api_key_is_sent_encrypted_and_shown_nowhere(
    authority: Authority, encrypted: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Client.connect(encrypted.target, api_key=KEY, tls=TLSConfig(server_root_ca_cert=authority.root)) as client:
        assert all(call.metadata["authorization"] == f"Bearer {KEY}" for call in encrypted.calls)
        client.api_key = "another"
        await list_namespaces(client)
        assert encrypted.calls[-1].metadata["authorization"] == "Bearer another"
        client.api_key = None
        client.rpc_metadata = {"x-team": "shop"}
        await list_namespaces(client)
        assert "authorization" not in encrypted.calls[-1].metadata
        assert encrypted.calls[-1].metadata["x-team"] == "shop"
        assert KEY not in repr(client) + repr(client.__dict__) + caplog.text


async def test_an_api_key_alone_wants_an_encrypted_connection() -> None:
    with FakeService() as plain:
        error = await refused(plain.target, api_key=KEY)
        assert KEY not in error.message
        assert plain.calls == []
        async with Client.connect(plain.target, api_key=KEY, tls=False) as client:  # said on purpose
            assert plain.calls[-1].metadata["authorization"] == f"Bearer {KEY}"
            client.api_key = "another"


async def test_an_api_key_does_not_come_later_onto_a_plain_connection() -> None:
    with FakeService() as plain:
        async with Client.connect(plain.target) as client:
            client.api_key = None
            with pytest.raises(ValueError, match="not sent over a plain-text connection"):
                client.api_key = KEY
            await list_namespaces(client)
            assert "authorization" not in plain.calls[-1].metadata


async def test_headers_change_for_later_calls_and_bad_ones_change_nothing() -> None:
    with FakeService() as service:
        async with Client.connect(service.target, rpc_metadata={"x-team": "shop"}) as client:
            client.rpc_metadata = {"x-user": "me"}
            await list_namespaces(client)
            with pytest.raises(ValueError, match="'x user'"):
                client.rpc_metadata = {"x user": "me"}
            assert client.rpc_metadata == {"x-user": "me"}
            request = client.service.request("ListNamespaces")
            await client.service.call("ListNamespaces", request, rpc_metadata={"x-call": "1"})
    first, second = service.asked("ListNamespaces")
    assert (first.metadata.get("x-team"), first.metadata["x-user"]) == (None, "me")
    assert (second.metadata["x-user"], second.metadata["x-call"]) == ("me", "1")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"client_cert": b"-----BEGIN CERTIFICATE-----"}, "go together"),
        ({"server_root_ca_cert": b"\x30\x82"}, "is not PEM"),
        ({"server_root_ca_cert": "-----BEGIN CERTIFICATE-----"}, "must be bytes, not str"),
    ],
)
def test_certificates_that_cannot_be_right(given: dict[str, Any], told: str) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        TLSConfig(**given)


def test_a_private_key_is_not_shown() -> None:
    assert "PRIVATE" not in repr(TLSConfig(client_cert=b"-----BEGIN CERTIFICATE-----", client_private_key=b"-----BEGIN PRIVATE KEY-----"))


async def test_a_certificate_that_cannot_be_read(encrypted: FakeService) -> None:
    broken = TLSConfig(client_cert=b"-----BEGIN CERTIFICATE-----\nx", client_private_key=b"-----BEGIN PRIVATE KEY-----\nx")
    with pytest.raises(RPCError, match="TLS configuration cannot be used"):
        await Client.connect(encrypted.target, tls=broken)
