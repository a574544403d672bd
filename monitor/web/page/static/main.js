// Asks the monitor every few seconds, shows what it says, and says how old that is.

import { Actions } from "./actions.js";
import { showAlerts } from "./alerts.js";
import { read } from "./api.js";
import * as time from "./clock.js";
import { showGlance, showGroup } from "./group.js";
import { showStream, showStreams } from "./streams.js";
import { showVerdict } from "./verdict.js";
import { shown, span } from "./words.js";

const EVERY_MS = 5000;
const OLD_SECONDS = 20;
const $ = (name) => document.getElementById(name);

const query = { search: "", sort: "urgency", page: 1, span: "short" };
let known;
let trouble = "";
let paused = false;
let asking;
let again = false;
let timer;

const actions = new Actions(() => refreshSoon(), $("spoken"));
const act = {
  open: (id) => { location.hash = `stream=${id}`; },
  acknowledge: (alert, title) => actions.acknowledge(alert, title),
  mute: (alert, title) => actions.mute(alert, title),
  undo: (alert) => actions.undo(alert),
  unmute: (mute) => actions.unmute(mute),
};

/** Ask now, and then again and again. One question at a time; what came up meanwhile is asked next. */
function refresh() {
  again = asking !== undefined;
  asking ??= ask().finally(() => {
    asking = undefined;
    clearTimeout(timer);
    if (again) refresh();
    else if (!paused) timer = setTimeout(refresh, EVERY_MS);
  });
  return asking;
}

/** The monitor keeps what it knows for three seconds: what was just changed shows after that at the latest. */
function refreshSoon() {
  for (const wait of [1100, 2200, 3300]) setTimeout(refresh, wait);
  return refresh();
}

async function ask() {
  try {
    const found = await read(`/api/v1/overview?${new URLSearchParams(query)}`);
    time.set(found.read_ms, found.store.away_seconds);
    known = found;
    trouble = "";
    show();
    await showOpened();
  } catch (error) {
    trouble = error.message;
  }
  tick();
}

function show() {
  const usual = known.calibration.flag_rate;
  showVerdict($("verdict"), $("spoken"), known.verdict, known.alerts);
  showGlance($("glance"), known);
  showAlerts($("firing"), known.alerts, usual, act);
  showStreams($("rows"), $("found"), known.streams, usual, act);
  showGroup($("details"), known, act);
  $("group").textContent = shown(known.process.group);
  $("pages").hidden = known.streams.pages < 2;
  $("previous").disabled = known.streams.page <= 1;
  $("next").disabled = known.streams.page >= known.streams.pages;
  query.page = known.streams.page;
  for (const part of document.querySelectorAll("[data-waits]")) part.hidden = false;
}

/** How old the page is, and whether the monitor answers: told every second, spoken when it changes. */
function tick() {
  if (known) time.tick();
  const age = time.age();
  const old = age > OLD_SECONDS;
  $("age").textContent = known ? `Updated ${span(age)} ago` : "Asking the monitor";
  document.body.classList.toggle("old", Boolean(known) && old && !paused);
  const words = sentence(age, old);
  const banner = $("unanswered");
  const changed = banner.hidden === Boolean(words);
  banner.hidden = !words;
  $("unanswered-now").textContent = words;
  if (changed) $("alert-spoken").textContent = words ? "The monitor does not answer." : "The monitor answers again.";
  if (words && !document.title.startsWith("No answer")) document.title = `No answer: ${document.title}`;
}

function sentence(age, old) {
  if (!trouble && !(old && !paused && known && known.store.answers)) return "";
  const why = trouble ? ` (${trouble})` : "";
  const shownAge = known ? `What is shown is ${span(age)} old.` : "Nothing is known yet.";
  return `The monitor does not answer${why}. ${shownAge} This page keeps asking; look at whether the process runs.`;
}

async function showOpened() {
  const id = new URLSearchParams(location.hash.slice(1)).get("stream");
  const dialog = $("stream");
  if (!id) {
    if (dialog.open) dialog.close();
    return;
  }
  const inside = $("stream-inside");
  const row = known?.streams.rows.find((one) => one.id === id);
  if (!dialog.open) {
    $("stream-title").textContent = shown(row?.shown ?? "Stream");
    inside.replaceChildren();
    dialog.showModal();
  }
  try {
    const found = await read(`/api/v1/streams/${encodeURIComponent(id)}`);
    $("stream-title").textContent = shown(found.shown) || "(no name)";
    $("stream-trouble").hidden = true;
    showStream(inside, found, known.calibration.flag_rate, dialog.clientWidth - 48);
  } catch (error) {
    $("stream-trouble").textContent = `The stream cannot be shown: ${error.message}`;
    $("stream-trouble").hidden = false;
  }
}

function ask_for(changes) {
  Object.assign(query, changes);
  return refresh();
}

let typing;
$("search").addEventListener("input", (event) => {
  clearTimeout(typing);
  typing = setTimeout(() => ask_for({ search: event.target.value, page: 1 }), 250);
});
$("sort").addEventListener("change", (event) => ask_for({ sort: event.target.value, page: 1 }));
$("span").addEventListener("change", (event) => ask_for({ span: event.target.value }));
$("previous").addEventListener("click", () => ask_for({ page: query.page - 1 }));
$("next").addEventListener("click", () => ask_for({ page: query.page + 1 }));
$("pause").addEventListener("click", (event) => {
  paused = !paused;
  event.target.setAttribute("aria-pressed", String(paused));
  event.target.textContent = paused ? "Resume updates" : "Pause updates";
  if (!paused) refresh();
  else clearTimeout(timer);
});
$("stream-close").addEventListener("click", () => $("stream").close());
$("stream").addEventListener("close", () => {
  if (location.hash) history.replaceState(null, "", location.pathname);
});
addEventListener("hashchange", () => showOpened());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !paused) refresh();
});
setInterval(tick, 1000);
refresh();
