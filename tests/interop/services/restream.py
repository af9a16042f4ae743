"""Restream: chat and streaming updates.

From "Chat: Getting Started", "Actions" and "Connections", "Streaming Updates" and "Refreshing Tokens"
(developers.restream.io), read on 2026-11-20:

- `wss://chat.api.restream.io/ws?accessToken=TOKEN`, one way: what a client says is ignored.
- First comes a `connection_info` for each connected channel, to be kept by `connectionIdentifier`; then events
  as they happen; a `heartbeat` about every 45 s. Who has not got one for 60 s shall connect anew.
- `wss://streaming.api.restream.io/ws?accessToken=TOKEN` begins with what happened in the last minute or so.
- An access token lives for an hour. `POST /oauth/token` with a refresh token, as client id and secret (Basic),
  gives a new pair, and the old pair is void at once.

Left open there, and decided here: a void access token is answered 401.
"""

import base64
import itertools
from urllib.parse import parse_qs

from .rest import RestService

CHANNELS = ["2-twitch", "5-youtube"]


class Restream(RestService):
    paths = ("/ws",)

    def __init__(self, client=("id", "secret"), refresh_token="refresh-0", **options):
        super().__init__(**options)
        self.client, self.refresh_token, self.access_token = client, refresh_token, None
        # The connection stays, and nothing comes any more.
        self.is_dead = False
        self.numbers = itertools.count(1)

    def answer(self, method, path, headers, body):
        form = {name: values[0] for name, values in parse_qs(body).items()}
        basic = "Basic " + base64.b64encode(":".join(self.client).encode()).decode()
        right = (method, path, headers.get("Authorization")) == ("POST", "/oauth/token", basic)
        if not right or form.get("grant_type") != "refresh_token":
            self.break_rule("a token is refreshed as the client, at /oauth/token")
            return 400, {"error": "invalid_request"}
        if form.get("refresh_token") != self.refresh_token:
            self.break_rule("a refresh token is good for once")
            return 400, {"error": "invalid_grant"}
        number = next(self.numbers)
        self.access_token, self.refresh_token = f"access-{number}", f"refresh-{number}"
        self.note("token", self.access_token)
        return 200, {
            "access_token": self.access_token,
            "expires_in": 3600,
            "refresh_token": self.refresh_token,
            "scope": "chat.read stream.read",
            "token_type": "Bearer",
        }

    def gate(self, visit, request):
        if visit_token(request) == self.access_token:
            return None
        self.note("turned away", visit_token(request))
        return 401

    async def talk(self, visit):
        for channel in CHANNELS:
            await visit.tell({"action": "connection_info", "payload": info(channel)})
        await self.together(self.listen(visit), self.chat(visit), self.beat(visit))

    async def listen(self, visit):
        while True:
            self.note("ignored", await visit.recv())

    async def chat(self, visit):
        async for tick in self.market(visit):
            if tick % 10 == 0 and not self.is_dead:
                payload = {"connectionIdentifier": CHANNELS[0], "eventPayload": {"text": f"hello {tick}"}}
                await visit.tell({"action": "event", "payload": payload, "timestamp": tick})

    async def beat(self, visit):
        while True:
            await self.wait(45)
            if not self.is_dead:
                self.note("heartbeat")
                await visit.tell({"action": "heartbeat", "payload": {}, "timestamp": 1})


def visit_token(request):
    return parse_qs(request.path.partition("?")[2]).get("accessToken", [None])[0]


def info(channel):
    return {"connectionIdentifier": channel, "connectionUuid": f"uuid-{channel}", "status": "connected"}
