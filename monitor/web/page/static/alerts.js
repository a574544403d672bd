// Alerts that fire, each with what somebody needs who was woken by it.

import { h, place, sign, table } from "./elements.js";
import { since } from "./clock.js";
import { bar } from "./chart.js";
import { between, clock, count, of, percent, safeLink, short, shown } from "./words.js";
import { runbook } from "./verdict.js";

/** Show what fires. */
export function showAlerts(where, alerts, usual, act) {
  place(where, [alerts.firing, alerts.total, usual], () => {
    if (!alerts.firing.length) return h("p", { class: "quiet" }, "No alert fires.");
    const more = alerts.total - alerts.firing.length;
    return [
      alerts.firing.map((alert) => card(alert, usual, act)),
      more > 0 ? h("p", { class: "quiet" }, `And ${of(more, "alert")} more; ood-monitor alerts lists them all.`) : null,
    ];
  });
}

function levelOf(alert) {
  if (alert.handled) return "handled";
  if (alert.kind === "ood") return "alarm";
  return alert.kind === "stalled" && alert.severity === "critical" ? "blind" : "attention";
}

function card(alert, usual, act) {
  const level = levelOf(alert);
  const name = `alert-${alert.fingerprint}`;
  return h(
    "article",
    { class: "card alert", "data-level": level, "aria-labelledby": name },
    h(
      "header",
      {},
      sign(level),
      h("h3", { id: name }, title(alert)),
      h("span", { class: "tag" }, alert.severity),
      alert.handled ? h("span", { class: "tag" }, alert.acknowledged ? "acknowledged" : "muted") : null,
    ),
    h("p", { class: "facts" }, sentence(alert, usual)),
    handled(alert),
    h("div", { class: "columns" }, classes(alert, usual), requests(alert)),
    streams(alert),
    progress(alert),
    buttons(alert, act),
    history(alert),
  );
}

function title(alert) {
  return short(alert.title, 90);
}

function sentence(alert, usual) {
  const began = alert.onset_at || alert.started_at;
  const start = ["Since ", since(began, (long) => `(${long})`), ". "];
  if (alert.kind !== "ood" || !alert.rate) return [start, shown(alert.summary)];
  const { rate, low, high, samples } = alert.rate;
  const normal = usual ? ` Usual is at most ${percent(usual)}.` : "";
  return [
    start,
    h("strong", {}, `${percent(rate)} of ${of(samples, "input")} flagged`),
    ` (95 % interval ${between(low, high)}).${normal}`,
    alert.expert ? ` Found by ${shown(alert.expert)}.` : "",
  ];
}

function handled(alert) {
  const { acknowledged, muted } = alert;
  return [
    acknowledged
      ? h("p", { class: "note" }, "Acknowledged by ", h("bdi", {}, shown(acknowledged.by)), " at ",
          since(acknowledged.at, (long) => `(${long} ago)`), ": ", h("bdi", {}, shown(acknowledged.reason)))
      : null,
    muted
      ? h("p", { class: "note" }, "Muted until ", clock(muted.until, Date.parse(alert.at)), " by ",
          h("bdi", {}, shown(muted.by)), ": ", h("bdi", {}, shown(muted.reason)))
      : null,
  ];
}

function classes(alert, usual) {
  if (!alert.classes.length) return null;
  const columns = [
    { name: "Predicted class", header: true },
    { name: "Flagged", class: "number" },
    { name: "95 % interval", class: "number wide" },
    { name: "Inputs", class: "number" },
  ];
  const rows = alert.classes.map((c) => {
    if (c.rate === undefined || c.rate === null) return [h("bdi", {}, short(c.class)), "–", "–", "–"];
    return [h("bdi", {}, short(c.class)), percent(c.rate), between(c.low, c.high), count(c.samples)];
  });
  return h("section", {}, h("h4", {}, "Classes that surge"), table("Classes that surge", columns, rows));
}

function requests(alert) {
  if (!alert.examples.length) return null;
  return h("section", {}, h("h4", {}, "Most unusual requests"), requestList(alert.examples));
}

/** Request ids, each with a link to its image if there is one. */
export function requestList(examples) {
  return h(
    "ol",
    { class: "requests" },
    examples.map((e) => {
      const link = safeLink(e.link);
      const name = h("bdi", {}, short(e.id, 64));
      return h(
        "li",
        {},
        link ? h("a", { href: link, rel: "noreferrer noopener", target: "_blank", title: shown(e.id) }, name) : name,
        h("span", { class: "quiet" }, ` as ${short(e.class, 32)}, ${short(e.record, 60)}`),
      );
    }),
  );
}

function streams(alert) {
  if (!alert.streams.length) return null;
  const names = alert.streams.map((name, i) => [i ? ", " : "", h("bdi", {}, short(name))]);
  return h("p", { class: "facts" }, "Streams that surge: ", names);
}

function progress(alert) {
  if (alert.resolving === null || alert.resolving === undefined) return null;
  const words = `${percent(alert.resolving)} of the evidence that it is over`;
  return h("p", { class: "progress" }, bar(alert.resolving, "calm"), h("span", {}, words));
}

function buttons(alert, act) {
  const about = h("span", { class: "unseen" }, ` ${title(alert)}`);
  const button = (key, words, does) =>
    h("button", { type: "button", "data-focus": `${key}-${alert.fingerprint}`, onclick: does }, words, about.cloneNode(true));
  return h(
    "div",
    { class: "buttons" },
    alert.acknowledged
      ? button("acknowledge", "Undo acknowledgement", () => act.undo(alert))
      : button("acknowledge", "Acknowledge", () => act.acknowledge(alert, title(alert))),
    alert.muted ? null : button("mute", "Mute", () => act.mute(alert, title(alert))),
    runbook(alert.runbook, title(alert)),
  );
}

function history(alert) {
  if (alert.history.length < 2) return null;
  return h(
    "details",
    { "data-open": `history-${alert.fingerprint}` },
    h("summary", { "data-focus": `history-${alert.fingerprint}` }, `History, ${of(alert.history.length, "change")}`),
    h(
      "ol",
      { class: "history" },
      alert.history.map((step) => h("li", {}, since(step.at), ` ${step.change}, ${step.severity}`)),
    ),
  );
}
