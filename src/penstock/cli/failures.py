"""What a failure looks like from outside: the exit status, and words that say what to do."""

from __future__ import annotations

import typer

from penstock.errors import (
    AuthoringError,
    Forbidden,
    HomeUnusable,
    InvalidInput,
    MalformedRequest,
    PenstockError,
    ServerUnreachable,
    SourceNotFound,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)

FAILED = 1
USAGE = 2
UNREACHABLE = 3
REFUSED = 4
DETACHED = 130
"""As a shell has it for a command that was ended by Ctrl-C."""

EXIT_CODES = """
\b
Exit status:
  0    done; for a run that was waited for: it completed
  1    the run failed or was cancelled, or the operation failed
  2    wrong usage or invalid input
  3    the server cannot be reached
  4    no valid credentials, or they do not allow this
  130  left with Ctrl-C; a run that was being watched goes on

\b
Environment:
  PENSTOCK_URL, PENSTOCK_API_KEY  the server to use instead of this machine's
  PENSTOCK_HOME                   where this machine's server keeps everything
  PENSTOCK_DEBUG=1                show tracebacks
  NO_COLOR=1                      no colours
"""

_STATUSES: tuple[tuple[type[PenstockError], int], ...] = (
    (ServerUnreachable, UNREACHABLE),
    (Unauthenticated, REFUSED),
    (Forbidden, REFUSED),
    (InvalidInput, USAGE),
    (MalformedRequest, USAGE),
    (SourceNotFound, USAGE),
    (AuthoringError, USAGE),
)

_ADVICE: tuple[tuple[type[PenstockError], str], ...] = (
    (HomeUnusable, ""),
    (ServerUnreachable, "`penstock status` says which server is meant; `penstock up` starts one here."),
    (Unauthenticated, "Log in with `penstock login URL`, or set PENSTOCK_URL and PENSTOCK_API_KEY."),
    (Forbidden, "Use the key of an account whose role allows this."),
    (TooManyRequests, "Try again in a moment."),
    (Unavailable, "Try again in a moment."),
)


def exit_code(error: Exception) -> int:
    """The exit status that tells this kind of error."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), FAILED)


def explain(error: Exception) -> None:
    """Say on stderr what went wrong, where in the input, and what to do."""
    typer.echo(f"Error: {error}", err=True)
    advice = next((text for kind, text in _ADVICE if isinstance(error, kind)), "")
    if advice:
        typer.echo(advice, err=True)


def explain_surprise(error: Exception) -> None:
    """Say on stderr that this should not have happened."""
    typer.echo(f"Error: something unexpected went wrong in Penstock ({type(error).__name__}: {error}).", err=True)
    typer.echo("Set PENSTOCK_DEBUG=1 to see where, and please report it.", err=True)
