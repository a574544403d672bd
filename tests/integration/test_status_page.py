"""The status page in Chromium, on a real port, over a real Redis that a real evaluator has filled, during a surge."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from PIL import Image

from monitor.store.connection import connect
from monitor.store.overviews import RedisOverviews
from monitor.store.redis import RedisStore
from monitor.testing import launcher
from tests.live import Live, wait_for_surge
from tests.status_scene import SURGING, night, troubled
from tests.status_site import served
from tests.status_world import GROUP, RUNBOOK, World

pytestmark = pytest.mark.slow

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
sync_api.expect.set_options(timeout=12_000)
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

SCREENSHOTS = os.environ.get("STATUS_PAGE_SCREENSHOTS")
"""A folder to write the pictures of the documentation to; without it they are only made and looked at."""

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 780}
HOSTILE = [
    "<img src=https://evil.example/x onerror=globalThis.broken=1>",
    "</td></table><script>globalThis.broken=1</script>",
    "javascript:globalThis.broken=1",
    "\u202egnp.exe",
    "\x1b[2J\x00\n",
    "n" * 200,
    '" onmouseover="globalThis.broken=1',
]


class Scene:
    """One Redis with a world in it, and the site over it."""

    def __init__(self, server: launcher.Server, group: str, ids: dict[str, str] | None = None) -> None:
        self.server, self.group = server, group
        self.store = RedisStore(self._connected(), group)
        self.world: World = night(self.store, group=group, ids=ids)
        self.url = ""

    def _connected(self) -> object:
        return connect(f"redis://{self.server.address}/0")

    def overviews(self) -> RedisOverviews:
        return RedisOverviews(RedisStore(self._connected(), self.group))

    def document(self) -> dict:
        with urlopen(f"{self.url}/api/v1/overview") as answer:  # as a script of an operator would
            return json.load(answer)


@pytest.fixture(scope="module")
def redis_server() -> Iterator[launcher.Server]:
    with launcher.start_store() as server:
        yield server


@pytest.fixture(scope="module")
def scene(redis_server) -> Iterator[Scene]:
    made = Scene(redis_server, GROUP)
    with served(made.world, made.overviews()) as made.url:
        yield made


@pytest.fixture(scope="module")
def busy(redis_server) -> Iterator[Scene]:
    """With a trouble of the monitor itself and a mute besides the surge."""
    made = Scene(redis_server, "busy")
    troubled(made.store)
    with served(made.world, made.overviews()) as made.url:
        yield made


@pytest.fixture
def visit(chromium) -> Iterator[Callable[..., object]]:
    """Open a page. In the end it must have asked nobody but its own host, and have raised nothing."""
    pages = []

    def opened(url: str, size=WIDE, scheme: str = "light", path: str = "/", clock: bool = False):
        page = chromium.new_context(viewport=size, color_scheme=scheme).new_page()
        if clock:  # time passes as the test says
            page.clock.install()
        page.set_default_timeout(10_000)
        page.asked, page.faults, page.expected = [], [], ""
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("console", lambda message: message.type == "error" and page.faults.append(message.text))
        page.goto(url + path)
        page.wait_for_selector("#rows table, #rows p")
        pages.append((page, urlsplit(url).netloc))
        return page

    yield opened
    for page, host in pages:
        assert {urlsplit(asked).netloc for asked in page.asked} == {host}
        assert [fault for fault in page.faults if not page.expected or not re.search(page.expected, fault)] == []
        assert page.evaluate("globalThis.broken") is None
        page.context.close()


def violations(page) -> list[str]:
    found = axe.Axe().run(page).response["violations"]
    return [f"{v['id']}: {n['html'][:120]} {n['failureSummary'][:200]}" for v in found for n in v["nodes"]]


def fired(scene: Scene) -> dict[str, str]:
    return next(a for a in scene.store.alerts() if a["status"] == "firing" and a["stream"] == SURGING)


# -- what is said ------------------------------------------------------------------------------------------------------


def test_the_first_sentence_says_what_is_wrong_since_when_and_what_to_do(scene, visit):
    page = visit(scene.url)
    verdict = page.locator("#verdict")
    onset = fired(scene)["onset_at"]
    assert re.fullmatch(
        rf"Surge in stream {SURGING} since {onset[11:19]} \(\d+ (s|min)\)", verdict.locator("h1").inner_text()
    )
    assert verdict.locator(".level").inner_text() == "Alarm"
    assert "Look at the most unusual requests below" in verdict.locator(".do").inner_text()
    assert (
        verdict.get_by_role("link", name=f"Runbook for Surge in stream {SURGING}").get_attribute("href")
        == f"{RUNBOOK}#ood"
    )
    assert page.title() == f"Alarm: Surge in stream {SURGING} – OOD monitor"
    assert page.locator("h1").count() == 1


def test_an_alert_shows_the_figures_of_the_store_and_links_its_worst_requests(scene, visit):
    page = visit(scene.url)
    stored = fired(scene)
    card = page.locator("article.alert").first
    text = card.inner_text().replace("\u00a0", " ")
    assert f"{100 * float(stored['rate']):.0f} % of {int(stored['samples']):,} inputs flagged" in text
    assert f"{100 * float(stored['rate_low']):.0f} to {100 * float(stored['rate_high']):.0f} %" in text
    assert card.locator("tbody th").first.inner_text() == json.loads(stored["classes"])[0]
    worst = [e["id"] for e in json.loads(stored["examples"])]
    links = card.locator(".requests a")
    assert links.all_inner_texts() == worst
    assert [a.get_attribute("href") for a in links.all()] == [f"https://images.example.org/{name}" for name in worst]
    assert {a.get_attribute("rel") for a in links.all()} == {"noreferrer noopener"}


def test_the_table_shows_every_stream_with_the_rate_of_the_document(scene, visit):
    page = visit(scene.url)
    rows = heard(page, "/api/v1/overview")["streams"]["rows"]
    shown = page.locator("table.streams tbody tr")
    sync_api.expect(shown).to_have_count(7)
    for i, row in enumerate(rows):
        for words in (row["name"], percent(row["rate"]["rate"]), "surge" if row["alert"] else "normal"):
            sync_api.expect(shown.nth(i)).to_contain_text(words)
        label = words_of(row["series"]).replace(" %", "\u00a0%")
        label = label.replace("95\u00a0%", "95 %")
        sync_api.expect(shown.nth(i).get_by_role("img")).to_have_attribute("aria-label", label)


def heard(page, path: str) -> dict:
    """The next answer that the page gets from there."""
    with page.expect_response(lambda answer: path in answer.url) as found:
        pass
    return found.value.json()


def percent(rate: float) -> str:
    digits = Decimal("0.1") if rate and 100 * rate < 10 else Decimal(1)
    return f"{Decimal(100 * rate).quantize(digits, ROUND_HALF_UP)} %"


def words_of(series: dict) -> str:
    """What a chart shows, from the figures of the document."""
    there = [i for i, n in enumerate(series["samples"]) if n]
    rates = [series["flagged"][i] / series["samples"][i] for i in there]
    low, high = (percent(series[name][there[-1]] / 1000) for name in ("low", "high"))
    return (
        f"Flag rate over 10 min: between {percent(min(rates))} and {percent(max(rates))}, lately {percent(rates[-1])} "
        f"(95 % interval {low.removesuffix(' %')} to {high})."
    )


def test_the_chart_of_a_stream_has_its_figures_beside_it(scene, visit):
    page = visit(scene.url)
    page.get_by_role("button", name=SURGING, exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.locator("svg.chart").wait_for()
    identity = next(r["id"] for r in scene.document()["streams"]["rows"] if r["name"] == SURGING)
    assert page.evaluate("location.hash") == f"#stream={identity}"
    dialog.get_by_text("These figures as a table").click()
    series = heard(page, f"/api/v1/streams/{identity}")["series"]
    first = dialog.locator("details tbody tr").first  # the latest
    sync_api.expect(first).to_contain_text(f"{series['samples'][-1]:,}")
    cells = [row.split("\t") for row in dialog.locator("details tbody tr").all_inner_texts()]
    assert [int(c[1].replace(",", "")) for c in reversed(cells)] == series["samples"]
    assert [int(c[2].replace(",", "")) for c in reversed(cells)] == series["flagged"]
    assert dialog.locator("svg .band").count() >= 1
    assert dialog.locator("svg .usual").count() == 1


def test_a_link_to_a_stream_opens_it(scene, visit):
    identity = next(r["id"] for r in scene.document()["streams"]["rows"] if r["name"] == "kiosk-12")
    page = visit(scene.url, path=f"/#stream={identity}")
    sync_api.expect(page.locator("#stream-title")).to_have_text("kiosk-12")
    page.keyboard.press("Escape")
    sync_api.expect(page).to_have_url(f"{scene.url}/")


def test_streams_are_found_and_ordered(scene, visit):
    page = visit(scene.url)
    page.get_by_label("Find").fill("UPLOADS")
    sync_api.expect(page.locator("#found")).to_contain_text("2 of 7 streams")
    sync_api.expect(page.locator("table.streams tbody tr")).to_have_count(2)
    page.get_by_label("Find").fill("none such")
    sync_api.expect(page.locator("#rows")).to_have_text("No stream has this in its name.")
    page.get_by_label("Find").fill("")
    page.get_by_label("Order").select_option("name")
    sync_api.expect(page.locator("table.streams tbody th").first).to_have_text("camera-gate")
    page.locator("#span").select_option("long")
    sync_api.expect(page.locator("table.streams thead")).to_contain_text("Last 60 min")


# -- who can use it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "scheme"), [(WIDE, "light"), (WIDE, "dark"), (PHONE, "light"), (PHONE, "dark")], ids=str
)
def test_a_tool_finds_nothing_that_shuts_people_out(busy, visit, size, scheme):
    page = visit(busy.url, size, scheme)
    for summary in page.locator("summary").all():
        if not summary.evaluate("e => e.parentElement.open"):
            summary.click()
    assert violations(page) == []
    page.get_by_role("button", name=SURGING, exact=True).click()
    page.locator("svg.chart").wait_for()
    page.get_by_text("These figures as a table").click()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name=re.compile("^Mute ")).first.click()
    assert violations(page) == []


@pytest.mark.parametrize("width", [320, 360, 768, 1920])
def test_nothing_has_to_be_scrolled_sideways(busy, visit, width):
    page = visit(busy.url, {"width": width, "height": 800})
    for summary in page.locator("#details details:not([open]) > summary").all()[::-1]:
        summary.click()
    assert page.locator("#details details:not([open])").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name=SURGING, exact=True).click()
    page.locator("svg.chart").wait_for()
    assert page.locator("#stream").evaluate("e => e.scrollWidth <= e.clientWidth")


def test_landmarks_and_headings_tell_the_parts_of_the_page(scene, visit):
    page = visit(scene.url)
    for role in ("banner", "main"):
        assert page.get_by_role(role).count() == 1
    assert page.get_by_role("heading", level=2).all_inner_texts() == [
        "Alerts that fire",
        "The monitor itself",
        "Streams",
        "Details",
    ]
    assert page.locator("#spoken").get_attribute("aria-live") == "polite"
    for table in page.locator("table").all():
        assert table.locator("caption").text_content()
        assert table.locator("thead th[scope=col]").count() >= 3
        assert table.locator("tbody tr").count() == table.locator("tbody th[scope=row]").count()


def test_colour_is_never_alone(scene, visit):
    page = visit(scene.url)
    shapes = page.evaluate("""() => [...document.querySelectorAll('.sign')].map(sign =>
        [sign.classList[1], sign.firstChild.getAttribute('d'), sign.parentElement.textContent.trim()])""")
    assert {name for name, _, _ in shapes} == {"sign-alarm", "sign-ok"}
    assert len({shape for _, shape, _ in shapes}) == 2
    assert all(words for _, _, words in shapes)
    levels = ["alarm", "blind", "attention", "handled", "waiting", "ok"]
    drawn = page.evaluate(
        """levels => import('/static/elements.js').then(module =>
            levels.map(level => [...module.sign(level).children].map(path => path.getAttribute('d'))))""",
        levels,
    )
    assert len({tuple(paths) for paths in drawn}) == len(levels)
    assert len({outline for outline, *_ in drawn}) == len(levels) - 1  # handled and ok differ in what is inside


def test_an_alert_is_taken_on_by_keyboard_alone_and_everybody_sees_it(redis_server, visit):
    scene = Scene(redis_server, "keyboard")
    with served(scene.world, scene.overviews()) as scene.url:
        page = visit(scene.url)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to what is wrong"
        page.keyboard.press("Enter")
        tab_to(page, f"Acknowledge Surge in stream {SURGING}")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.name") == "author"
        page.keyboard.type("Mira")
        page.keyboard.press("Tab")
        page.keyboard.type("rolling back the encoder")
        page.keyboard.press("Enter")
        card = page.locator("article.alert").first
        sync_api.expect(card.locator(".note")).to_contain_text("Acknowledged by Mira at")
        sync_api.expect(page.locator("#verdict .level")).to_have_text("Handled")
        sync_api.expect(page.locator("#spoken")).to_contain_text("Handled: Everything that fires")
        (taken,) = scene.store.handling().acknowledged.values()
        assert (taken.author, taken.reason) == ("Mira", "rolling back the encoder")
        assert page.evaluate("document.activeElement.textContent").startswith("Undo acknowledgement")
        page.keyboard.press("Enter")
        sync_api.expect(page.locator("#verdict .level")).to_have_text("Alarm")
        assert scene.store.handling().acknowledged == {}


def tab_to(page, words: str) -> None:
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == words:
            return
    raise AssertionError(f"Tab does not lead to {words!r}")


def test_a_stream_is_muted_for_a_while_and_the_mute_is_ended(redis_server, visit):
    scene = Scene(redis_server, "mutes")
    with served(scene.world, scene.overviews()) as scene.url:
        page = visit(scene.url)
        page.get_by_role("button", name=re.compile("^Mute ")).first.click()
        page.get_by_label("Your name").fill("Mira")
        page.get_by_label("Reason").fill("a load test")
        page.get_by_label("every alert on the inputs of this stream").check()
        page.get_by_label("30 minutes").check()
        page.locator("#action-send").click()
        sync_api.expect(page.locator("article.alert .note")).to_contain_text("Muted until")
        (mute,) = scene.store.handling().in_force()
        assert (mute.stream, mute.alert, mute.reason, mute.author) == (SURGING, "", "a load test", "Mira")
        assert mute.ends_ms - mute.begun_ms == 30 * 60_000
        page.get_by_role("button", name=f"End the mute of stream {SURGING}").click()
        sync_api.expect(page.locator("#details")).to_contain_text("Nothing is muted.")
        assert scene.store.handling().in_force() == ()
        page.get_by_role("button", name=re.compile("^Mute ")).first.click()
        assert page.get_by_label("Your name").input_value() == "Mira"
        assert page.evaluate("document.activeElement.name") == "reason"  # what is known need not be typed


def test_what_somebody_has_done_is_asked_for_until_the_monitor_must_know_it(redis_server, visit):
    scene = Scene(redis_server, "soon")
    with served(scene.world, scene.overviews()) as scene.url:
        page = visit(scene.url, clock=True)
        page.get_by_role("button", name=re.compile("^Acknowledge ")).first.click()
        page.get_by_label("Your name").fill("Mira")
        page.get_by_label("Reason").fill("looking")
        with page.expect_response("**/api/v1/overview*"):
            page.locator("#action-send").click()
        for _ in range(3):  # the monitor keeps what it knows for three seconds
            with page.expect_request("**/api/v1/overview*", timeout=2000):  # sooner than the page asks by itself
                page.clock.run_for(1150)


def test_what_the_monitor_refuses_is_said_in_the_form_and_nothing_is_lost(scene, visit):
    page = visit(scene.url)
    page.expected = "409"
    page.get_by_role("button", name=re.compile("^Acknowledge ")).first.click()
    page.get_by_label("Your name").fill("Mira")
    page.get_by_label("Reason").fill("\u202e")
    page.locator("#action-send").click()
    sync_api.expect(page.locator("#action-trouble")).to_contain_text("This was not done: reason: expected 1 to 500")
    assert page.get_by_label("Your name").input_value() == "Mira"
    page.get_by_role("button", name="Cancel").click()
    assert scene.store.handling().acknowledged == {}


# -- while it is open --------------------------------------------------------------------------------------------------


def test_what_changes_is_shown_and_spoken_without_a_reload_and_nothing_else_is_spoken(redis_server, visit):
    scene = Scene(redis_server, "changes")
    with served(scene.world, scene.overviews()) as scene.url:
        page = visit(scene.url)
        page.get_by_text("History,").first.click()
        page.get_by_text("History,").first.focus()
        page.evaluate("""() => {
            globalThis.spoken = [];
            const place = document.getElementById('spoken');
            new MutationObserver(() => spoken.push(place.textContent)).observe(place, {childList: true, subtree: true});
        }""")
        with page.expect_response("**/api/v1/overview*"), page.expect_response("**/api/v1/overview*"):
            pass
        assert page.evaluate("spoken") == []
        troubled(scene.store)
        words = "Many records of embeddings/1 cannot be scored"
        sync_api.expect(page.locator("#firing")).to_contain_text(words, timeout=20_000)
        assert page.evaluate("spoken") == [f"Alarm: Surge in stream {SURGING}. 2 alerts fire."]
        assert page.locator("article.alert details").first.evaluate("e => e.open")
        assert page.evaluate("document.activeElement.textContent").startswith("History,")
        assert page.locator("#verdict .others li").count() == 1


def test_if_the_monitor_does_not_answer_the_page_says_so_and_how_old_it_is(scene, visit):
    page = visit(scene.url)
    page.expected = "ERR_FAILED"
    page.route("**/api/**", lambda route: route.abort())
    banner = page.locator("#unanswered")
    sync_api.expect(banner).to_contain_text("The monitor does not answer (the connection failed).", timeout=15_000)
    sync_api.expect(banner).to_contain_text(re.compile(r"What is shown is \d+ s old"))
    sync_api.expect(page.locator("#alert-spoken")).to_have_text("The monitor does not answer.")
    assert page.title().startswith("No answer: ")
    assert violations(page) == []
    page.unroute("**/api/**")
    sync_api.expect(banner).to_be_hidden(timeout=15_000)
    assert page.title().startswith("Alarm: ")


def test_if_redis_is_away_the_page_says_so_first_and_keeps_what_was_known(visit):
    with launcher.start_store() as server:
        scene = Scene(server, "away")
        with served(scene.world, scene.overviews()) as scene.url:
            page = visit(scene.url)
            server.process.kill()
            server.process.wait()
            blind = page.locator("#verdict .others")
            sync_api.expect(blind).to_contain_text("Redis does not answer", timeout=30_000)
            assert page.locator("table.streams tbody tr").count() == 7
            assert page.locator("#unanswered").is_hidden()


def test_updates_can_be_paused_and_a_search_is_answered_meanwhile(scene, visit):
    page = visit(scene.url, clock=True)
    page.get_by_role("button", name="Pause updates").click()
    page.get_by_label("Find").fill("kiosk")
    page.clock.run_for(300)  # it waits until nothing more is typed
    sync_api.expect(page.locator("table.streams tbody tr")).to_have_count(1)
    before = len(page.asked)
    page.clock.fast_forward(60_000)
    assert len(page.asked) == before
    with page.expect_response("**/api/v1/overview*"):
        page.get_by_role("button", name="Resume updates").click()


# -- hostile names -----------------------------------------------------------------------------------------------------


def test_names_that_senders_chose_are_text_and_nothing_else(redis_server, visit):
    scene = Scene(redis_server, "hostile", ids={name: name for name in HOSTILE})
    scene.world.write(24, dict.fromkeys(HOSTILE, 0.6), samples=40, step=1)
    scene.world.judge()
    alert = next(a for a in scene.store.alerts() if a["status"] == "firing")
    scene.store.acknowledge(
        alert["fingerprint"], "<b onclick=globalThis.broken=1>", "<script>globalThis.broken=1</script>"
    )
    with served(scene.world, scene.overviews(), settings={"http": {"image_link": "javascript:{id}"}}) as scene.url:
        page = visit(scene.url)
        sync_api.expect(page.locator("article.alert")).to_have_count(len(HOSTILE) + 1)
        assert (
            page.locator("body img, body script, body iframe, body b, [onclick], [onmouseover], [style]").count() == 0
        )
        assert {urlsplit(a.get_attribute("href")).scheme for a in page.locator("main a").all()} <= {"https", ""}
        text = page.locator("main").inner_text()
        assert "<img src=https" in text
        assert "\\u202egnp.exe" in text
        assert not set(text) & {"\u202e", "\x1b", "\x00"}
        for button in page.locator("table.streams button").all()[: len(HOSTILE)]:
            button.click()
            page.locator("svg.chart").wait_for()
            page.keyboard.press("Escape")
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDE["width"]
        assert violations(page) == []


def test_a_script_that_gets_into_the_page_is_not_run(scene, visit):
    page = visit(scene.url)
    page.expected = "Content Security Policy|Refused to"
    page.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = 'globalThis.broken = 1';
        document.body.append(script);
        document.body.insertAdjacentHTML('beforeend', '<p style="color: red" id="p">x</p>');
    }""")
    assert page.evaluate("globalThis.broken") is None
    assert page.evaluate("getComputedStyle(document.getElementById('p')).color") != "rgb(255, 0, 0)"


