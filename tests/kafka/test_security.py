"""Settings that do not let us into a secured Apache Kafka: the error names the one that is wrong, and no secret."""

from __future__ import annotations

import time

import pytest

from monitor.config import KafkaConfig
from monitor.errors import BrokerError, BrokerUnavailableError
from monitor.service.assembly import open_source
from monitor.testing import launcher
from tests.cluster import Cluster
from tests.kafka import certificates
from tests.kafka.apache import start_apache_kafka, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

PASSWORD = "correct-horse-battery"
DOORS = {"TLS": "SSL", "MUTUAL": "SSL", "ELSEWHERE": "SSL", "LOGIN": "SASL_PLAINTEXT", "BOTH": "SASL_SSL"}


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """Addresses of every door, and the files that open them."""
    folder = tmp_path_factory.mktemp("tls")
    ca, stranger = certificates.authority(folder, "ca"), certificates.authority(folder, "stranger")
    broker = certificates.keystore(*certificates.signed(folder, "broker", ca, f"IP:{launcher.HOST}"))
    elsewhere = certificates.keystore(*certificates.signed(folder, "elsewhere", ca, "DNS:kafka.example.org"))
    ports = {name: launcher.free_port() for name in DOORS}
    settings = {"sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256"}
    for name, protocol in DOORS.items():
        prefix = f"listener.name.{name.lower()}"
        if protocol.endswith("SSL"):
            store = elsewhere if name == "ELSEWHERE" else broker
            settings |= {f"{prefix}.ssl.keystore.type": "PEM", f"{prefix}.ssl.keystore.location": str(store)}
            settings |= {f"{prefix}.ssl.truststore.type": "PEM", f"{prefix}.ssl.truststore.location": str(ca)}
        if protocol.startswith("SASL"):
            module = "org.apache.kafka.common.security"
            users = f'user_monitor="{PASSWORD}"'
            settings[f"{prefix}.plain.sasl.jaas.config"] = f"{module}.plain.PlainLoginModule required {users};"
            settings[f"{prefix}.scram-sha-256.sasl.jaas.config"] = f"{module}.scram.ScramLoginModule required;"
    settings["listener.name.mutual.ssl.client.auth"] = "required"
    doors = {name: (protocol, ports[name]) for name, protocol in DOORS.items()}
    scram = f"SCRAM-SHA-256=[name=monitor,password={PASSWORD}]"
    with start_apache_kafka(doors=doors, overrides=settings, scram=scram) as kafka:
        launcher.create_topic(kafka.address, "secured", 1)
        addresses = {name: f"{launcher.HOST}:{port}" for name, port in ports.items()}
        ours, theirs = certificates.signed(folder, "client", ca, "DNS:client"), None
        theirs = certificates.signed(folder, "intruder", stranger, "DNS:intruder")
        files = {"CA": ca, "STRANGER": stranger, "CERT": ours[0], "KEY": ours[1], "BAD": theirs[0], "BADKEY": theirs[1]}
        yield {**addresses, "OPEN": kafka.address, **{name: str(path) for name, path in files.items()}}


@pytest.fixture(params=["kafka-python", "confluent-kafka"])
def client(request):
    if request.param == "confluent-kafka":
        pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    return request.param


def config(secured, client, door, **settings):
    named = {k: secured.get(v, v) for k, v in settings.items()}
    return KafkaConfig(
        bootstrap_servers=secured[door], topic="secured", group=f"g-{time.monotonic_ns()}", client=client,
        start="earliest", session_timeout_ms=6000, heartbeat_interval_ms=300, **named,
    )  # fmt: skip


USER = {"sasl_username": "monitor", "sasl_password": PASSWORD}
TLS = {"security_protocol": "SSL", "ssl_cafile": "CA"}
LOGIN = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", **USER}
BOTH = {"security_protocol": "SASL_SSL", "ssl_cafile": "CA", "sasl_mechanism": "SCRAM-SHA-256", **USER}

GOOD = {
    "tls": ("TLS", TLS),
    "a client certificate": ("MUTUAL", {**TLS, "ssl_certfile": "CERT", "ssl_keyfile": "KEY"}),
    "a login": ("LOGIN", LOGIN),
    "a login over tls": ("BOTH", BOTH),
}

