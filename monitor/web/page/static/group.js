// The monitor itself: whether it can detect a surge, how far it is, who is notified, what was left out.

import { h, place, sign, table } from "./elements.js";
import { ago, since } from "./clock.js";
import { bar } from "./chart.js";
import { clock, count, factor, of, percent, share, short, shown, span } from "./words.js";

/** The figures that are looked at first, in a row. */
export function showGlance(where, found) {
  const parts = ["judging", "partitions", "workers", "budget", "canary", "receivers"];
  place(where, parts.map((name) => found[name]), () => [
    tile("Judged up to", found.judging.judged_until ? ago(found.judging.judged_until) : "nothing yet", judging(found.judging)),
    tile("Waiting in Kafka", of(found.partitions.lag, "record"), partitions(found.partitions)),
    tile("Workers", count(found.workers.total), workers(found)),
    tile("False alerts", falseAlerts(found.budget), [true, `at most expected in ${of(found.budget.judged, "input")}`]),
    tile("Canary", found.canary.on ? ago(found.canary.seen_at, (long) => `detected ${long} ago`) : "off", canary(found.canary)),
    tile("Receivers", found.receivers.length ? receiving(found.receivers) : "none", receivers(found.receivers)),
  ]);
}

function tile(name, value, [well, words]) {
  return h(
    "div",
    { class: "tile" },
    h("dt", {}, name),
    h("dd", {}, h("span", { class: "value" }, value), h("span", { class: `under status-${well ? "ok" : "attention"}` },
      well ? null : sign("attention"), words)),
  );
}

function judging(found) {
  if (!found.holder) return [false, "nobody judges"];
  if (found.waiting_seconds > 20) return [false, `inputs have waited for ${span(found.waiting_seconds)}`];
  return [true, `by ${short(found.holder, 28)}`];
}

function partitions(found) {
  if (found.unread) return [false, `${count(found.unread)} of ${of(found.total, "partition")} read by nobody`];
  const late = found.rows.filter((row) => row.behind_since).length;
  return late ? [false, `${of(late, "partition")} behind`] : [true, `in ${of(found.total, "partition")}, all read`];
}

function workers(found) {
  const rows = found.workers.rows;
  if (!rows.length) return [false, "none has reported for 15 s"];
  const troubled = rows.filter((row) => row.trouble).length;
  return troubled ? [false, `${count(troubled)} in trouble`] : [true, "all report"];
}

function falseAlerts(found) {
  return found.spent < 0.005 ? "below 0.01" : found.spent.toFixed(2);
}

function canary(found) {
  if (!found.on) return [true, "canary.seconds is not set"];
  return found.late ? [false, "late: a surge may go unnoticed"] : [true, `sent every ${span(found.every_seconds)}`];
}

function receiving(found) {
  const well = found.filter((one) => !one.trouble).length;
  return well === found.length ? count(well) : `${count(well)} of ${count(found.length)}`;
}

function receivers(found) {
  if (!found.length) return [false, "nobody is notified of alerts"];
  const failing = found.filter((one) => one.trouble);
  if (failing.length) return [false, `${failing.map((one) => one.name).join(", ")} fails`];
  const dropped = found.reduce((sum, one) => sum + one.dropped, 0);
  return dropped ? [false, `${of(dropped, "message")} never taken`] : [true, "all take alerts"];
}

/** Everything else, folded away. */
export function showGroup(where, found, act) {
  place(where, [found.mutes, found.alerts.recent, found.partitions, found.workers, found.receivers, found.rejected,
    found.moved, found.calibration, found.drift, found.budget, found.process], () => [
    folded("mutes", "Mutes", count(found.mutes.length), mutes(found.mutes, act), found.mutes.length > 0),
    folded("recent", "Recent changes", count(found.alerts.recent.length), recent(found.alerts.recent)),
    folded("budget", "Budget of false alerts", `1 per ${count(found.budget.requests)} inputs`, budget(found.budget)),
    folded("partitions", "Partitions", count(found.partitions.total), partitionTable(found.partitions)),
    folded("workers", "Workers", count(found.workers.total), workerTable(found.workers)),
    folded("receivers", "Receivers", count(found.receivers.length), receiverTable(found.receivers)),
    folded("rejected", "Left out", of(found.rejected.reduce((sum, r) => sum + r.records, 0), "record"), leftOut(found)),
    folded("calibration", "Limits of the calibration", count(found.calibration.limits.length), limits(found)),
    folded("process", "This process", `release ${found.process.version}`, processList(found.process)),
  ]);
}

function folded(key, name, sum, inside, open = false) {
  return h(
    "details",
    { "data-open": key, open },
    h("summary", { "data-focus": `section-${key}` }, h("span", { class: "summary-name" }, name), h("span", { class: "quiet" }, sum)),
    inside,
  );
}

function none(words) {
  return h("p", { class: "quiet" }, words);
}

function framed(name, made) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, made);
}

function mutes(found, act) {
  if (!found.length) return none("Nothing is muted.");
  const columns = [{ name: "Alerts on", header: true }, { name: "Until", class: "number" }, { name: "By" }, { name: "Reason" }, { name: "End" }];
  const rows = found.map((mute) => [
    about(mute), clock(mute.until, Date.parse(mute.until)), h("bdi", {}, short(mute.by, 32)), h("bdi", {}, short(mute.reason, 120)),
    h("button", { type: "button", "data-focus": `end-${mute.id}`, onclick: () => act.unmute(mute) }, "End",
      h("span", { class: "unseen" }, ` the mute of ${about(mute)}`)),
  ]);
  return framed("Mutes", table("Mutes in force", columns, rows));
}

