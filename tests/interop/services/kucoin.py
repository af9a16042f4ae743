"""KuCoin: public market data.

From "Introduction" and "Get Public Token" of the WebSocket API (kucoin.com/docs-new, websocket-api/base-info),
read on 2026-11-20:

- Before it connects, a client asks `POST /api/v1/bullet-public` for a token and the address, the interval of
  pings (18 s) and how long the service waits for one (10 s).
- It connects with `?token=TOKEN&connectId=ID`, and says nothing before the `welcome` with that id.
- `subscribe` with `response: true` is answered `ack` with its id.
- The client sends `{"id": .., "type": "ping"}` every interval and gets `pong`; without, the end comes.
- A token is good for 24 hours, and a connection is ended after 24 hours.

Left open there, and decided here: a wrong token is answered with an error 401, and the end; a token opens one
connection after the other as long as it is good.
"""

import asyncio
import itertools
import time

from .rest import RestService
from .service import Breach, End

PING_INTERVAL, PING_TIMEOUT = 18, 10


class KuCoin(RestService):
    paths = ("/", "/endpoint")

    def __init__(self, **options):
        super().__init__(**options)
        # Tokens, and until when they are good.
        self.tokens, self.numbers = {}, itertools.count(1)

    def answer(self, method, path, headers, body):
        if path != "/api/v1/bullet-public":
            self.break_rule(f"tokens are at /api/v1/bullet-public, not at {path}")
            return 404, {"code": "404000"}
        if method != "POST":
            self.break_rule("tokens are given to a POST")
            return 405, {"code": "405000"}
        return 200, self.bullet()

    def bullet(self):
        token = f"2neAiuYvAU61ZDXANAGAsiL4-iAExhsBXZxftp_{next(self.numbers)}.mvnekBb8DJegZIgYLs2FBQ=="
        self.tokens[token] = time.monotonic() + (self.life or 1e9)
        self.note("token", token)
        server = {
            "endpoint": f"{self.origin}/",
            "encrypt": True,
            "protocol": "websocket",
            "pingInterval": PING_INTERVAL * 1000,
            "pingTimeout": PING_TIMEOUT * 1000,
        }
        return {"code": "200000", "data": {"token": token, "instanceServers": [server]}}

    def gate(self, visit, request):
        visit.is_welcome, visit.topics, visit.pinged = False, set(), time.monotonic()

    def rules(self, visit):
        return [self.end_silent(visit)]

    async def end_silent(self, visit):
        while time.monotonic() - visit.pinged < (PING_INTERVAL + PING_TIMEOUT) * self.pace:
            await self.wait(1)
        raise Breach(f"a client pings every {PING_INTERVAL} s", 1001)

    async def talk(self, visit):
        name, token = visit.query.get("connectId", ""), visit.query.get("token")
        if time.monotonic() > self.tokens.get(token, 0):
            await visit.tell({"id": name, "type": "error", "code": 401, "data": "token is invalid"})
            raise Breach("a token was given out within a day", 1008)
        await self.together(self.listen(visit), self.welcome_later(visit, name), self.push(visit))

    async def welcome_later(self, visit, name):
        """The connection counts from here on; a hasty client has spoken before."""
        await asyncio.sleep(0.05)
        visit.is_welcome = True
        await visit.tell({"id": name, "type": "welcome"})
        await asyncio.Event().wait()

    async def listen(self, visit):
        while True:
            request = await visit.hear()
            if not visit.is_welcome:
                raise Breach("nothing is said before the welcome", 1008)
            if request.get("type") == "ping" and request.get("id"):
                visit.pinged = time.monotonic()
                self.note("ping")
                await visit.tell({"id": request["id"], "type": "pong"})
            elif request.get("type") == "subscribe" and request.get("id"):
                await self.subscribe(visit, request)
            else:
                raise Breach(f"ping and subscribe have an id: {request}", 1008)

    async def subscribe(self, visit, request):
        kind, _, symbols = request.get("topic", "").partition(":")
        if kind != "/market/ticker" or not symbols:
            problem = f"topic {request.get('topic')} is not found"
            await visit.tell({"id": request["id"], "type": "error", "code": 404, "data": problem})
            self.break_rule(problem)
            return
        visit.topics.update(f"{kind}:{symbol}" for symbol in symbols.split(","))
        self.note("subscribed", request["topic"])
        if request.get("response"):
            await visit.tell({"id": request["id"], "type": "ack"})

    async def push(self, visit):
        async for tick in self.market(visit):
            for topic in sorted(visit.topics):
                data = {"sequence": str(tick), "price": "20000.1", "time": tick}
                message = {"type": "message", "topic": topic, "subject": "trade.ticker", "data": data}
                await visit.tell(message)

    async def part(self, visit):
        raise End(1000, "24 hours")
