"""The peers against each other, with no relay between them: a failure here is one of the tests."""

import pytest

from harness import Client
from test_matrix import EMOJI, NOT_UTF8, large_messages


@pytest.mark.parametrize("client_language", ["python", "node"])
@pytest.mark.parametrize("source_language", ["python", "node"])
def test_peers_understand_each_other(world, source_language, client_language):
    source = world.source(f"{source_language} ws", "--subprotocol", "v1.json")
    client = world.adopt(Client(client_language, "ws", source.url, "--subprotocol", "v1.json"))
    assert source.expect("open")["subprotocol"] == "v1.json"
    assert client.expect("open")["extensions"] == ["permessage-deflate"]
    both = [(source, client), (client, source)]
    for sender, receiver in both:
        for kind, payload in [
            ("text", EMOJI),
            ("binary", NOT_UTF8),
            ("text", b""),
            *large_messages(),
        ]:
            for fragments in (1, 3):
                sender.send(kind, payload, fragments)
                assert receiver.receive() == (kind, payload)
        sender.ping()
    client.do("close", code=4001, reason="bye")
    for peer in (source, client):
        closed = peer.expect("close")
        assert closed["code"] == 4001


@pytest.mark.parametrize("language", ["python", "node"])
def test_raw_connection_speaks_websocket(world, raw, language):
    source = world.source(f"{language} ws")
    connection = raw(source.port).upgrade()
    source.expect("open")
    connection.frame(1, EMOJI)
    assert source.receive() == ("text", EMOJI)
    source.send("binary", NOT_UTF8 * 300)
    assert connection.read_frame() == (2, NOT_UTF8 * 300)
    connection.frame(1, b"unmasked", mask=False)
    assert connection.close_code() == 1002
