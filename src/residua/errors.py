"""What went wrong, in one line, and the exit code of the command that met it.

The ground of the house: any room may import it; it imports nothing.
"""


def one_line(text: str) -> str:
    """The text with line breaks and other control characters spelled out: it breaks no line and steers no terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class ResiduaError(Exception):
    """One line for the user: what, where, what to do. `exit_code` is the command's exit status."""

    exit_code = 1

    def __str__(self) -> str:
        """The line; what files and users put into it breaks no line and steers no terminal."""
        return one_line(super().__str__())


class UsageError(ResiduaError):
    """A name, option or value that does not exist or does not fit (exit 2)."""

    exit_code = 2


class DataError(ResiduaError):
    """A problem with the user's files: images, labels, model or run files, the disk (exit 3)."""

    exit_code = 3


class NumericError(ResiduaError):
    """Numbers that should agree and do not, or a loss that is not finite (exit 4)."""

    exit_code = 4


class Lost(DataError):
    """Other processes of the same training are gone."""


class Interrupted(ResiduaError):
    """Stopped by the user after saving (exit 130)."""

    exit_code = 130