function about(mute) {
  const parts = [];
  if (mute.stream !== undefined) parts.push(`stream ${short(mute.stream) || "without a name"}`);
  if (mute.alert) parts.push(`alert ${short(mute.alert)}`);
  if (mute.kind) parts.push(`kind ${short(mute.kind)}`);
  return parts.join(", ");
}

function recent(found) {
  if (!found.length) return none("No alert has changed yet.");
  const columns = [{ name: "At (UTC)" }, { name: "Change" }, { name: "Alert", header: true }, { name: "Severity" }];
  const rows = found.map((one) => [since(one.at), one.change, short(one.title, 90), one.severity]);
  return framed("Recent changes of alerts", table("Recent changes of alerts", columns, rows));
}

function budget(found) {
  const together = found.everything;
  const parts = found.levels.map((one) => `${one.level} ${count(one.needed)}`).join(", ");
  return [
    h("p", {}, `At most 1 false alert per ${of(found.requests, "input")} is affordable. ${of(found.judged, "input")} were `
      + `judged, in which at most ${falseAlerts(found)} false alerts are expected, and `
      + `${of(found.raised, "alert")} raised so far. Evidence that raises one: ${parts}.`),
    together
      ? h("p", { class: "progress" }, bar(share(together), share(together) > 0.1 ? "near" : "calm"),
          h("span", {}, `All streams together have evidence ${factor(together.log10)} of ${factor(together.needed_log10)}.`))
      : null,
  ];
}

function partitionTable(found) {
  if (!found.rows.length) return none("No partition was ever read.");
  const columns = [{ name: "Partition", header: true }, { name: "Waiting", class: "number" }, { name: "Next offset", class: "number" },
    { name: "Read" }, { name: "Behind" }, { name: "Last moved", class: "number" }];
  const rows = found.rows.map((row) => [
    short(row.name), count(row.lag), count(row.next), row.read ? "yes" : "by nobody",
    row.behind_since ? ["since ", since(row.behind_since)] : row.late_since ? ["only late inputs since ", since(row.late_since)] : "no",
    ago(row.counted_at),
  ]);
  return [framed("Partitions", table("Partitions of the topic", columns, rows)), more(found)];
}

function more(found) {
  const left = found.total - found.rows.length;
  return left > 0 ? h("p", { class: "quiet" }, `And ${count(left)} more.`) : null;
}

function workerTable(found) {
  if (!found.rows.length) return none("No worker has reported for 15 seconds.");
  const columns = [{ name: "Worker", header: true }, { name: "Partitions", class: "number" }, { name: "Judges" },
    { name: "Trouble" }, { name: "Reported", class: "number" }];
  const rows = found.rows.map((row) => [short(row.name), count(row.partitions), row.judges ? "yes" : "no",
    row.trouble ? shown(row.trouble) : "none", ago(row.reported_at)]);
  return [framed("Workers", table("Workers", columns, rows)), more(found)];
}

function receiverTable(found) {
  if (!found.length) return none("Nobody is notified of alerts: the section delivery of the settings names receivers.");
  const columns = [{ name: "Receiver", header: true }, { name: "Where" }, { name: "Trouble" }, { name: "Never taken", class: "number" }];
  const rows = found.map((one) => [
    shown(one.name), short(one.where, 80),
    one.trouble ? [shown(one.trouble), one.failing_since ? [" since ", since(one.failing_since)] : null] : "none",
    one.dropped ? `${count(one.dropped)}: ${shown(one.dropped_why)}` : "0",
  ]);
  return framed("Receivers", table("Receivers of alerts", columns, rows));
}

const MOVED = {
  late: "counted in a later bucket than their own, as they came late",
  ahead: "counted in an earlier one, as their time lies ahead of the clock of Redis",
  overflow: "counted under one name, as there are more streams than streams.limit",
  skipped: "left out, as the settings do not accept them",
};

function leftOut(found) {
  const moved = Object.entries(found.moved).filter(([, n]) => n > 0);
  const columns = [{ name: "Records", class: "number" }, { name: "Reason", header: true }, { name: "What it means" }, { name: "What to do" }];
  const rows = found.rejected.map((one) => [count(one.records), one.reason, one.means, one.to_do]);
  return [
    rows.length ? framed("Rejected records", table("Records that could not be scored", columns, rows)) : none("Every record could be scored."),
    moved.length ? h("ul", {}, moved.map(([name, n]) => h("li", {}, `${of(n, "input")} ${MOVED[name] ?? shown(name)}.`))) : null,
  ];
}

function limits(found) {
  const { flag_rate: rate, limits: sentences } = found.calibration;
  return [
    rate === null ? null : h("p", {}, `Up to ${percent(rate)} of usual inputs are flagged, by the threshold of the artifact.`),
    sentences.length ? h("ul", {}, sentences.map((text) => h("li", {}, shown(text)))) : none("The calibration set supports all that is asked of it."),
    found.drift.on && !found.drift.total ? h("p", {}, "No slow drift was found.") : null,
    found.drift.rows.map((row) => h("p", { class: "note" }, shown(row.text))),
  ];
}

function processList(found) {
  const facts = [["Does", found.role], ["Trouble", found.trouble || "none"], ["Group", found.group], ["Topic", found.topic],
    ["Artifact", found.artifact], ["Experts", found.experts.join(", ")], ["Who judges", found.judge || "nobody"]];
  return h("dl", { class: "list" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, shown(value) || "–")]));
}
