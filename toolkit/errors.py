"""The exception for mistakes of the user."""


class UserError(ValueError):
    """A mistake that the user can fix; the message states what happened, where, and what to do.

    Commands print it on one line and exit with status 2; Python callers catch a `ValueError`.
    """
