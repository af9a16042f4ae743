#!/usr/bin/python3
"""Prints the login message of OKX's private WebSocket, signed for this moment and good for 30 s.

OKX_API_KEY, OKX_SECRET_KEY and OKX_PASSPHRASE are in the environment.
"""

import base64
import hashlib
import hmac
import json
import os
import time

timestamp = str(int(time.time()))
signed = f"{timestamp}GET/users/self/verify".encode()
digest = hmac.new(os.environ["OKX_SECRET_KEY"].encode(), signed, hashlib.sha256).digest()
login = {
    "apiKey": os.environ["OKX_API_KEY"],
    "passphrase": os.environ["OKX_PASSPHRASE"],
    "timestamp": timestamp,
    "sign": base64.b64encode(digest).decode(),
}
print(json.dumps({"op": "login", "args": [login]}))
