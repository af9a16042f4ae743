"""OBS: its remote control, obs-websocket 5.

From "obs-websocket 5.x.x Protocol" (obsproject/obs-websocket, docs/generated/protocol.md), read on 2026-11-20:

- The subprotocol `obswebsocket.json` is JSON in text frames; a binary one ends the connection (4002).
- The service says Hello (0) with a challenge and a salt. The client says Identify (1) and nothing else before
  Identified (2), or is ended (4007). Its `authentication` is the base64 of the SHA-256 of SECRET and challenge,
  where SECRET is the base64 of the SHA-256 of password and salt; a wrong one ends the connection (4009).
- A second Identify ends it (4008), an unknown operation too (4006), an `rpcVersion` other than 1 (4010).
- Events (5) come by what `eventSubscriptions` asks for, without the loud ones by default; requests (6) are
  answered (7).
"""

import base64
import hashlib
import os

from .service import Breach, End, Service

HELLO, IDENTIFY, IDENTIFIED, REIDENTIFY, EVENT, REQUEST, RESPONSE = 0, 1, 2, 3, 5, 6, 7
# What a client gets that asks for nothing in particular.
ALL = (1 << 11) - 1
SCENES = 1 << 2


class Obs(Service):
    subprotocols = ("obswebsocket.json",)

    def __init__(self, password, **options):
        super().__init__(**options)
        self.password = password
        # Nothing happens.
        self.is_quiet = False

    def gate(self, visit, request):
        visit.wanted = 0

    async def talk(self, visit):
        challenge, salt = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
        authentication = {"challenge": challenge, "salt": salt}
        hello = {"obsWebSocketVersion": "5.5.4", "rpcVersion": 1, "authentication": authentication}
        await visit.tell({"op": HELLO, "d": hello})
        await self.identify(visit, await visit.hear(), proof(self.password, challenge, salt))
        await self.together(self.listen(visit), self.report(visit))

    async def identify(self, visit, message, right):
        data = message.get("d", {})
        if message.get("op") != IDENTIFY:
            raise Breach(f"the first message is Identify, not {message}", 4007)
        if data.get("rpcVersion") != 1:
            raise Breach("rpcVersion is 1", 4010)
        if data.get("authentication") != right:
            self.note("turned away")
            raise End(4009, "Authentication failed.")
        visit.wanted = data.get("eventSubscriptions", ALL)
        self.note("identified", visit.subprotocol)
        await visit.tell({"op": IDENTIFIED, "d": {"negotiatedRpcVersion": 1}})

    async def listen(self, visit):
        while True:
            message = await visit.hear()
            if message.get("op") == IDENTIFY:
                raise Breach("nobody identifies twice", 4008)
            if message.get("op") != REQUEST:
                raise Breach(f"no such operation: {message}", 4006)
            asked = message["d"]
            self.note("request", asked["requestType"])
            names = {name: asked[name] for name in ("requestType", "requestId")}
            answer = {**names, "requestStatus": {"result": True, "code": 100}}
            await visit.tell({"op": RESPONSE, "d": answer})

    async def report(self, visit):
        async for tick in self.market(visit):
            if visit.wanted & SCENES and tick % 5 == 0 and not self.is_quiet:
                event = {
                    "eventType": "CurrentProgramSceneChanged",
                    "eventIntent": SCENES,
                    "eventData": {"sceneName": f"Scene {tick}"},
                }
                await visit.tell({"op": EVENT, "d": event})


def proof(password, challenge, salt):
    secret = hashed(password + salt)
    return hashed(secret + challenge)


def hashed(text):
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
