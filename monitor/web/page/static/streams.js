// The table of streams: found, sorted, cut to a page by the monitor; a stream opens in a dialog.

import { h, place, sign, table } from "./elements.js";
import { ago, since } from "./clock.js";
import { bar, chart, figures, legend, scaleOf, sparkline, told } from "./chart.js";
import { between, count, factor, of, percent, share, shareWords, short, shown, span } from "./words.js";
import { requestList } from "./alerts.js";

const STATES = { critical: ["alarm", "surge"], warning: ["alarm", "surge"], silence: ["attention", "silent"] };

/** Show one page of streams. */
export function showStreams(where, note, streams, usual, act) {
  place(where, [streams, usual], () => {
    if (!streams.rows.length) {
      return h("p", { class: "quiet" }, streams.search ? "No stream has this in its name." : "No stream is known yet.");
    }
    const top = scaleOf(streams.rows.map((row) => row.series), usual);
    return streamTable(streams, top, usual, act);
  });
  const found = streams.search ? `${count(streams.matching)} of ${of(streams.total, "stream")}` : of(streams.total, "stream");
  const unread = streams.unread_buckets ? `; older rates are still being read` : "";
  const text = `${found}${streams.pages > 1 ? `, page ${streams.page} of ${streams.pages}` : ""}${unread}`;
  if (note.textContent !== text) note.textContent = text;
}

function streamTable(streams, top, usual, act) {
  const columns = [
    { name: "Stream", header: true, class: "name" },
    { name: "State", class: "state" },
    { name: `Flagged, ${span(streams.rate_seconds)}`, class: "number" },
    { name: `Last ${span(streams.span_seconds)}, up to ${percent(top)}`, class: "over-time" },
    { name: "Evidence, of what raises an alert", class: "evidence medium" },
    { name: "Last input", class: "number wide" },
  ];
  const rows = streams.rows.map((row) => [
    h("button", { type: "button", class: "link", "data-focus": `stream-${row.id}`, title: shown(row.shown),
      onclick: () => act.open(row.id) }, h("bdi", {}, short(row.shown) || "(no name)")),
    state(row),
    rate(row.rate),
    sparkline(row.series, top, usual),
    evidence(row),
    ago(row.counted_at, (long) => long),
  ]);
  return table("Streams, with their flag rates and the evidence of a surge", columns, rows, { class: "streams" });
}

function state(row) {
  const [level, words] = STATES[row.alert] ?? ["ok", "normal"];
  return h("span", { class: `status status-${level}` }, sign(level), words);
}

function rate(found) {
  if (found.rate === null) return h("span", { class: "quiet" }, "no input");
  return [h("strong", {}, percent(found.rate)), h("span", { class: "under" }, between(found.low, found.high))];
}

function evidence(row) {
  const found = row.evidence;
  if (row.alert === "warning" || row.alert === "critical") return h("span", { class: "quiet" }, "alert raised");
  if (!found) return h("span", { class: "quiet" }, "none yet");
  const part = share(found);
  const held = found.class ? `, class ${short(found.class, 24)}` : "";
  return [bar(part, part > 0.1 ? "near" : "calm"), h("span", { class: "under" }, `${shareWords(part)}${held}`)];
}

/** One stream, in the dialog. */
export function showStream(where, stream, usual, width) {
  place(where, [stream, usual, width], () => [
    h("p", { class: "facts" }, state(stream), " ",
      stream.since ? ["since ", since(stream.since, (long) => `(${long})`), ". "] : null,
      h("strong", {}, `${percent(stream.rate.rate)} of ${of(stream.rate.samples, "input")} flagged`),
      ` within ${span(stream.rate_seconds)} (95 % interval ${between(stream.rate.low, stream.rate.high)}). Last input `,
      ago(stream.counted_at), "."),
    h("h3", {}, `Share flagged over ${span(stream.span_seconds)}`),
    chart(stream.series, usual, width),
    legend(usual),
    h("p", { class: "quiet" }, told(stream.series)),
    h("details", { "data-open": "figures" }, h("summary", { "data-focus": "figures" }, "These figures as a table"),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The figures of the chart" }, figures(stream.series))),
    stream.drift ? h("p", { class: "note" }, shown(stream.drift)) : null,
    stream.classes.length ? classTable(stream.classes) : null,
    stream.examples.length ? [h("h3", {}, "Most unusual requests of late"), requestList(stream.examples)] : null,
  ]);
}

function classTable(classes) {
  const columns = [
    { name: "Predicted class", header: true },
    { name: "Evidence of a surge", class: "number" },
    { name: "Flagged since the change", class: "number" },
    { name: "95 % interval", class: "number wide" },
    { name: "Inputs", class: "number wide" },
  ];
  const rows = classes.map((c) => [
    h("bdi", {}, short(c.class)),
    `${factor(c.log10)}${c.needed_log10 === null ? "" : ` of ${factor(c.needed_log10)}`}`,
    percent(c.rate),
    c.samples ? between(c.low, c.high) : "–",
    count(c.samples),
  ]);
  return [h("h3", {}, "Predicted classes"), table("Predicted classes of this stream", columns, rows)];
}
