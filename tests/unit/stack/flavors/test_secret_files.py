from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import InvalidInput, NotFound, StorageFull, Unavailable
from penstock.model.stack import Component
from penstock.stack.contracts import SecretStore
from penstock.stack.flavors.secret_files import SecretFiles
from penstock.stack.registry import build


@pytest.fixture
def store(tmp_path: Path) -> SecretFiles:
    return SecretFiles(tmp_path / "secrets")


def test_it_is_built_as_a_component(tmp_path: Path) -> None:
    store = build("secret_store", Component(flavor="file", options={"path": str(tmp_path)}))
    assert isinstance(store, SecretStore)


def test_keys_are_added_and_replaced(store: SecretFiles, tmp_path: Path) -> None:
    store.set("db", {"user": "u", "password": "p"})
    store.set("db", {"password": "q"})
    assert store.get("db") == {"user": "u", "password": "q"}
    assert store.names() == ["db"]
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    store.remove("db")
    assert store.names() == []
    with pytest.raises(NotFound):
        store.remove("db")


def test_the_environment_goes_first(store: SecretFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    store.set("my-db", {"user": "file", "host": "h"})
    monkeypatch.setenv("PENSTOCK_SECRET_MY_DB__USER", "environment")
    assert store.get("my-db") == {"user": "environment", "host": "h"}


def test_what_there_is_not_is_told_with_what_is_near(store: SecretFiles) -> None:
    store.set("database", {"a": "b"})
    with pytest.raises(NotFound) as caught:
        store.get("databse")
    assert caught.value.errors[0]["did_you_mean"] == "database"


@pytest.mark.parametrize("name", ["", "../up", "a b", "a/b", "1a", "x" * 65])
def test_names_lead_nowhere_else(store: SecretFiles, name: str) -> None:
    with pytest.raises(InvalidInput):
        store.get(name)
    with pytest.raises(InvalidInput):
        store.set(name, {"a": "b"})


def test_a_file_that_others_can_read_or_that_is_damaged_is_not_used(store: SecretFiles, tmp_path: Path) -> None:
    store.set("db", {"a": "hidden-value"})
    file = tmp_path / "secrets" / "db.json"
    file.chmod(0o640)
    with pytest.raises(Unavailable, match="Others can read"):
        store.get("db")
    file.chmod(0o600)
    file.write_text('{"a": "hidden-value"')
    with pytest.raises(Unavailable) as caught:
        store.get("db")
    assert "hidden-value" not in str(caught.value)
    for other in ("[]", '{"a": 1}'):
        file.write_text(other)
        with pytest.raises(Unavailable):
            store.get("db")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFull):
        SecretFiles(tmp_path / "file" / "secrets").set("db", {"a": "b"})
