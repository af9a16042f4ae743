"""Coinbase: Advanced Trade.

From the pages "WebSocket Overview", "WebSocket Channels", "WebSocket Rate Limits" and "WebSocket
Authentication" of docs.cdp.coinbase.com (coinbase-app/advanced-trade-apis), read on 2026-11-20:

- Who has not subscribed within 5 s is disconnected. A subscribe message names one channel; the answer is a
  message of the channel `subscriptions`.
- Most channels close after 60 to 90 s without an update; a subscription to `heartbeats`, which come every
  second and are counted, keeps all open.
- `user` is at a host of its own and wants a JWT, signed with ES256, in the subscribe message. It names the key
  (`kid`, `sub`), the issuer `cdp` and no request, and lives for 2 minutes.
- 750 connections a second and 8 unauthenticated messages a second from an address.

Left open there, and decided here: what is said to a wrong JWT (an error, then the end).
"""

import asyncio
import base64
import json
import subprocess
import tempfile
import time
from pathlib import Path

from websockets.frames import Opcode

from .service import Breach, Service

CHANNELS = {"heartbeats", "ticker", "market_trades", "level2", "candles", "status", "user"}
PRIVATE = {"user"}
MAX_MESSAGES_PER_SECOND = 8
# Seconds that a JWT may live.
MAX_LIFE = 120


class Coinbase(Service):
    dial_limit = (750, 1)

    def __init__(self, key_name=None, public_key=None, **options):
        super().__init__(**options)
        self.key_name, self.public_key = key_name, public_key

    def gate(self, visit, request):
        visit.channels, visit.sequence, visit.heard = {}, 0, []

    def on_frame(self, visit, frame):
        now = time.monotonic()
        if frame.opcode is Opcode.TEXT and b'"jwt"' not in frame.data:
            visit.heard = [at for at in visit.heard if at > now - 1] + [now]
        if len(visit.heard) > MAX_MESSAGES_PER_SECOND and not visit.ending.done():
            visit.ending.set_result(Breach("no more than 8 messages in a second without a JWT", 1008))

    async def talk(self, visit):
        await self.within(5, "a subscription", self.subscription(visit), 1008, "no subscription")
        await self.together(self.listen(visit), self.trade(visit), self.beat(visit))

    def rules(self, visit):
        return [self.close_quiet(visit)]

    async def close_quiet(self, visit):
        """Nothing but a subscription to heartbeats keeps a quiet connection open."""
        await self.wait(90)
        if "heartbeats" not in visit.channels:
            raise Breach("who wants no heartbeats is closed when the market is quiet", 1001)
        await asyncio.Event().wait()

    async def listen(self, visit):
        while True:
            await self.subscription(visit)

    async def subscription(self, visit):
        request = await visit.hear()
        problem = self.problem(request)
        if problem:
            await visit.tell({"type": "error", "message": problem})
            raise Breach(problem, 1008, "policy")
        channel = request["channel"]
        visit.channels[channel] = request.get("product_ids", [])
        self.note("subscribed", channel)
        await self.send(visit, "subscriptions", [{"subscriptions": visit.channels}])

    def problem(self, request):
        if request.get("type") != "subscribe":
            return "the type is subscribe"
        if "channels" in request or request.get("channel") not in CHANNELS:
            return "a subscription names one channel"
        if request["channel"] in PRIVATE:
            return self.problem_of_token(request.get("jwt"))
        return None

    def problem_of_token(self, token):
        try:
            head, body, signature = token.split(".")
            header, claims = (json.loads(unpadded(part)) for part in (head, body))
            signed = unpadded(signature)
        except (AttributeError, ValueError):
            return "authentication failure: no JWT"
        now = time.time()
        checks = {
            "alg": header.get("alg") == "ES256",
            "kid": header.get("kid") == self.key_name,
            "nonce": bool(header.get("nonce")),
            "sub": claims.get("sub") == self.key_name,
            "iss": claims.get("iss") == "cdp",
            "nbf": claims.get("nbf", now + 9) <= now + 1,
            "exp": now < claims.get("exp", 0) <= claims.get("nbf", 0) + MAX_LIFE,
            "uri": "uri" not in claims,
            "signature": is_signed(f"{head}.{body}".encode(), signed, self.public_key),
        }
        wrong = [name for name, is_right in checks.items() if not is_right]
        return f"authentication failure: {wrong}" if wrong else None

    async def send(self, visit, channel, events):
        sequence, visit.sequence = visit.sequence, visit.sequence + 1
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        await visit.tell(
            {"channel": channel, "timestamp": stamp, "sequence_num": sequence, "events": events}
        )

    async def trade(self, visit):
        async for tick in self.market(visit):
            if "market_trades" in visit.channels:
                trade = {"trade_id": str(tick), "product_id": "BTC-USD", "price": "20000.00"}
                await self.send(visit, "market_trades", [{"type": "update", "trades": [trade]}])
            if "user" in visit.channels and tick % 5 == 0:
                await self.send(visit, "user", [{"type": "update", "orders": [{"order_id": str(tick)}]}])

    async def beat(self, visit):
        counter = 0
        while True:
            await asyncio.sleep(max(self.pace, 0.05))
            if "heartbeats" in visit.channels:
                counter += 1
                await self.send(visit, "heartbeats", [{"heartbeat_counter": counter}])


def unpadded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def is_signed(message, signature, public_key):
    """Asks openssl, which wants the two numbers of a signature as DER."""
    if len(signature) != 64:
        return False
    numbers = b"".join(der_integer(signature[at : at + 32]) for at in (0, 32))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "signature").write_bytes(b"\x30" + bytes([len(numbers)]) + numbers)
        (Path(folder) / "key").write_text(public_key)
        command = ["openssl", "dgst", "-sha256", "-verify", "key", "-signature", "signature"]
        return subprocess.run(command, input=message, cwd=folder, capture_output=True).returncode == 0


def der_integer(number):
    number = number.lstrip(b"\0") or b"\0"
    if number[0] & 0x80:
        number = b"\0" + number
    return b"\x02" + bytes([len(number)]) + number
