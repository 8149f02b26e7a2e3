"""Tokens of other issuers: which are taken, under which conditions, and what is asked of whom to find out."""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from penstock.control import accounts, trusts
from penstock.control.issuers import PAUSE, Issuers
from penstock.errors import InvalidInput, Unauthenticated
from penstock.model.trust import is_safe, matches
from tests.unit.control.conftest import House

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WEAK = rsa.generate_private_key(public_exponent=65537, key_size=1024)


def public(key: Any, kid: str) -> dict[str, Any]:
    kinds = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    kind = next((made for base, made in kinds.items() if isinstance(key, base)), OKPAlgorithm)
    found = kind.to_jwk(key.public_key(), as_dict=True)  # type: ignore[call-overload]
    return {**found, "kid": kid, "use": "sig"}


class Issuer:
    """An issuer on this machine: what it says of itself can be changed, and it counts how often it is asked."""

    def __init__(self) -> None:
        self.keys = [public(RSA, "rsa"), public(EC, "ec"), public(ED, "ed"), public(WEAK, "weak")]
        self.told: dict[str, Any] = {}
        self.asked: list[str] = []
        self.answer: tuple[int, bytes] | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                about = {"issuer": outer.url, "jwks_uri": f"{outer.url}/keys", **outer.told}
                body = json.dumps(about if "openid" in self.path else {"keys": outer.keys}).encode()
                status, body = outer.answer or (200, body)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", f"{outer.url}/keys")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def token(self, key: Any = RSA, alg: str = "RS256", kid: str | None = "rsa", **claims: Any) -> str:
        at = int(time.time())
        content = {"iss": self.url, "aud": "penstock", "sub": "repo:me/models:ref:main", "iat": at, "exp": at + 300}
        content |= {"repository": "me/models", "ref": "refs/heads/main", "jti": f"{time.time_ns()}"}
        content |= claims
        said = {name: value for name, value in content.items() if value is not None}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a key that is too short is what is tried
            return jwt.encode(said, key, algorithm=alg, headers={"kid": kid} if kid else {})


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.close()


def trust(house: House, of: Issuer, name: str = "github", account: str = "ci", **said: Any) -> None:
    wanted = {"issuer": of.url, "audience": "penstock", "conditions": {"repository": "me/models"}, **said}
    with house.here.db.write() as session:
        try:
            accounts.get(session, account)
        except LookupError:
            accounts.create(session, name=account, grants={"train": "operator"}, role="none")
        trusts.create(session, trusts.Wish(name=name, account=account, **wanted))


@pytest.mark.parametrize(
    ("key", "alg", "kid"), [(RSA, "RS256", "rsa"), (RSA, "PS512", "rsa"), (EC, "ES256", "ec"), (ED, "EdDSA", "ed")]
)
def test_a_token_that_fits_stands_for_its_account(house: House, issuer: Issuer, key: Any, alg: str, kid: str) -> None:
    trust(house, issuer)
    who = trusts.authenticate(house.here, issuer.token(key, alg, kid))
    assert (who.name, who.kind, set(who.grants)) == ("ci", "service", {"train"})
    assert accounts.authenticate(house.here, trusts.log_in(house.here, issuer.token(key, alg, kid))).name == "ci"


@pytest.mark.parametrize(
    "wrong",
    [
        {"aud": "somebody"},
        {"aud": None},
        {"aud": ["a", "b"]},
        {"iss": "http://127.0.0.1:1"},
        {"exp": int(time.time()) - 3600, "iat": int(time.time()) - 3900},
        {"exp": None},
        {"iat": None},
        {"nbf": int(time.time()) + 3600},
        {"iat": int(time.time()) + 3600, "exp": int(time.time()) + 3700},
        {"exp": int(time.time()) + 7200},  # longer than the trust allows
        {"repository": "me/models-evil"},
        {"repository": "ME/MODELS"},
        {"repository": None},
        {"repository": {"me/models": 1}},
        {"key": OTHER},
        {"key": OTHER, "kid": None},
        {"kid": "nobody"},
        {"kid": "../../dev/null"},
        {"kid": "ec"},  # a key of another kind
        {"key": WEAK, "kid": "weak"},
        {"key": "s" * 64, "alg": "HS256"},
        {"key": None, "alg": "none"},
    ],
)
def test_every_other_token_is_refused(house: House, issuer: Issuer, wrong: dict[str, Any]) -> None:
    trust(house, issuer)
    said = dict(wrong)
    options = {name: said.pop(name) for name in ("key", "alg", "kid") if name in said}
    with pytest.raises(Unauthenticated):
        trusts.authenticate(house.here, issuer.token(**options, **said))


def test_the_public_key_is_no_secret_that_both_share(house: House, issuer: Issuer) -> None:
    """The old mistake: HS256 with the PEM of the public key."""
    import base64  # here: for this forgery alone
    import hashlib
    import hmac

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    trust(house, issuer)
    _, payload, _ = issuer.token().split(".")
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"rsa","typ":"JWT"}').decode().rstrip("=")
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signature = hmac.new(pem, f"{header}.{payload}".encode(), hashlib.sha256).digest()
    forged = f"{header}.{payload}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
    with pytest.raises(Unauthenticated):
        trusts.authenticate(house.here, forged)


def test_nobody_is_asked_for_keys_who_is_not_trusted(house: House, issuer: Issuer) -> None:
    with pytest.raises(Unauthenticated):
        trusts.authenticate(house.here, issuer.token())
    assert issuer.asked == []


