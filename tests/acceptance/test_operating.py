"""The server as its operators meet it: health, metrics, logs, TLS, a proxy, and leaving."""

from __future__ import annotations

import datetime
import ipaddress
import json
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.conftest import PIPELINES
from tests.acceptance.site_under_test import Site, eventually


def figures(site: Site, key: str) -> dict[str, float]:
    answer = httpx.get(f"{site.url}/metrics", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.text)
    return {f"{one.name}{sorted(one.labels.values())}": one.value for family in families for one in family.samples}


class TestHealth:
    def test_a_server_that_runs_is_alive_and_ready(self, site: Site) -> None:
        for path in ("/health", "/health/live", "/health/ready"):
            assert httpx.get(site.url + path).status_code == 200

    def test_one_without_room_is_alive_and_not_ready(self, new_site: Callable[..., Site]) -> None:
        site = new_site(PENSTOCK_MIN_DISK=str(1 << 60))
        assert httpx.get(f"{site.url}/health/live").status_code == 200
        answer = httpx.get(f"{site.url}/health/ready")
        assert answer.status_code == 503
        assert [one["pointer"] for one in answer.json()["errors"]] == ["/disk"]
        assert answer.headers["retry-after"]


class TestMetrics:
    def test_they_need_a_key_and_count_what_happens(self, fresh: Site) -> None:
        assert httpx.get(f"{fresh.url}/metrics").status_code == 401
        key = fresh.key("prometheus", "viewer")
        run = fresh.trigger("lab", Idempotency_Key="k")
        fresh.trigger("lab", Idempotency_Key="k")
        fresh.ended(run["id"])
        fresh.api.post("/run_templates/lab/runs", json={"parameters": {"nothing": 1}})
        found = figures(fresh, key)
        assert found["penstock_runs_started_total['lab']"] == 1
        assert found["penstock_runs_ended_total['completed', 'lab']"] == 1
        assert found["penstock_trigger_decisions_total['started']"] == 1
        assert found["penstock_trigger_decisions_total['refused']"] == 1
        assert (
            found["penstock_dispatch_latency_seconds_count[]"] >= 1
        )  # on a busy machine it may have been claimed again
        assert found["penstock_store_write_seconds_count[]"] > 3
        assert found["penstock_runs['queued']"] == 0
        route = "/api/v1/run_templates/{reference}/runs"
        assert found[f"penstock_http_request_duration_seconds_count['{route}', '202', 'POST']"] >= 1
        assert found[f"penstock_http_request_duration_seconds_count['{route}', '422', 'POST']"] == 1


def test_logs_are_json_with_the_ids_of_request_and_run(new_site: Callable[..., Site]) -> None:
    site = new_site(PENSTOCK_LOG_FORMAT="json", PENSTOCK_LOG_REQUESTS="true")
    assert site.api.get("/runs/none", headers={"X-Request-Id": "look-1"}).headers["x-request-id"] == "look-1"

    def told() -> list[dict[str, Any]]:
        lines = (site.home / "server.out").read_text().splitlines()
        return [
            one
            for one in (json.loads(line) for line in lines if line.startswith("{"))
            if one.get("request_id") == "look-1"
        ]

    [line] = eventually(told, what="the request is in the log")
    assert (line["status"], line["route"], line["method"]) == (404, "/api/v1/runs/{reference}", "GET")


class TestLeaving:
    def leave(self, site: Site) -> None:
        assert site.process is not None
        site.process.send_signal(signal.SIGTERM)

    def test_it_says_not_ready_first_and_answers_those_who_wait(self, new_site: Callable[..., Site]) -> None:
        site = new_site(PENSTOCK_DRAIN="2")
        site.template(f"{PIPELINES / 'lab.py'}:lab", "lab")
        run = site.trigger("lab", {"deed": "wait", "path": str(site.home / "wait")})
        site.reaches(run["id"], {"running"})
        key = site.key()
        answers: dict[str, Any] = {}

        def wait() -> None:
            with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
                answers["run"] = client.get(f"{site.url}/api/v1/runs/{run['id']}", headers={"Prefer": "wait=60"})

        def follow() -> None:
            with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
                headers = {"Accept": "text/event-stream"}
                with client.stream("GET", f"{site.url}/api/v1/runs/{run['id']}/events", headers=headers) as stream:
                    answers["following"] = True
                    answers["stream"] = "".join(stream.iter_text())

        threads = [threading.Thread(target=wait), threading.Thread(target=follow)]
        for thread in threads:
            thread.start()
        eventually(lambda: answers.get("following"), what="the stream has begun")
        begun = time.monotonic()
        self.leave(site)
        eventually(
            lambda: httpx.get(f"{site.url}/health/ready").status_code == 503, what="not ready while it still serves"
        )
        for thread in threads:
            thread.join(30)
        assert site.process is not None
        assert site.process.wait(30) == 0
        assert time.monotonic() - begun < 12
        assert (answers["run"].status_code, answers["run"].json()["state"]) == (200, "running")
        assert "event: run_running" in answers["stream"]
        assert "event: end" not in answers["stream"]
        site.restart()
        after = site.get(f"/runs/{run['id']}")
        assert after["state"] == "running", after
        (site.home / "wait.go").touch()
        assert site.ended(run["id"])["state"] == "completed"


