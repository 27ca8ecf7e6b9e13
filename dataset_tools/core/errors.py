"""Every error the suite raises on purpose, with the exit code a command line maps it to.

    SuiteError                  1   something the user can read and act on
    ├── ConfigError             2   a configuration or command-line value is wrong
    │   └── UnknownName         2   a name that no registry holds; lists the nearest ones
    ├── DataError               1   data is not what it claims to be
    │   ├── ManifestError       1   a manifest is missing, torn, or breaks its own counts
    │   ├── MaskShapeError      1   mask and image, or two masks, differ in size
    │   ├── LicenceMissing      1   something would be published without a licence
    │   └── ItemFault           1   one item is bad: becomes a row of the rejects table
    │       ├── ImageFault      1   bytes that are not a usable picture
    │       └── FetchFault      1   a URL or file that could not be had
    └── ServiceError           75   something outside is away or refused; run again later
        ├── WeightsUnavailable 75   a model file cannot be had by any route
        ├── ReviewServiceError 75   Label Studio is away or answered oddly
        ├── HubError           75   the Hugging Face Hub is away or refused
        └── WorkspaceBusy      75   another process holds the workspace

Exit codes: 0 done, 1 error, 2 usage, 3 done but more rejects than allowed, 75 try again later,
130 interrupted.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from dataset_tools.core.reasons import Reason

EXIT_DONE = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_TOO_MANY_REJECTS = 3
EXIT_TRY_AGAIN = 75
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class SuiteError(Exception):
    """Base of all errors raised on purpose; its text is one line for the user."""

    exit_code = EXIT_ERROR


class ConfigError(SuiteError, ValueError):
    """A configuration value is unknown, missing or out of range."""

    exit_code = EXIT_USAGE


class UnknownName(ConfigError, LookupError):
    """A name that is not registered."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        close = difflib.get_close_matches(name, names, n=3)
        hint = f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(names)}"
        super().__init__(f"unknown {kind} {name!r}; {hint}")


class DataError(SuiteError, ValueError):
    """Data breaks a rule of its format or of the suite."""


class ManifestError(DataError):
    """A manifest is missing, incomplete, of another schema, or breaks its counts."""


class MaskShapeError(DataError):
    """Sizes of a mask and its image, or of two masks, differ."""


class LicenceMissing(DataError):
    """A licence is required and there is none; the suite has no default licence."""


class ItemFault(DataError):
    """One item cannot be used; the stage turns this into a `Rejection`.

    Attributes:
        reason: fixed word of the rejects table.
        retryable: True when the same item may succeed later.
        tries: how often it was tried.
        due: UTC, ISO 8601, when it was put off to a stated time; "" otherwise.
    """

    due: str = ""

    def __init__(self, reason: Reason, detail: str, *, retryable: bool = False, tries: int = 1) -> None:
        super().__init__(detail)
        self.reason = reason
        self.retryable = retryable
        self.tries = tries


class ImageFault(ItemFault):
    """Bytes that do not decode to an acceptable picture."""


class FetchFault(ItemFault):
    """A URL or file could not be fetched."""


class ServiceError(SuiteError, RuntimeError):
    """A service outside the suite is away or refused; running again later may help."""

    exit_code = EXIT_TRY_AGAIN


class WeightsUnavailable(ServiceError):
    """No route leads to a model file; the text says which were tried and what to do."""


class ReviewServiceError(ServiceError):
    """The review server is away, refused a call or answered something unreadable."""


class HubError(ServiceError):
    """The Hugging Face Hub is away or refused a call."""


class WorkspaceBusy(ServiceError):
    """Another process is writing to the workspace."""
