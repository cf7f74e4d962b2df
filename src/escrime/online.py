"""Whether a server can be reached: downloads wait long, and try again and again, where there is no network."""

import ssl
import threading
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

SECONDS = 3.0
OFFLINE = "you seem to be offline"


def unreachable(url: str, seconds: float = SECONDS) -> str | None:
    """Why nothing comes from the server of `url` within `seconds`, the search for its name included; None where something
    does, were it a refusal or a certificate that is not trusted, which the download itself can tell of."""
    found: list[str | None] = []
    # A name is looked up without a time limit: that thread may go on behind us.
    asking = threading.Thread(target=lambda: found.append(_reason(url, seconds)), daemon=True)
    asking.start()
    asking.join(seconds)
    return found[0] if found else f"no reply within {seconds:g} s"


def _reason(url: str, seconds: float) -> str | None:
    try:
        with urlopen(Request(url, method="HEAD"), timeout=seconds):
            return None
    except (HTTPError, ValueError):  # a reply, if a refusal; or no URL to ask
        return None
    except (OSError, HTTPException) as error:
        cause = error.reason if isinstance(error, URLError) else error
        return None if isinstance(cause, ssl.SSLError) else str(cause)
