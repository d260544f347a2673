"""The one exception for input that a user can mend: its message is a single line that names cause and fix."""


class InputError(ValueError):
    """A model, text or option that cannot be used as given."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))


def reason(error: BaseException) -> str:
    """The first line of what another library says went wrong, for use within a message of our own."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
