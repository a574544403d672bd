"""The files of the status page: what is sent, and that nothing in them can run or load what is not theirs."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
from starlette.testclient import TestClient

from monitor.web.access import Access
from monitor.web.page.routes import TYPES, read_files
from monitor.web.site import build_site
from monitor.web.sources import Sources
from tests.status_world import Bench

STATIC = {name: file.body.decode() for name, file in read_files().items()}
SCRIPTS = {name: text for name, text in STATIC.items() if name.endswith(".js")}


@pytest.fixture(scope="module")
def client() -> TestClient:
    bench = Bench()
    sources = Sources(
        lambda: bench.store, None, lambda: None, bench.world.rules, dict, overviews=lambda: bench.gatherer.store
    )
    return TestClient(
        build_site(sources, Access(token="s3cret")),
        base_url="http://127.0.0.1",
        headers={"authorization": "Bearer s3cret"},
    )


def test_the_page_and_every_file_of_it_are_sent_as_what_they_are(client):
    page = client.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for name, text in STATIC.items():
        answer = client.get(f"/static/{name}")
        assert (answer.status_code, answer.text) == (200, text)
        assert answer.headers["content-type"].startswith(TYPES[name.rpartition(".")[2]])
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert "unsafe" not in answer.headers["content-security-policy"]


def test_a_browser_that_has_a_file_is_not_sent_it_again_and_asks_each_time(client):
    first = client.get("/static/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/static/main.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/static/main.js", headers={"if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize("name", ["none.js", "..%2froutes.py", "%2e%2e", "__init__.py", "", "main.js%00", "routes.py"])
def test_nothing_but_the_files_of_the_page_can_be_asked_for(client, name):
    answer = client.get(f"/static/{name}")
    assert answer.status_code == 404
    assert "error" in answer.json()


def test_without_the_token_not_even_the_page_is_sent(client):
    for path in ("/", "/static/main.js"):
        assert client.get(path, headers={"authorization": ""}).status_code == 401


def test_the_html_has_no_script_style_or_handler_of_its_own():
    html = STATIC["index.html"]
    assert re.findall(r"<script[^>]*>", html) == ['<script type="module" src="/static/main.js">']
    assert not re.search(r"<style|\sstyle=|\son\w+=|<iframe|<object|<embed|<base", html)


def test_no_file_names_another_host():
    found = {url for text in STATIC.values() for url in re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text)}
    assert found <= {"http://www.w3.org"}  # the name of SVG, which nobody asks for


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_no_script_makes_markup_or_code_of_text(name):
    for word in (
        r"innerHTML",
        r"outerHTML",
        r"insertAdjacentHTML",
        r"\beval\(",
        r"new Function",
        r"document\.write",
        r"\.style\b",
        "srcdoc",
    ):
        assert not re.search(word, SCRIPTS[name]), f"{name} uses {word}"


def test_every_script_that_is_imported_is_there_and_gives_what_is_asked_of_it():
    for name, text in SCRIPTS.items():
        for wanted, source in re.findall(r'import \{([^}]*)\} from "\./([\w.]+)"', text):
            exported = re.findall(r"export (?:async )?(?:function|const|class) (\w+)", SCRIPTS[source])
            missing = {word.strip() for word in wanted.split(",") if word.strip()} - set(exported)
            assert not missing, f"{name} imports {missing} from {source}"


def test_every_element_that_a_script_asks_for_is_in_the_page():
    known = set(re.findall(r'\bid="([\w-]+)"', STATIC["index.html"]))
    asked = {n for text in SCRIPTS.values() for n in re.findall(r'(?:getElementById|\$)\("([\w-]+)"\)', text)}
    assert asked
    assert asked <= known


def test_modules_stay_short():
    for name, text in SCRIPTS.items():
        assert text.count("\n") < 260, name


def test_only_files_of_known_kinds_lie_in_the_folder():
    there = {entry.name for entry in (files("monitor.web.page") / "static").iterdir()}
    assert there == set(STATIC)
