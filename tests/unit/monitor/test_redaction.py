"""Whatever form a library writes a secret in, it does not reach people."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import Redactor, secrets_of, validate

SECRETS = ["hunter2", "S3cret #1", "p@ss/w:rd?&", "qu\"o\\te's", "pässwörd", "line\nbreak", "a+b c", "%41%42cd"]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_hidden_in_every_form_that_libraries_write(secret):
    hide = Redactor([secret])
    raw = secret.encode()
    forms = [secret, repr(secret)[1:-1], repr(raw), json.dumps({"p": secret}), quote(secret), quote(secret, safe="")]
    forms += [
        quote_plus(secret),
        re.sub("%..", lambda m: m[0].lower(), quote(secret, safe="")),
        raw.hex(),
        str({"sasl_password": secret}),
    ]
    for form in forms:
        hidden = hide(f"before {form} after")
        assert "***" in hidden
        assert all(part not in hidden for part in (secret, repr(secret)[1:-1], quote(secret, safe=""), raw.hex()))


@given(st.binary(max_size=9), st.sampled_from(SECRETS), st.binary(max_size=9))
def test_the_base64_of_a_longer_text_does_not_give_the_secret_in_it_away(before, secret, after):
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        written = encode(before + secret.encode() + after).decode()
        hidden = Redactor([secret])(f"Authorization: Basic {written}")
        assert written not in hidden
        assert "***" in hidden


def test_the_longest_secret_goes_first_so_that_no_rest_of_it_stays():
    assert Redactor(["hunter", "hunter2-and-more"])("x hunter2-and-more y hunter z") == "x *** y *** z"


def test_a_very_short_secret_is_hidden_as_a_word_and_numbers_stay_readable():
    assert Redactor(["7"])("password 7, offset 177") == "password ***, offset 177"


def test_without_secrets_nothing_is_changed():
    assert Redactor(["", ""])("as it is") == "as it is"


def test_every_secret_of_the_settings_is_known_those_inside_urls_too():
    config = validate(
        {
            "model": {"artifact": "a"},
            "kafka": {"bootstrap_servers": "b", "topic": "t", "sasl_password": "sasl1", "ssl_key_password": "sslkey1"},
            "redis": {"url": "redis://u:pw%2F1@host/5?password=query1", "key_password": "rediskey1"},
            "delivery": {
                "webhook_url": "https://tok3n@hooks.example/services/T0001/abcdef123?key=querytoken",
                "alertmanager_url": "http://user1:pw2@am:9093/base",
            },
        }
    )
    hide = Redactor(secrets_of(config))
    for secret in ("sasl1", "sslkey1", "pw%2F1", "pw/1", "query1", "rediskey1", "tok3n", "abcdef123", "querytoken"):
        assert hide(f"<{secret}>") == "<***>", secret
    assert hide("POST /services/T0001/abcdef123?key=querytoken HTTP/1.1") == "POST ***?*** HTTP/1.1"
    assert hide("http://user1:pw2@am:9093/base/api/v2/alerts") == "***/api/v2/alerts"
    assert hide("user1 and u are names, no secrets") == "user1 and u are names, no secrets"
    assert hide("redis://127.0.0.1:6379/0 and database 5") == "redis://127.0.0.1:6379/0 and database 5"


def test_a_url_that_holds_no_secret_stays_readable():
    config = validate({"model": {"artifact": "a"}, "kafka": {"bootstrap_servers": "b", "topic": "t"}})
    assert secrets_of(config) == []
