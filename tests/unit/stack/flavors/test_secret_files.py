from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
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
    store.set("my-db", {"API_Token": "file"})
    monkeypatch.setenv("PENSTOCK_SECRET_MY_DB__API_TOKEN", "other")
    monkeypatch.setenv("PENSTOCK_SECRET_ONLY_HERE__A_KEY", "x")
    assert store.get("my-db") == {"user": "environment", "host": "h", "API_Token": "other"}
    assert store.get("only-here") == store.get("only_here") == {"a_key": "x"}
    assert store.names() == ["my-db", "only_here"]


def test_keys_that_several_set_at_once_are_all_kept(store: SecretFiles) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.set("db", {f"key{number}": "x"}), range(40)))
    assert len(store.get("db")) == 40


def test_a_full_disk_is_told_and_leaves_the_secret_as_it_was(
    store: SecretFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.set("db", {"a": "before"})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull):
        store.set("db", {"a": "after"})
    assert store.get("db") == {"a": "before"}
    assert [file.name for file in (tmp_path / "secrets").glob(".db*")] == []


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
    with pytest.raises(Unavailable):
        SecretFiles(tmp_path / "file" / "secrets").set("db", {"a": "b"})


def test_files_are_encrypted_with_a_key_that_lies_elsewhere(store: SecretFiles, tmp_path: Path) -> None:
    store.set("db", {"password": "correct horse battery"})
    folder = b"".join(file.read_bytes() for file in (tmp_path / "secrets").iterdir())
    assert b"correct" not in folder
    assert b"password" not in folder
    key = tmp_path / "secrets.key"
    assert (len(key.read_bytes()), key.stat().st_mode & 0o777) == (32, 0o600)
    first = (tmp_path / "secrets" / "db.json").read_bytes()
    store.set("db", {"password": "correct horse battery"})
    assert (tmp_path / "secrets" / "db.json").read_bytes() != first  # never twice under one nonce


def test_a_file_of_another_secret_or_another_key_opens_nothing(store: SecretFiles, tmp_path: Path) -> None:
    store.set("db", {"password": "one"})
    store.set("other", {"password": "two"})
    (tmp_path / "secrets" / "other.json").replace(tmp_path / "secrets" / "db.json")
    with pytest.raises(Unavailable, match="changed"):
        store.get("db")
    store.remove("db")
    store.set("db", {"password": "one"})
    (tmp_path / "secrets.key").write_bytes(b"k" * 32)
    with pytest.raises(Unavailable, match="another key"):
        store.get("db")
    for damaged in (b"", b"k" * 33):
        (tmp_path / "secrets.key").write_bytes(damaged)
        with pytest.raises(Unavailable, match="damaged"):
            store.get("db")
    (tmp_path / "secrets.key").unlink()
    with pytest.raises(Unavailable, match="cannot be read"):
        store.get("db")


def test_a_key_that_others_can_read_is_not_used(store: SecretFiles, tmp_path: Path) -> None:
    store.set("db", {"password": "one"})
    (tmp_path / "secrets.key").chmod(0o644)
    with pytest.raises(Unavailable, match="Others can read"):
        store.get("db")


def test_the_key_may_lie_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SECRETS_KEY_FILE", str(tmp_path / "elsewhere"))
    store = SecretFiles(tmp_path / "secrets")
    store.set("db", {"password": "one"})
    assert (tmp_path / "elsewhere").exists()
    assert store.get("db") == {"password": "one"}
    assert not (tmp_path / "secrets.key").exists()


def test_a_file_in_clear_of_an_earlier_release_is_read_and_encrypted_when_it_is_written(
    store: SecretFiles, tmp_path: Path
) -> None:
    (tmp_path / "secrets").mkdir(mode=0o700)
    file = tmp_path / "secrets" / "db.json"
    file.write_text('{"password": "one"}')
    file.chmod(0o600)
    assert store.get("db") == {"password": "one"}
    store.set("db", {"token": "two"})
    assert "one" not in file.read_text()
    assert store.get("db") == {"password": "one", "token": "two"}
