"""Where access tokens come from: the environment or a keyring, never a file of ours."""

from __future__ import annotations

import os

from dataset_tools.core.errors import ConfigError

TOKEN_VARIABLE = "LABEL_STUDIO_API_KEY"  # noqa: S105 - the name of a variable, not a secret
SERVICE = "maskset"


def variable_of(lane: str) -> str:
    """Environment variable with the token of one lane, such as LABEL_STUDIO_API_KEY_ANN; of all for ""."""
    return f"{TOKEN_VARIABLE}_{lane.upper()}" if lane else TOKEN_VARIABLE


def token_for(lane: str, url: str) -> str:
    """The token a lane's project is reached with; never stored or logged by us.

    The first of these that is set: the variables LABEL_STUDIO_API_KEY_<LANE> and LABEL_STUDIO_API_KEY, the
    keyring's entries "<url> <lane>" and "<url>" of the service "maskset". The keyring is an optional
    package; without it, or when it is locked or fails, the search simply ends.

    Args:
        lane: annotator, or "adjudication".
        url: of the Label Studio server, with or without a slash at its end.

    Raises:
        ConfigError: there is none; says how to set it.
    """
    variable = variable_of(lane)
    for name in (variable, TOKEN_VARIABLE):
        if token := os.environ.get(name, "").strip():
            return token
    server = url.rstrip("/")
    token, state = _from_keyring(f"{server} {lane}", server)
    if token:
        return token
    raise ConfigError(
        f"no access token for {lane!r}: set {variable} or {TOKEN_VARIABLE} to one of your Label Studio "
        "account (Account & Settings > Access Token; `review serve` prints one), or keep it in a keyring: "
        f'`keyring set {SERVICE} "{server} {lane}"` ({state})'
    )


def _from_keyring(*entries: str) -> tuple[str, str]:
    """The first entry that is set, or "", and what became of the search."""
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return "", "the package keyring is not installed"
    try:
        for entry in entries:
            if token := (keyring.get_password(SERVICE, entry) or "").strip():
                return token, ""
    except (KeyringError, RuntimeError, OSError) as error:
        return "", f"the keyring cannot be read: {type(error).__name__}"
    return "", "the keyring has no such entry"
