// The first thing that somebody reads: is something wrong, since when, and what to do.

import { h, place, sign } from "./elements.js";
import { since } from "./clock.js";
import { safeLink, shown } from "./words.js";

export const LEVELS = {
  alarm: "Alarm",
  blind: "Blind",
  attention: "Attention",
  handled: "Handled",
  waiting: "Waiting",
  ok: "All well",
};

const CALM = {
  ok: "Inputs look like those that the model was calibrated on. There is nothing to do.",
  waiting: "No input has been judged since the monitor began. If inputs should come, look at whoever sends them.",
};

let told = "";

/** Show the verdict, and tell it to screen readers if it has changed. */
export function showVerdict(where, speaker, verdict, alerts) {
  where.dataset.level = verdict.level;
  place(where, verdict, () => [headline(verdict), body(verdict)]);
  const title = `${LEVELS[verdict.level]}: ${shown(verdict.headline)}`;
  document.title = `${title} – OOD monitor`;
  const text = `${title}. ${alerts.total === 1 ? "One alert fires." : `${alerts.total} alerts fire.`}`;
  if (text !== told) speaker.textContent = text;
  told = text;
}

function headline(verdict) {
  return h(
    "div",
    { class: "headline" },
    sign(verdict.level),
    h("p", { class: "level" }, LEVELS[verdict.level]),
    h("h1", {}, shown(verdict.headline)),
  );
}

function body(verdict) {
  if (!verdict.findings.length) return h("p", { class: "do" }, CALM[verdict.level] ?? "");
  const [first, ...rest] = verdict.findings;
  return [
    finding(first),
    rest.length ? h("ul", { class: "others", "aria-label": "What else is wrong" }, rest.map(other)) : null,
    verdict.more ? h("p", { class: "quiet" }, `And ${verdict.more} more, below.`) : null,
  ];
}

function finding(found) {
  const started = found.since ? ["Since ", since(found.since, (long) => `(${long})`), ". "] : null;
  return h("p", { class: "do" }, started, shown(found.to_do), " ", runbook(found.runbook, found.title));
}

function other(found) {
  const started = found.since ? [" since ", since(found.since, (long) => `(${long})`)] : null;
  return h(
    "li",
    {},
    sign(found.level),
    h("span", {}, h("strong", {}, shown(found.title)), started, ". ", shown(found.to_do), " "),
    runbook(found.runbook, found.title),
  );
}

/** A link to what the runbook says; nothing if the settings do not say where it is. */
export function runbook(link, about) {
  const safe = safeLink(link);
  if (!safe) return null;
  return h("a", { class: "runbook", href: safe, rel: "noreferrer" }, "Runbook", h("span", { class: "unseen" }, `: ${shown(about)}`));
}
