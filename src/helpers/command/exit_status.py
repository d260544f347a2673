"""The exit status of a program, and its one line on stderr where it could not do what it was asked."""

import sys
from collections.abc import Callable

from helpers.errors import InputError


def of(run: Callable[[], int], program: str, interrupted: str) -> int:
    """What ``run`` returns; 2 for input that the user can mend, 130 where the user stopped it."""
    try:
        return run()
    except InputError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{program}: {error.filename or 'output'}: {error.strerror or error}; check --output", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted{interrupted}", file=sys.stderr)
        return 130
