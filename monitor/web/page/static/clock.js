// The clock of the store, carried on between two readings: the browser's own may be wrong, and is never asked.

import { h } from "./elements.js";
import { clock, span } from "./words.js";

let readMs = 0;
let awayMs = 0;
let taken = 0;

/** A document has just come that was read at `ms`, `awaySeconds` before it was sent. */
export function set(ms, awaySeconds) {
  readMs = ms;
  awayMs = 1000 * awaySeconds;
  taken = performance.now();
}

/** Milliseconds since the epoch, by the clock of the store. */
export function now() {
  return readMs + awayMs + (performance.now() - taken);
}

/** How old what is shown is, in seconds; Infinity before anything was. */
export function age() {
  return taken ? (awayMs + performance.now() - taken) / 1000 : Infinity;
}

/** "14:02:11", with how long ago that was, which is kept up to date. */
export function since(text, words = (long) => `${long} ago`) {
  if (!text) return "never";
  return h("time", { datetime: text, title: text }, clock(text, now()), " ", ago(text, words));
}

/** How long ago something was, kept up to date. */
export function ago(text, words = (long) => `${long} ago`) {
  if (!text) return "never";
  const element = h("span", { class: "ago", "data-since": text }, said(text, words));
  tellers.set(element, words);
  return element;
}

const tellers = new WeakMap();

function said(text, words) {
  return words(span((now() - Date.parse(text)) / 1000));
}

/** Bring every "ago" on the page up to date. */
export function tick() {
  for (const element of document.querySelectorAll("[data-since]")) {
    const words = tellers.get(element);
    const text = words ? said(element.dataset.since, words) : "";
    if (text && element.textContent !== text) element.textContent = text;
  }
}