def test_a_link_leads_to_http_or_https_and_nowhere_else(scene, visit):
    page = visit(scene.url)
    links = [
        "javascript:x",
        "JAVASCRIPT:x",
        "data:text/html,x",
        "//h/x",
        "/x",
        "",
        "vbscript:x",
        "https://h/x",
        "http://h/x",
    ]
    found = page.evaluate("links => import('/static/words.js').then(m => links.map(m.safeLink))", links)
    assert found == ["", "", "", "", "", "", "", "https://h/x", "http://h/x"]


# -- a real worker -----------------------------------------------------------------------------------------------------


def test_the_page_of_a_real_worker_follows_a_surge_and_takes_an_acknowledgement_behind_a_token(
    cluster, chromium, tmp_path
):
    token = tmp_path / "token"
    token.write_text("a-token-of-32-letters-or-so-4711")
    http = {"port": launcher.free_port(), "token_file": str(token), "image_link": "https://images.example.org/i/{id}"}
    c = cluster(http=http, delivery={"runbook_url": RUNBOOK})
    c.start_worker()
    context = chromium.new_context(http_credentials={"username": "anybody", "password": token.read_text()})
    page = context.new_page()
    with Live(c) as live:
        c.wait(lambda: c.counted() > 500)
        page.goto(f"http://{launcher.HOST}:{http['port']}/")
        sync_api.expect(page.locator("#verdict .level")).to_have_text("All well", timeout=30_000)
        sync_api.expect(page.locator("table.streams tbody tr")).to_have_count(2)
        wait_for_surge(c, live)
        sync_api.expect(page.locator("#verdict .level")).to_have_text("Alarm", timeout=30_000)
        alert = next(a for a in c.store.alerts() if a["kind"] == "ood" and a["status"] == "firing")
        sync_api.expect(page.locator("#verdict")).to_contain_text(f"since {alert['onset_at'][11:19]}")
        worst = page.locator(".requests a").first
        assert re.fullmatch(r"https://images\.example\.org/i/(ood|id)-\d+", worst.get_attribute("href"))
        page.get_by_role("button", name=re.compile("^Acknowledge ")).first.click()
        page.get_by_label("Your name").fill("Mira")
        page.get_by_label("Reason").fill("looking")
        page.locator("#action-send").click()
        sync_api.expect(page.locator("article.alert .note").first).to_contain_text("Acknowledged by Mira")
        assert {a.author for a in c.store.handling().acknowledged.values()} == {"Mira"}
    context.close()


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_pictures_of_the_page_are_small_enough_for_the_documentation(scene, visit, tmp_path):
    folder = Path(SCREENSHOTS) if SCREENSHOTS else tmp_path
    for name, size, scheme in (("light", WIDE, "light"), ("dark", WIDE, "dark"), ("phone", PHONE, "light")):
        page = visit(scene.url, size, scheme)
        keep(
            page.screenshot(clip={"x": 0, "y": 0, **size, "height": 1180}, full_page=True),
            folder / f"status-page-{name}.png",
        )
    page = visit(scene.url)
    page.get_by_role("button", name=SURGING, exact=True).click()
    page.locator("svg.chart").wait_for()
    keep(page.locator("#stream").screenshot(), folder / "status-page-stream.png")


def keep(picture: bytes, path: Path) -> None:
    """Few colours are enough for a page that has few."""
    whole = Image.open(io.BytesIO(picture)).convert("RGB")
    assert len(whole.getcolors(2**24) or ()) > 50  # something is on it
    whole.quantize(256, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    assert path.stat().st_size < 150_000