def test_keys_are_kept_and_looked_for_again_when_a_new_one_signs(house: House, issuer: Issuer) -> None:
    clock = [0.0]
    house.here.__dict__["issuers"] = Issuers(lambda: clock[0])
    trust(house, issuer)
    for _ in range(5):
        trusts.authenticate(house.here, issuer.token())
    assert len(issuer.asked) == 2  # the description, and the keys
    issuer.keys = [public(OTHER, "new")]
    with pytest.raises(Unauthenticated):  # within the pause nobody is asked again
        trusts.authenticate(house.here, issuer.token(OTHER, kid="new"))
    clock[0] += PAUSE
    assert trusts.authenticate(house.here, issuer.token(OTHER, kid="new")).name == "ci"
    assert len(issuer.asked) == 4
    with pytest.raises(Unauthenticated):  # rotated out
        trusts.authenticate(house.here, issuer.token())
    for number in range(20):
        with pytest.raises(Unauthenticated):
            trusts.authenticate(house.here, issuer.token(OTHER, kid=f"made-up-{number}"))
    assert len(issuer.asked) == 4


def test_an_issuer_that_is_away_for_an_hour_is_not_missed(house: House, issuer: Issuer) -> None:
    clock = [0.0]
    house.here.__dict__["issuers"] = Issuers(lambda: clock[0])
    trust(house, issuer)
    trusts.authenticate(house.here, issuer.token())
    issuer.answer = (503, b"")
    clock[0] = 2 * 3600
    assert trusts.authenticate(house.here, issuer.token()).name == "ci"
    clock[0] = 30 * 3600
    with pytest.raises(Unauthenticated):
        trusts.authenticate(house.here, issuer.token())


@pytest.mark.parametrize(
    ("told", "answer"),
    [
        ({"issuer": "https://somebody.example"}, None),
        ({"jwks_uri": "http://example.com/keys"}, None),
        ({"jwks_uri": "file:///etc/passwd"}, None),
        ({"jwks_uri": None}, None),
        ({}, (302, b"")),
        ({}, (200, b"no json")),
        ({}, (200, b"[]")),
        ({}, (200, b" " * 300_000)),
        ({}, (404, b"{}")),
    ],
)
def test_an_issuer_that_does_not_say_who_it_is_is_not_believed(
    house: House, issuer: Issuer, told: dict[str, Any], answer: Any
) -> None:
    trust(house, issuer)
    issuer.told, issuer.answer = told, answer
    with pytest.raises(Unauthenticated):
        trusts.authenticate(house.here, issuer.token())


def test_a_token_for_single_use_is_exchanged_once(house: House, issuer: Issuer) -> None:
    trust(house, issuer, single_use=True)
    token = issuer.token()
    with pytest.raises(Unauthenticated, match="exchanged"):
        trusts.authenticate(house.here, token)
    assert accounts.authenticate(house.here, trusts.log_in(house.here, token)).name == "ci"
    with pytest.raises(Unauthenticated, match="before"):
        trusts.log_in(house.here, token)
    with pytest.raises(Unauthenticated):
        trusts.log_in(house.here, issuer.token(jti=None))


def test_who_is_trusted_no_more_is_out_at_once(house: House, issuer: Issuer) -> None:
    trust(house, issuer)
    token = issuer.token()
    ours = trusts.log_in(house.here, token)
    with house.here.db.write() as session:
        accounts.change(session, "ci", accounts.Change(active=False))
    for credential in (lambda: accounts.authenticate(house.here, ours), lambda: trusts.authenticate(house.here, token)):
        with pytest.raises(Unauthenticated):
            credential()
    with house.here.db.write() as session:
        accounts.change(session, "ci", accounts.Change(active=True))
        from penstock.store import trusts as stored  # here: for this test alone

        stored.remove(session, stored.get(session, "github").id)
    for credential in (lambda: accounts.authenticate(house.here, ours), lambda: trusts.authenticate(house.here, token)):
        with pytest.raises(Unauthenticated):
            credential()


def test_different_conditions_are_different_accounts(house: House, issuer: Issuer) -> None:
    trust(house, issuer, "main", "deployer", conditions={"repository": "me/*", "ref": "refs/heads/main"})
    trust(house, issuer, "any", "reader", conditions={"repository": "me/*"})
    assert trusts.authenticate(house.here, issuer.token()).name == "deployer"
    assert trusts.authenticate(house.here, issuer.token(ref="refs/heads/x")).name == "reader"


@pytest.mark.parametrize(
    "wrong",
    [
        {"conditions": {}},
        {"conditions": {"sub": "*"}},
        {"conditions": {"sub": ""}},
        {"conditions": {"aud": "x"}},
        {"issuer": "http://example.com"},
        {"issuer": "ftp://example.com"},
        {"issuer": "https://user@example.com"},
        {"issuer": "https://example.com?x"},
        {"issuer": "example.com"},
        {"issuer": "https://[::1"},
        {"max_lifetime": 0},
        {"max_lifetime": 10**6},
        {"name": "../x"},
    ],
)
def test_what_would_trust_everybody_is_refused(house: House, issuer: Issuer, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        trust(house, issuer, **wrong)


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("a*c", "abbbc", True),
        ("a*c", "abbb", False),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
        ("x", ["y", "x"], True),
        ("x", [["x"]], False),
        ("true", True, True),
        ("1", 1, True),
        ("1", 1.0, False),
        ("None", None, False),
        ("a*", "a\nb", True),
        ("main", "main\n", False),
    ],
)
def test_patterns(pattern: str, value: Any, fits: bool) -> None:
    assert matches(pattern, value) is fits


def test_keys_of_an_issuer_elsewhere_are_not_on_this_machine() -> None:
    assert is_safe("https://example.com/keys", of="https://example.com")
    for url in ("http://example.com/keys", "https://localhost/keys", "https://127.0.0.1/keys", "http://[::1]/keys"):
        assert not is_safe(url, of="https://example.com")
