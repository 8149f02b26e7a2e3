"""How an upload goes on where the service says it stands, and how accounts are told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from penstock.stack.flavors.object_services import GCS, Azure, Location, _GCSUpload


class Keeps(GCS):
    """Google's service, as far as uploads go: it keeps `at_most` bytes of each request, and is strict about where one begins."""

    def __init__(self, at_most: int) -> None:
        self.at_most = at_most
        self.kept = b""
        self.lose = 0

    def call(self, method: str, path: str, *parts: str, **arguments: Any) -> tuple[Mapping[str, str], bytes]:
        span, _, size = arguments["headers"]["Content-Range"].removeprefix("bytes ").partition("/")
        data = arguments["data"].read()
        if span == "*":
            assert data == b""
        else:
            start, end = map(int, span.split("-"))
            assert (start, len(data)) == (len(self.kept), end - start + 1)
            self.kept += data[: self.at_most]
        if self.lose:
            self.lose -= 1
            raise ConnectionResetError
        if len(self.kept) == int(size):
            return {}, b"{}"
        return ({"Range": f"bytes=0-{len(self.kept) - 1}"} if self.kept else {}), b""


@pytest.mark.parametrize("at_most", [1, 3, 4, 100])
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_google_keeps_less_than_it_was_sent(at_most: int, lost: int) -> None:
    service = Keeps(at_most)
    upload = _GCSUpload(service, "address", 10)
    for offset in (0, 4, 8):
        part = b"0123456789"[offset : offset + 4]
        service.lose = lost
        for _ in range(lost):
            with pytest.raises(ConnectionResetError):
                upload.part(offset, part)
        upload.part(offset, part)
    upload.commit()
    assert service.kept == b"0123456789"


def test_google_keeps_nothing() -> None:
    with pytest.raises(ConnectionError, match="has 0 bytes of 4"):
        _GCSUpload(Keeps(0), "address", 10).part(0, b"0123")


@pytest.mark.parametrize(
    ("place", "account"),
    [
        (Location("az", "c"), {"anon": False}),
        (Location("az", "c", anonymous=True), {"anon": True}),
        (Location("az", "c", credentials={"sas_token": "SAS"}), {"sas_token": "?sig=1", "anon": False}),
        (Location("az", "c", credentials={"connection_string": "STRING"}), {"connection_string": "whole"}),
        (
            Location("az", "c", "https://mine.blob.core.windows.net"),
            {"account_name": "mine", "account_host": "mine.blob.core.windows.net", "anon": False},
        ),
        (
            Location("az", "c", "https://mine.blob.core.windows.net/", {"sas_token": "SAS"}),
            {
                "connection_string": "DefaultEndpointsProtocol=https;BlobEndpoint=https://mine.blob.core.windows.net;"
                "SharedAccessSignature=sig=1;"
            },
        ),
        (
            Location("az", "c", "http://127.0.0.1:1/dev", {"account_key": "KEY"}),
            {
                "connection_string": "DefaultEndpointsProtocol=http;BlobEndpoint=http://127.0.0.1:1/dev;"
                "AccountName=dev;AccountKey=key==;"
            },
        ),
    ],
)
def test_an_account_of_azure(monkeypatch: pytest.MonkeyPatch, place: Location, account: dict[str, Any]) -> None:
    monkeypatch.setenv("SAS", "?sig=1")
    monkeypatch.setenv("KEY", "key==")
    monkeypatch.setenv("STRING", "whole")
    assert Azure._account(place) == account


def test_google_takes_a_key_as_text_or_as_a_file(tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text("{}")
    assert GCS._token({"service_account": ' {"type": "service_account"}\n'}) == {"type": "service_account"}
    assert GCS._token({"service_account": str(key)}) == str(key)
    assert GCS._token({}) == "google_default"