class Authority:
    """A certificate authority for one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.path = folder / "ca.pem"
        certificate = self._signed(self.name, self.key, ca=True)
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, ca=False)
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        encoded = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        paths[1].write_bytes(encoded)
        return paths

    def _signed(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        addresses = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )


class TestTls:
    def test_the_port_speaks_nothing_else_and_the_owners_socket_stays_as_it_is(
        self, new_site: Callable[..., Site], tmp_path: Path
    ) -> None:
        authority = Authority(tmp_path)
        certificate, key = authority.issue("server")
        site = new_site(PENSTOCK_TLS_CERTIFICATE=str(certificate), PENSTOCK_TLS_KEY=str(key))
        assert site.url.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=str(authority.path))
        answer = httpx.get(f"{site.url}/health", verify=trusting)
        assert answer.json() == {"status": "ok"}
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        assert site.api.get("/info").status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(site.url.replace("https", "http") + "/health")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{site.url}/health", verify=old)

    def test_only_clients_with_a_certificate_get_in_where_that_is_asked(
        self, new_site: Callable[..., Site], tmp_path: Path
    ) -> None:
        authority = Authority(tmp_path)
        certificate, key = authority.issue("server")
        site = new_site(
            PENSTOCK_TLS_CERTIFICATE=str(certificate),
            PENSTOCK_TLS_KEY=str(key),
            PENSTOCK_TLS_CLIENT_CA=str(authority.path),
        )
        trusting = ssl.create_default_context(cafile=str(authority.path))
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"{site.url}/health", verify=trusting)
        trusting.load_cert_chain(*authority.issue("client"))
        assert httpx.get(f"{site.url}/health", verify=trusting).status_code == 200

    @pytest.mark.parametrize("wrong", ["missing", "garbage"])
    def test_files_that_do_not_fit_are_named_at_the_start(
        self, new_site: Callable[..., Site], tmp_path: Path, wrong: str
    ) -> None:
        path = tmp_path / "wrong.pem"
        if wrong == "garbage":
            path.write_text("nothing")
        with pytest.raises(AssertionError, match="TLS certificate"):
            new_site(PENSTOCK_TLS_CERTIFICATE=str(path))


class TestProxy:
    def test_under_a_path_of_its_own_addresses_lead_back_there(self, new_site: Callable[..., Site]) -> None:
        site = new_site(PENSTOCK_ROOT_PATH="/penstock", PENSTOCK_HOSTS="penstock.example")
        site.template(f"{PIPELINES / 'lab.py'}:lab", "lab")
        key = site.key()
        headers = {"Authorization": f"Bearer {key}", "Host": "penstock.example"}
        for prefix in ("", "/penstock"):  # a proxy may strip its path, or not
            answer = httpx.post(f"{site.url}{prefix}/api/v1/run_templates/lab/runs", json={}, headers=headers)
            assert answer.status_code == 202, answer.text
            assert answer.headers["location"] == f"/penstock/api/v1/runs/{answer.json()['id']}"
        schema = httpx.get(f"{site.url}/api/v1/openapi.json", headers=headers).json()
        assert schema["servers"] == [{"url": "/penstock"}]

    def test_a_limit_counts_callers_and_not_the_proxy_nor_made_up_headers(self, new_site: Callable[..., Site]) -> None:
        def statuses(site: Site, *forwarded: str) -> list[int]:
            return [httpx.get(f"{site.url}/health", headers={"X-Forwarded-For": one}).status_code for one in forwarded]

        limit = {"PENSTOCK_RATE_PER_ADDRESS": "0.01", "PENSTOCK_RATE_BURST": "200"}
        behind = new_site(PENSTOCK_TRUSTED_PROXIES="127.0.0.0/8", **limit)
        assert statuses(behind, "1.1.1.1", "1.1.1.1", "1.1.1.1", "2.2.2.2") == [200, 200, 429, 200]
        open_to_all = new_site(**limit)
        assert statuses(open_to_all, "1.1.1.1", "2.2.2.2", "3.3.3.3") == [200, 200, 429]
        assert open_to_all.api.get("/info").status_code == 200


def test_a_body_that_drips_is_ended_and_holds_up_nobody(site: Site) -> None:
    """Fifty of them: each connection costs nothing while it drips."""
    host, port = site.url.removeprefix("http://").split(":")
    drips = []
    for _ in range(50):
        drip = socket.create_connection((host, int(port)), timeout=10)
        drip.sendall(b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
        drips.append(drip)
    taken = []
    for _ in range(20):
        begun = time.monotonic()
        assert httpx.get(f"{site.url}/health").status_code == 200
        taken.append(time.monotonic() - begun)
    for drip in drips:
        drip.close()
    assert sorted(taken)[10] < 0.5


def test_what_is_old_goes_by_command_with_a_rehearsal_first(new_site: Callable[..., Site]) -> None:
    site = new_site(PENSTOCK_KEEP_RUNS="1.5", PENSTOCK_KEEP_LOGS="0.5")
    site.template(f"{PIPELINES / 'lab.py'}:lab", "lab")
    run = site.ended(site.trigger("lab", {"deed": "print"})["id"])
    assert site.lines(run["id"])

    def swept(*options: str) -> dict[str, Any]:
        return dict(json.loads(site.penstock("server", "sweep", *options, "--output", "json").stdout))

    eventually(lambda: swept("--dry-run")["logs"] == 1, what="the output is old")
    eventually(lambda: swept("--dry-run")["runs"] == 1, what="the run is old")
    assert site.get(f"/runs/{run['id']}")["state"] == "completed"
    assert swept()["runs"] == 1
    assert site.api.get(f"/runs/{run['id']}").status_code == 404
    assert swept() == {**swept("--dry-run"), "dry_run": False}
    assert site.ended(site.trigger("lab")["id"])["state"] == "completed"
