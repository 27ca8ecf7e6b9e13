from __future__ import annotations

import sys
from collections.abc import Iterator

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyring.errors import KeyringLocked

from annotation.tokens import SERVICE, TOKEN_VARIABLE, token_for, variable_of
from dataset_tools.core.errors import EXIT_USAGE, ConfigError

URL = "http://127.0.0.1:8080"


class InMemory(KeyringBackend):
    priority = 1

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.entries[service, username]


class Locked(InMemory):
    def get_password(self, service: str, username: str) -> str | None:
        raise KeyringLocked("asked for a password and got none")


@pytest.fixture(autouse=True)
def no_tokens(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (TOKEN_VARIABLE, variable_of("ann"), variable_of("bob")):
        monkeypatch.delenv(name, raising=False)
    before = keyring.get_keyring()
    keyring.set_keyring(null.Keyring())
    yield
    keyring.set_keyring(before)


def test_a_lane_has_a_variable_of_its_own_before_the_one_for_all(monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, " all \n")
    assert token_for("ann", URL) == "all"
    monkeypatch.setenv("LABEL_STUDIO_API_KEY_ANN", "ann's")
    assert token_for("ann", URL) == "ann's"
    assert token_for("bob", URL) == "all"
    monkeypatch.setenv("LABEL_STUDIO_API_KEY_ANN", "  ")
    assert token_for("ann", URL) == "all"
    assert variable_of("") == TOKEN_VARIABLE


def test_the_keyring_is_asked_for_the_lane_and_then_for_the_server(monkeypatch):
    keyring.set_keyring(InMemory())
    keyring.set_password(SERVICE, URL, "server's")
    assert token_for("ann", f"{URL}/") == "server's"
    keyring.set_password(SERVICE, f"{URL} ann", "ann's")
    assert token_for("ann", URL) == "ann's"
    assert token_for("bob", URL) == "server's"
    with pytest.raises(ConfigError):
        token_for("ann", "http://elsewhere:8080")
    monkeypatch.setenv(TOKEN_VARIABLE, "environment's")
    assert token_for("ann", URL) == "environment's"


@pytest.mark.parametrize(
    ("backend", "says"),
    [
        (null.Keyring(), "has no such entry"),
        (fail.Keyring(), "cannot be read: NoKeyringError"),
        (Locked(), "cannot be read: KeyringLocked"),
    ],
)
def test_a_keyring_that_is_empty_missing_or_locked_ends_the_search(backend, says):
    keyring.set_keyring(backend)
    with pytest.raises(ConfigError, match=says) as caught:
        token_for("ann", URL)
    assert caught.value.exit_code == EXIT_USAGE
    for hint in ("LABEL_STUDIO_API_KEY_ANN", TOKEN_VARIABLE, f'keyring set maskset "{URL} ann"'):
        assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_package_ends_the_search(monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(ConfigError, match="not installed"):
        token_for("ann", URL)


def test_tokens_are_never_logged(monkeypatch, caplog):
    keyring.set_keyring(InMemory())
    keyring.set_password(SERVICE, URL, "secret-one")
    with caplog.at_level("DEBUG"):
        token_for("ann", URL)
        monkeypatch.setenv(TOKEN_VARIABLE, "secret-two")
        token_for("ann", URL)
    assert "secret" not in caplog.text
