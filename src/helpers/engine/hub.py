"""How long the Hub may keep us waiting: no request waits for ever, and none for as long as a server likes.

The client library tries again by itself where a connection breaks, and where the Hub asks for patience. Left to
itself it waits as many seconds as a server names, and without an end for one that takes a request and is silent.
"""

import re
import sys

import huggingface_hub

SILENCE = 60.0  # seconds in which something must arrive
LONGEST_WAIT = 300  # seconds; the Hub counts requests in windows of five minutes
WORTH_A_NOTE = 10  # seconds
WAITS = {"retry-after": r"^\d+$", "ratelimit": r"(?<=t=)\d+"}  # headers, and where in them the seconds are


def limit_waiting() -> None:
    """From now on this process asks the Hub with these limits."""
    usual = huggingface_hub.get_session()
    hooks = usual.event_hooks
    if _shorten_waits in hooks["response"]:
        return
    hooks = {**hooks, "response": [*hooks["response"], _shorten_waits]}
    huggingface_hub.set_client_factory(lambda: type(usual)(event_hooks=hooks, follow_redirects=True, timeout=SILENCE))


def _shorten_waits(response) -> None:
    """A server that asks for more patience than there is asks for all there is; the user is told of long waits."""
    for header in WAITS.keys() & response.headers.keys():
        response.headers[header] = re.sub(WAITS[header], _shorter, response.headers[header])
    wait = response.headers.get("retry-after", "")
    if response.status_code >= 400 and wait.isdecimal() and int(wait) >= WORTH_A_NOTE:
        print(f"note: the Hub asks to be left alone for {int(wait)} s", file=sys.stderr)


def _shorter(seconds: re.Match) -> str:
    return str(min(int(seconds[0]), LONGEST_WAIT))
