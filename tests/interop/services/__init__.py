"""Stand-ins for real services, written after their public documentation.

Each is strict: a client that breaks a rule is disconnected as the real service would do it, and the rule is
noted in `broken`, so that a test fails with it. Each file names the documents that its rules are from, and
the day on which they were read. What a document leaves open is marked as such where it is decided.
"""

from .aisstream import AisStream
from .binance import Binance
from .bybit import Bybit
from .coinbase import Coinbase
from .deribit import Deribit
from .home_assistant import HomeAssistant
from .kraken import Kraken
from .kucoin import KuCoin
from .obs import Obs
from .okx import Okx
from .restream import Restream

__all__ = [
    "AisStream",
    "Binance",
    "Bybit",
    "Coinbase",
    "Deribit",
    "HomeAssistant",
    "Kraken",
    "KuCoin",
    "Obs",
    "Okx",
    "Restream",
]
