"""Bybit: public and private streams, version 5.

From the page "Connect" (bybit-exchange.github.io/docs/v5/ws/connect), read on 2026-11-20:

- `/v5/public/linear` and others for the public, `/v5/private` after `auth`: key, a moment to come in
  milliseconds, and the hexadecimal HMAC-SHA256 of `GET/realtime` and that moment.
- `subscribe` is answered with `op` and `success`; at spot it has 10 topics at most.
- The client sends `{"op": "ping"}` every 20 s; the public answer repeats `op: ping`, the private one says `pong`.
- 10 minutes without pings and data end a private connection, or what `max_active_time` says (30 s to 600 s).
- 500 connections in 5 minutes for each domain.
"""

import hashlib
import hmac
import time

from .service import Breach, Service

PUBLIC, SPOT, PRIVATE = "/v5/public/linear", "/v5/public/spot", "/v5/private"
MAX_SPOT_TOPICS = 10
MAX_ARGS_BYTES = 21_000


class Bybit(Service):
    paths = (PUBLIC, SPOT, PRIVATE)
    dial_limit = (500, 5 * 60)

    def __init__(self, account=None, is_quiet=False, **options):
        super().__init__(**options)
        # The key and its secret.
        self.account, self.is_quiet = account, is_quiet

    def gate(self, visit, request):
        visit.topics, visit.is_known, visit.lively = [], False, time.monotonic()

    def rules(self, visit):
        return [self.end_idle(visit)]

    async def end_idle(self, visit):
        patience = visit.query.get("max_active_time", "600s")
        unit = {"s": 1, "m": 60}[patience[-1]]
        seconds = int(patience[:-1]) * unit
        if not 30 <= seconds <= 600:
            raise Breach("max_active_time is 30s to 600s", 1008)
        while time.monotonic() - visit.lively < seconds * self.pace:
            await self.wait(1)
        raise Breach(f"a connection is not silent for {seconds} s", 1001)

    async def talk(self, visit):
        await self.together(self.listen(visit), self.push(visit))

    async def listen(self, visit):
        while True:
            request = await visit.hear()
            visit.lively = time.monotonic()
            answer = {"conn_id": "cejreaspqfh3sjdnldmg-p", "req_id": request.get("req_id", "")}
            if request.get("op") == "ping":
                self.note("ping")
                await visit.tell({**answer, **self.pong(visit)})
            elif request.get("op") == "auth":
                await self.log_in(visit, request, answer)
            elif request.get("op") == "subscribe":
                await self.subscribe(visit, request, answer)
            else:
                await self.fail(visit, answer, f"op is ping, auth or subscribe, not {request}")

    @staticmethod
    def pong(visit):
        if visit.path == PRIVATE:
            return {"op": "pong", "args": [str(int(time.time() * 1000))]}
        return {"op": "ping", "success": True, "ret_msg": "pong"}

    async def log_in(self, visit, request, answer):
        key, expires, signature = request["args"]
        secret = self.account[1].encode()
        right = hmac.new(secret, f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()
        if key != self.account[0] or signature != right:
            await self.fail(visit, {**answer, "op": "auth"}, "key and signature are right")
        if expires <= time.time() * 1000:
            await self.fail(visit, {**answer, "op": "auth"}, "expires is to come")
        visit.is_known = True
        self.note("logged in")
        await visit.tell({**answer, "op": "auth", "success": True, "ret_msg": ""})

    async def subscribe(self, visit, request, answer):
        answer, topics = {**answer, "op": "subscribe"}, request["args"]
        if visit.path == PRIVATE and not visit.is_known:
            await self.fail(visit, answer, "private topics want auth first")
        if visit.path == SPOT and len(topics) > MAX_SPOT_TOPICS:
            await self.fail(visit, answer, f"at spot a request has {MAX_SPOT_TOPICS} topics at most")
        if sum(map(len, visit.topics + topics)) > MAX_ARGS_BYTES:
            await self.fail(visit, answer, f"topics have {MAX_ARGS_BYTES} characters at most")
        visit.topics += topics
        self.note("subscribed", topics)
        await visit.tell({**answer, "success": True, "ret_msg": ""})

    async def fail(self, visit, answer, problem):
        await visit.tell({**answer, "success": False, "ret_msg": problem})
        raise Breach(problem, 1008)

    async def push(self, visit):
        async for tick in self.market(visit):
            for topic in visit.topics if not self.is_quiet else []:
                visit.lively = time.monotonic()
                data = [{"i": str(tick), "s": "BTCUSDT", "p": "20000.1", "S": "Buy", "v": "0.001"}]
                await visit.tell({"topic": topic, "type": "snapshot", "ts": tick, "data": data})
