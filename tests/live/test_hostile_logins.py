"""Logins that are wrong in a detail: texts and endings are the server's. What `test_hostile` has no room for."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.live.hostile import NO_RESPONSE, WHO, Scene, knock, sasl, startup
from tests.servers.postgres import DATABASE, MD5_PASSWORD, MD5_USER, PASSWORD, USER, TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import RawClient, message, query

pytestmark = pytest.mark.live

PROOF = base64.b64encode(bytes(32))
FINALS = {
    "empty": b"c=biws,r=%n,p=",
    "short": b"c=biws,r=%n,p=AAAA",
    "long": b"c=biws,r=%n,p=" + base64.b64encode(bytes(33)),
    "not base64": b"c=biws,r=%n,p=!!!!",
    "of nothing": b"c=biws,r=%n,p=" + PROOF,
    "with an extension": b"c=biws,r=%n,x=y,p=" + PROOF,
    "with a bad extension": b"c=biws,r=%n,1=y,p=" + PROOF,
    "with more behind it": b"c=biws,r=%n,p=" + PROOF + b",x=y",
    "with another binding": b"c=eSws,r=%n,p=" + PROOF,
    "with another nonce": b"c=biws,r=%nx,p=" + PROOF,
    "malformed, with another nonce": b"c=biws,r=%nx,p=AAAA",
}
PASSWORDS = {
    "a length of 3": b"p\0\0\0\3",
    "a huge length": b"p\x7f\0\0\0",
    "no NUL": message("p", b"md5"),
    "empty": message("p", b"\0"),
    "nothing": message("p"),
    "long": message("p", b"x" * 60000 + b"\0"),
    "a query": query("SELECT 1"),
}


def test_the_longest_start_up_packet_is_one(scene: Scene) -> None:
    longest = startup(WHO + b"x\0" + b"y" * (10_004 - 9 - len(WHO) - 3) + b"\0") + query("x")
    assert knock(scene.port, longest) == knock(scene.server.port, longest) == ["R", "FATAL 08P01"]


@pytest.mark.parametrize("final", FINALS.values(), ids=FINALS)
def test_a_proof_that_is_wrong_fails_as_at_the_server(scene: Scene, final: bytes) -> None:
    told = [knock(port, startup() + sasl(), final=final, texts=True) for port in (scene.server.port, scene.port)]
    assert told[1] == told[0]


def test_a_password_for_md5_that_is_wrong_fails_as_at_the_server(postgres15: TestServer, tmp_path: Path) -> None:
    path, start = tmp_path / "proxy.toml", startup(f"user\0{MD5_USER}\0database\0{DATABASE}\0".encode())
    url = postgres15.target(MD5_USER, MD5_PASSWORD)
    path.write_text(f'[[proxies]]\nlisten = "127.0.0.1:0"\nauth_methods = ["md5"]\ntarget.url = "{url}"\n')
    with ProxyProcess(str(path)) as proxy:
        for name, data in PASSWORDS.items():
            told = [knock(port, start + data, texts=True) for port in (postgres15.port, proxy.port)]
            assert told[1] == told[0], name


class LateClient(RawClient):
    """Says that it has no initial response, and sends it when it is asked again."""

    def _authenticate(self, body: bytes, password: str, nonce: str) -> None:
        if body == b"\0\0\0\x0b":
            self.send(message("p", f"n,,n=,r={nonce}".encode()))
        elif body[:4] == b"\0\0\0\x0a":
            self.send(NO_RESPONSE)
        else:
            super()._authenticate(body, password, nonce)


def test_a_login_without_an_initial_response_is_a_login(scene: Scene) -> None:
    for port in (scene.server.port, scene.port):
        late = LateClient(port, {"user": USER, "database": DATABASE}, PASSWORD)
        assert late.value("SELECT 'late'") == b"late"
        assert [tag for tag, _ in late.greeting[:5]] == [*"RRRRR"]
        late.close()
