#!/usr/bin/python3
"""Prints the auth message of Bybit's private WebSocket, signed, and good for 10 s.

BYBIT_API_KEY and BYBIT_SECRET are in the environment.
"""

import hashlib
import hmac
import json
import os
import time

expires = int((time.time() + 10) * 1000)
signed = f"GET/realtime{expires}".encode()
signature = hmac.new(os.environ["BYBIT_SECRET"].encode(), signed, hashlib.sha256).hexdigest()
print(json.dumps({"op": "auth", "args": [os.environ["BYBIT_API_KEY"], expires, signature]}))
