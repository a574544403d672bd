// Flag rates over time: a line, the band of its 95 % interval, and the rate that counts as usual.

import { h, s, table } from "./elements.js";
import { between, clock, count, percent, span } from "./words.js";
import { now } from "./clock.js";

/** Rates of a series as numbers; null for a piece without inputs. */
function rates(series) {
  return series.samples.map((n, i) => (n ? series.flagged[i] / n : null));
}

/** The top of the scale that several series share. */
export function scaleOf(list, usual) {
  const lines = list.flatMap((one) => rates(one).filter((r) => r !== null));
  const bands = list.flatMap((one) => one.high.filter((v) => v !== null)).sort((a, b) => a - b);
  const band = bands.length ? bands[Math.floor(0.8 * (bands.length - 1))] / 1000 : 0;
  const most = Math.max(2 * (usual ?? 0), band, ...lines);
  return [0.1, 0.2, 0.3, 0.5, 0.75, 1].find((top) => most <= top * 0.98) ?? 1;
}

/** Stretches of neighbouring pieces that have inputs. */
function stretches(found) {
  const out = [];
  found.forEach((rate, i) => {
    if (rate === null) return;
    if (out.length && out.at(-1).at(-1) === i - 1) out.at(-1).push(i);
    else out.push([i]);
  });
  return out;
}

function drawing(series, top, box) {
  const found = rates(series);
  const step = box.width / found.length;
  const x = (i) => (box.left + (i + 0.5) * step).toFixed(1);
  const y = (rate) => (box.top + box.height * (1 - Math.min(1, Math.max(0, rate / top)))).toFixed(1);
  const parts = [];
  for (const run of stretches(found)) {
    const upper = run.map((i) => `${x(i)},${y(series.high[i] / 1000)}`);
    const lower = run.map((i) => `${x(i)},${y(series.low[i] / 1000)}`).reverse();
    parts.push(s("polygon", { class: "band", points: [...upper, ...lower].join(" ") }));
    const points = run.map((i) => `${x(i)},${y(found[i])}`);
    if (run.length === 1) parts.push(s("circle", { class: "dot", cx: x(run[0]), cy: y(found[run[0]]), r: 1.5 }));
    else parts.push(s("polyline", { class: "line", points: points.join(" ") }));
  }
  return { parts, y, x };
}

/** What a chart shows, in a sentence. */
export function told(series) {
  const found = rates(series);
  const seconds = series.step_seconds * found.length;
  const there = found.filter((rate) => rate !== null);
  if (!there.length) return `No inputs within ${span(seconds)}.`;
  const last = found.findLastIndex((rate) => rate !== null);
  const [low, high] = [Math.min(...there), Math.max(...there)];
  const at = `${percent(found[last])} (95 % interval ${between(series.low[last] / 1000, series.high[last] / 1000)})`;
  return `Flag rate over ${span(seconds)}: between ${percent(low)} and ${percent(high)}, lately ${at}.`;
}

/** A small chart for a row of a table; its words are those of `told`. */
export function sparkline(series, top, usual) {
  const box = { left: 1, top: 2, width: 178, height: 32 };
  const { parts, y } = drawing(series, top, box);
  return s(
    "svg",
    { class: "spark", viewBox: "0 0 180 36", role: "img", "aria-label": told(series) },
    usual ? s("line", { class: "usual", x1: 1, x2: 179, y1: y(usual), y2: y(usual) }) : null,
    parts,
    s("line", { class: "floor", x1: 1, x2: 179, y1: 34.5, y2: 34.5 }),
  );
}

/** A chart with scales, `width` wide. */
export function chart(series, usual, width) {
  const size = { width: Math.max(260, Math.min(812, width)), height: 220 };
  const box = { left: 44, top: 10, width: size.width - 56, height: size.height - 44 };
  const top = scaleOf([series], usual);
  const { parts, y } = drawing(series, top, box);
  const levels = [0, top / 2, top];
  const seconds = series.step_seconds * series.samples.length;
  const ends = [0, 0.5, 1].map((part) => new Date(Date.parse(series.from) + 1000 * seconds * part).toISOString());
  const right = box.left + box.width;
  return s(
    "svg",
    {
      class: "chart",
      viewBox: `0 0 ${size.width} ${size.height}`,
      width: size.width,
      height: size.height,
      role: "img",
      "aria-label": told(series),
    },
    levels.map((rate) => [
      s("line", { class: "grid", x1: box.left, x2: right, y1: y(rate), y2: y(rate) }),
      s("text", { class: "tick", x: box.left - 8, y: Number(y(rate)) + 4, "text-anchor": "end" }, percent(rate)),
    ]),
    usual ? s("line", { class: "usual", x1: box.left, x2: right, y1: y(usual), y2: y(usual) }) : null,
    parts,
    ends.map((text, i) =>
      s(
        "text",
        {
          class: "tick",
          x: box.left + (box.width * i) / 2,
          y: size.height - 12,
          "text-anchor": ["start", "middle", "end"][i],
        },
        clock(text, now()).slice(-8),
      ),
    ),
  );
}

/** What the lines of a chart mean. */
export function legend(usual) {
  const item = (name, words) => h("li", {}, h("span", { class: `key key-${name}`, "aria-hidden": "true" }), words);
  const rate = usual ? item("usual", `flagged at most on usual traffic, ${percent(usual)}`) : null;
  return h("ul", { class: "legend" }, item("line", "share flagged"), item("band", "its 95 % interval"), rate);
}

/** The same figures as a table, the latest first. */
export function figures(series) {
  const columns = [
    { name: "From (UTC)", header: true },
    { name: "Inputs", class: "number" },
    { name: "Flagged", class: "number" },
    { name: "Share", class: "number" },
    { name: "95 % interval", class: "number" },
  ];
  const rows = series.samples
    .map((n, i) => {
      const at = new Date(Date.parse(series.from) + 1000 * series.step_seconds * i).toISOString();
      const known = n ? [percent(series.flagged[i] / n), between(series.low[i] / 1000, series.high[i] / 1000)] : ["–", "–"];
      return [clock(at, now()), count(n), count(series.flagged[i]), ...known];
    })
    .reverse();
  return table("The figures of the chart", columns, rows);
}

/** A bar from 0 to 1. Words beside it say the same. */
export function bar(part, level) {
  const width = Math.max(0, Math.min(1, part)) * 100;
  return s(
    "svg",
    { class: `bar bar-${level}`, viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: "bar-back", width: 100, height: 6 }),
    s("rect", { class: "bar-front", width: width.toFixed(1), height: 6 }),
  );
}
