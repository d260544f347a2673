"""The exit status of a program, and its one line on stderr where it could not do what it was asked."""

import signal
import sys
from collections.abc import Callable

from helpers.command import stopping
from helpers.errors import InputError


def of(run: Callable[[], int], program: str, interrupted: str) -> int:
    """What ``run`` returns; 2 for input that the user can mend, 128 and a signal's number where that stopped it."""
    try:
        with stopping.heeded():
            return run()
    except InputError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{program}: {error.filename or 'output'}: {error.strerror or error}; check --output", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        number = signal.Signals(stop.args[0] if stop.args else signal.SIGINT)
        print(f"{program}: interrupted by {number.name}{interrupted}", file=sys.stderr)
        return 128 + number
