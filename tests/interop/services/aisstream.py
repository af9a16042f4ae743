"""AISStream: positions of ships.

From "AIS Stream API Reference" (aisstream.io/documentation) and what its keepers and users say at
github.com/aisstream/issues (numbers 48, 80, 174, 253, 300), read on 2026-11-20:

- `/v0/stream`; the key is in the subscription, which must come within 3 s, or the connection is ended.
- A subscription has `APIKey` and `BoundingBoxes` (lists of two corners, latitude first), and may have
  `FilterMessageTypes` and `FiltersShipMMSI` (50 of them at most).
- A wrong key is answered `{"error": "Api Key Is Not Valid"}`, and the end without a close frame.
- An account has few connections at a time (two, by what users have measured): more are refused with 429.
- Browsers cannot connect, so that keys stay secret: somebody has to relay.

Messages are JSON in binary frames, as clients of its examples in JavaScript have to expect (`Blob`).
"""

import json

from .service import Breach, Service

MAX_CONNECTIONS = 2
MAX_SHIPS = 50
KINDS = {"PositionReport", "ShipStaticData", "StandardClassBPositionReport"}


class AisStream(Service):
    paths = ("/v0/stream",)

    def __init__(self, key, **options):
        super().__init__(**options)
        self.key = key

    def gate(self, visit, request):
        if "Origin" in request.headers:
            self.break_rule("keys are no matter of browsers")
            return 403
        if len(self.visits) >= MAX_CONNECTIONS:
            self.break_rule(f"an account has {MAX_CONNECTIONS} connections at a time")
            return 429
        return None

    async def talk(self, visit):
        request = await self.within(3, "a subscription", visit.hear())
        problem = self.problem(request)
        if problem:
            await visit.tell({"error": problem})
            raise Breach(problem)
        self.note("subscribed", request["BoundingBoxes"])
        await self.together(self.listen(visit), self.report(visit, request))

    def problem(self, request):
        if request.get("APIKey") != self.key:
            return "Api Key Is Not Valid"
        boxes = request.get("BoundingBoxes")
        if not boxes or not all(is_box(box) for box in boxes):
            return "Malformed BoundingBoxes"
        if not set(request.get("FilterMessageTypes", [])) <= KINDS:
            return "Malformed FilterMessageTypes"
        if len(request.get("FiltersShipMMSI", [])) > MAX_SHIPS:
            return "Too many FiltersShipMMSI"
        return None

    async def listen(self, visit):
        """Another subscription takes the place of the first; this stand-in is not asked for one."""
        raise Breach(f"one subscription is enough: {await visit.hear()}")

    async def report(self, visit, request):
        (south, north), (west, east) = map(sorted, zip(*request["BoundingBoxes"][0]))
        async for tick in self.market(visit):
            part = tick % 10 / 10
            place = {"latitude": south + part * (north - south), "longitude": west + part * (east - west)}
            ship = 211_000_000 + tick % 5
            message = {
                "MessageType": "PositionReport",
                "MetaData": {"MMSI": ship, "ShipName": f"SHIP {tick % 5}", **place},
                "Message": {"PositionReport": {"UserID": ship, "MessageID": 1, "Sog": tick}},
            }
            await visit.tell(json.dumps(message).encode())


def is_box(box):
    corners = [len(corner) == 2 and abs(corner[0]) <= 90 and abs(corner[1]) <= 180 for corner in box]
    return len(corners) == 2 and all(corners)
