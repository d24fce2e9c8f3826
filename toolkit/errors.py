"""The one exception for a user's mistake."""


class UserError(ValueError):
    """Something the user can mend: the message says what, where, and what to do.

    Command lines print it on one line and exit with status 2; Python callers catch a `ValueError`.
    """
