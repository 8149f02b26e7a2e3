from __future__ import annotations

import stat
from pathlib import Path

import pytest

from penstock.client import login
from penstock.client.login import Login
from penstock.errors import HomeUnusable, InvalidInput, PenstockError
from penstock.settings import Settings

ARGUMENT, ENVIRONMENT, STORED = "http://argument", "http://environment", "http://stored"


def found(home: Path, argument: str | None = None, key: str | None = None, **settings: str) -> Login | None:
    return login.find(Settings(home=home, **settings), argument, key)  # type: ignore[arg-type]


class TestFind:
    def test_nothing_given_is_this_machine(self, tmp_path: Path) -> None:
        assert found(tmp_path) is None

    def test_arguments_over_environment_over_stored(self, tmp_path: Path) -> None:
        login.write(tmp_path, Login(STORED, "s"))
        assert found(tmp_path, ARGUMENT, "a", url=ENVIRONMENT, api_key="e") == Login(ARGUMENT, "a")
        assert found(tmp_path, url=ENVIRONMENT, api_key="e") == Login(ENVIRONMENT, "e")
        assert found(tmp_path) == Login(STORED, "s")

    def test_a_key_is_not_sent_to_another_server(self, tmp_path: Path) -> None:
        login.write(tmp_path, Login(STORED, "s"))
        assert found(tmp_path, ARGUMENT, url=ENVIRONMENT, api_key="e") == Login(ARGUMENT)
        assert found(tmp_path, url=ENVIRONMENT) == Login(ENVIRONMENT)

    def test_a_key_goes_with_its_own_server_however_named(self, tmp_path: Path) -> None:
        login.write(tmp_path, Login(STORED, "s"))
        assert found(tmp_path, STORED + "/") == Login(STORED + "/", "s")
        assert found(tmp_path, url=STORED) == Login(STORED, "s")

    def test_a_key_of_the_environment_alone_is_for_the_server_in_use(self, tmp_path: Path) -> None:
        login.write(tmp_path, Login(STORED, "s"))
        assert found(tmp_path, api_key="e") == Login(STORED, "e")
        assert found(tmp_path, ARGUMENT, api_key="e") == Login(ARGUMENT, "e")

    @pytest.mark.parametrize(("argument", "environment"), [("a", ""), (None, "e")])
    def test_a_key_without_a_server_is_refused(self, tmp_path: Path, argument: str | None, environment: str) -> None:
        with pytest.raises(InvalidInput, match="no server to use it on"):
            found(tmp_path, key=argument, api_key=environment)


class TestStored:
    def test_only_its_owner_can_read_it(self, tmp_path: Path) -> None:
        path = login.write(tmp_path / "new", Login(STORED, "secret"))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert login.read(tmp_path / "new") == Login(STORED, "secret")
        assert [one.name for one in path.parent.iterdir()] == ["login.json"]

    def test_forgetting(self, tmp_path: Path) -> None:
        login.write(tmp_path, Login(STORED, "s"))
        assert login.forget(tmp_path) is True
        assert login.forget(tmp_path) is False
        assert login.read(tmp_path) is None

    def test_a_damaged_file_says_what_to_do(self, tmp_path: Path) -> None:
        (tmp_path / "login.json").write_text("{")
        with pytest.raises(PenstockError, match="Log in again"):
            login.read(tmp_path)

    def test_a_home_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "home").write_text("")
        assert login.read(tmp_path / "home") is None
        with pytest.raises(HomeUnusable, match="cannot be stored"):
            login.write(tmp_path / "home", Login(STORED))