BAD = {
    "plaintext to a TLS port": ("TLS", {}, r"speaks TLS, but kafka\.security_protocol is PLAINTEXT: set it to SSL"),
    "TLS to a plaintext port": ("OPEN", TLS, r"does not speak TLS, but .*_protocol is SSL: set it to PLAINTEXT"),
    "an unknown CA": ("TLS", {**TLS, "ssl_cafile": "STRANGER"}, r"CA that kafka\.ssl_cafile .* does not hold"),
    "the system's CAs": ("TLS", {"security_protocol": "SSL"}, r"CA that the certificates of this system does not hold"),
    "another host name": ("ELSEWHERE", TLS, r"is for another name .*kafka\.bootstrap_servers"),
    "no client certificate": ("MUTUAL", TLS, r"demands a certificate .*kafka\.ssl_certfile and kafka\.ssl_keyfile"),
    "a stranger's certificate": (
        "MUTUAL", {**TLS, "ssl_certfile": "BAD", "ssl_keyfile": "BADKEY"}, r"refuses our certificate .*ssl_certfile",
    ),
    "no CA file": ("TLS", {**TLS, "ssl_cafile": "/nowhere.pem"}, r"kafka\.ssl_cafile /nowhere\.pem cannot be read"),
    "the key of another": (
        "MUTUAL", {**TLS, "ssl_certfile": "CERT", "ssl_keyfile": "BADKEY"}, r"ssl_keyfile .* cannot be used",
    ),
    "no login": ("LOGIN", {}, r"wants a login, but .* PLAINTEXT: set it to SASL_PLAINTEXT.*PLAIN, SCRAM-SHA-256"),
    "no login over TLS": ("BOTH", TLS, r"wants a login, but .* SSL: set it to SASL_SSL"),
    "no mechanism": ("LOGIN", {**LOGIN, "sasl_mechanism": ""}, r"kafka\.sasl_mechanism is empty"),
    "a mechanism not offered": (
        "LOGIN", {**LOGIN, "sasl_mechanism": "SCRAM-SHA-512"}, r"does not offer kafka\.sasl_mechanism SCRAM-SHA-512",
    ),
    "a login nobody asked for": ("OPEN", LOGIN, r"wants no login, but .*: set it to PLAINTEXT"),
    "a wrong password": ("LOGIN", {**LOGIN, "sasl_password": "wrong-guess"}, r"refuses the login of user 'monitor'"),
    "a wrong password of SCRAM": (
        "BOTH", {**BOTH, "sasl_password": "wrong-guess"}, r"refuses the login of user 'monitor' .*kafka\.sasl_password",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", GOOD)
def test_the_right_settings_read_the_topic(secured, client, kind):
    door, settings = GOOD[kind]
    source = open_source(config(secured, client, door, **settings))
    try:
        until = time.monotonic() + 30
        while not source.assigned() and time.monotonic() < until:
            source.poll(100, 10)
        assert source.assigned()
        assert source.trouble() == ""
    finally:
        source.close()


@pytest.mark.parametrize("kind", BAD)
def test_a_wrong_setting_is_named_and_no_secret_is(secured, client, kind):
    door, settings, words = BAD[kind]
    with pytest.raises(BrokerError, match=words) as caught:
        open_source(config(secured, client, door, **settings))
    assert not isinstance(caught.value, BrokerUnavailableError)
    assert "\n" not in str(caught.value)
    assert "wrong-guess" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_a_worker_with_a_wrong_password_ends_with_one_line_that_says_so(secured, client, tmp_path):
    with launcher.start_store() as redis:
        url = f"redis://{redis.address}/0"
        c = Cluster(secured["OPEN"], url, tmp_path, f"wrong-{client}", 1, kafka={**LOGIN, "client": client})
        try:
            text = c.path.read_text().replace(secured["OPEN"], secured["LOGIN"]).replace(PASSWORD, "wrong-guess")
            c.path.write_text(text)
            worker = c.start_worker()
            assert worker.wait(60) == 1
            c.workers.remove(worker)
            said = "\n".join(p.read_text(errors="replace") for p in tmp_path.glob("worker-*.log"))
            assert "refuses the login of user 'monitor'" in said
            assert "wrong-guess" not in said
        finally:
            c.stop()
