// The first thing that somebody reads: is something wrong, since when, and what to do.

import { h, place, sign } from "./elements.js";
import { since } from "./clock.js";
import { safeLink, short, shown } from "./words.js";

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
  waiting: "No input has been judged since the monitor began. If inputs should come, look at the programs that send them.",
};

let told = "";

/** Show the verdict, and tell it to screen readers if it has changed. */
export function showVerdict(where, speaker, verdict, alerts) {
  where.dataset.level = verdict.level;
  place(where, verdict, () => [headline(verdict), body(verdict)]);
  const title = `${LEVELS[verdict.level]}: ${short(verdict.headline, 120)}`;
  document.title = `${title} – OOD monitor`;
  const text = `${title}. ${alerts.total === 1 ? "One alert fires." : `${alerts.total} alerts fire.`}`;
  if (text !== told) speaker.textContent = text;
  told = text;
}

function headline(verdict) {
  const started = verdict.since ? [" ", h("span", { class: "started" }, "since ", since(verdict.since, (long) => `(${long})`))] : null;
  return h(
    "div",
    { class: "headline" },
    sign(verdict.level),
    h("p", { class: "level" }, LEVELS[verdict.level]),
    h("h1", {}, short(verdict.headline, 120), started),
  );
}

function body(verdict) {
  const { findings, more } = verdict;
  if (!findings.length) return h("p", { class: "do" }, CALM[verdict.level] ?? "");
  const [first] = findings;
  const listed = verdict.headline === first.title ? findings.slice(1) : findings;
  return [
    h("p", { class: "do" }, words(first), " ", runbook(first.runbook, first.title)),
    listed.length ? h("ul", { class: "others", "aria-label": "What is wrong" }, listed.map((one) => item(one, findings))) : null,
    more ? h("p", { class: "quiet" }, `And ${more} more, below.`) : null,
  ];
}

/** What is known of a finding, and what to do. */
function words(found) {
  return [found.text, found.to_do].filter(Boolean).map((text) => short(text, 500)).join(" ");
}

/** One of several findings. What to do is said once, if it is the same for several. */
function item(found, findings) {
  const started = found.since ? [" since ", since(found.since, (long) => `(${long})`)] : null;
  const fresh = findings.find((one) => words(one) === words(found)) === found && found !== findings[0];
  const more = fresh ? [". ", words(found), " ", runbook(found.runbook, found.title)] : null;
  return h("li", {}, sign(found.level), h("span", {}, h("strong", {}, short(found.title, 120)), started, more));
}

/** A link to what the runbook says; nothing if the settings do not say where it is. */
export function runbook(link, about) {
  const safe = safeLink(link);
  if (!safe) return null;
  return h("a", { class: "runbook", href: safe, rel: "noreferrer" }, "Runbook", h("span", { class: "unseen" }, ` for ${short(about, 120)}`));
}
