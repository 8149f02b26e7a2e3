"""What a callback is, how it is signed, and when it is tried again."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from penstock.errors import InvalidInput
from penstock.model.callback import (
    LONGEST_PAUSE,
    PAUSES,
    Callback,
    CallbackState,
    Reply,
    after,
    checked_url,
    headers,
    host_of,
    parts_of,
    secret_text,
    shown,
)

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SENDING = Callback(
    id="c", run_id="r", url="https://example.com/x", state=CallbackState.SENDING, attempts=1, next_try=AT, created=AT
)


@pytest.mark.parametrize(
    "url",
    ["http://a", "https://example.com/a?b=c%20d", "http://[::1]:80/", "http://1.2.3.4:8080/x", "HTTP://Ex.com./a"],
)
def test_an_address_is_taken_as_it_is(url: str) -> None:
    assert checked_url(url) == url


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "characters"),
        ("http://a/" + "x" * 2000, "characters"),
        ("http://a/#", "fragment"),
        ("http://a/ b", "characters that no URL has"),
        ("http://a/\r\nHost: b", "characters that no URL has"),
        ("http://b\u00fccher.example/", "characters that no URL has"),
        ("http://a\\@b/", "characters that no URL has"),
        ("file:///etc/passwd", "Only http"),
        ("gopher://a/", "Only http"),
        ("//a/b", "Only http"),
        ("a.example/b", "Only http"),
        ("http://u:p@a/", "credentials"),
        ("http://@a/", "credentials"),
        ("http://", "host"),
        ("http://:80/", "host"),
        ("http://a:x/", "host"),
        ("http://a:70000/", "host"),
        ("http://a:0/", "host"),
        ("http://[::1/", "host"),
        ("http://-a/", "host"),
        ("http://[fe80::1%25eth0]/", "host"),
        ("http://" + "a" * 300 + "/", "host"),
    ],
)
def test_what_cannot_be_called_is_told_with_the_reason(url: str, told: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        checked_url(url)
    [mistake] = refused.value.errors
    assert mistake["pointer"] == "/callback_url"
    assert told in mistake["message"]


def test_an_address_is_taken_apart_in_one_way() -> None:
    assert parts_of("https://Ex.com/x")[1:] == ("ex.com", 443)
    assert parts_of("http://[::1]:81")[1:] == ("::1", 81)
    assert host_of("http://EX.com.:81/x") == "ex.com"


def test_the_query_of_an_address_is_not_shown() -> None:
    assert shown(replace(SENDING, url="http://a/b?token=t")).url == "http://a/b?..."
    assert shown(SENDING) == SENDING


def test_signatures_are_good_to_a_library_of_receivers_and_to_each_secret() -> None:
    old, new = secret_text(b"o" * 32), secret_text(b"n" * 32)
    body = '{"a": "\u00e9"}'.encode()
    made = headers("0197", datetime.now(UTC), body, [new, old])
    for secret in (old, new):
        assert Webhook(secret).verify(body, made) == {"a": "\u00e9"}
    for secret, given, sent in (
        (secret_text(b"x" * 32), made, body),
        (new, made, body + b" "),
        (new, {**made, "webhook-id": "other"}, body),
        (new, {**made, "webhook-timestamp": str(int(made["webhook-timestamp"]) + 1)}, body),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(sent, given)
    assert len(base64.b64decode(new.removeprefix("whsec_"))) == 32


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_the_end(status: int) -> None:
    done = after(SENDING, Reply(status=status), AT)
    assert (done.state, done.status, done.ended, done.next_try) == (CallbackState.DELIVERED, status, AT, None)


def test_gone_is_the_end_too() -> None:
    assert after(SENDING, Reply(status=410), AT).state is CallbackState.DEAD


def test_it_is_tried_again_at_growing_distances_and_then_given_up() -> None:
    now, one = AT, SENDING
    for pause in PAUSES:
        one = after(one, Reply(problem="away"), now)
        assert one.state is CallbackState.PENDING
        assert one.next_try is not None
        assert pause <= (one.next_try - now).total_seconds() <= 1.1 * pause
        now = one.next_try
        one = replace(one, state=CallbackState.SENDING, attempts=one.attempts + 1)
    given_up = after(one, Reply(status=500, problem="It answered 500."), now)
    assert (given_up.state, given_up.attempts, given_up.ended) == (CallbackState.DEAD, 7, now)
    assert len({after(SENDING, Reply(status=500), AT).next_try for _ in range(20)}) > 1  # scattered


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("120", 120),
        ("1", 5),
        (format_datetime(AT + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(AT - timedelta(days=1), usegmt=True), 5),
        ("9" * 30, LONGEST_PAUSE),
        ("soon", 5),
        ("-3", 5),
        ("\u0665", 5),
        ("", 5),
        (None, 5),
    ],
)
def test_a_receiver_may_ask_for_more_time(asked: str | None, seconds: float) -> None:
    put_off = after(SENDING, Reply(status=429, retry_after=asked), AT)
    assert put_off.next_try is not None
    assert seconds <= (put_off.next_try - AT).total_seconds() <= max(seconds, 5 * 1.1)
