// Numbers, times and names as people read them. Times are the store's and in UTC, as in logs and alerts.

const THIN = "\u00a0"; // a number and its sign stay on one line
const NUMBER = new Intl.NumberFormat("en");

/** A whole number with separators. */
export function count(n) {
  return NUMBER.format(n);
}

/** A rate from 0 to 1 in percent. */
export function percent(rate) {
  if (rate === null || rate === undefined) return "–";
  const value = 100 * rate;
  return `${value !== 0 && value < 10 ? value.toFixed(1) : value.toFixed(0)}${THIN}%`;
}

/** "2.1 to 6.4 %": what a rate may be. */
export function between(low, high) {
  return `${percent(low).replace(`${THIN}%`, "")} to ${percent(high)}`;
}

/** "1 record", "2 records". */
export function of(n, one, many) {
  return `${count(n)} ${n === 1 ? one : (many ?? `${one}s`)}`;
}

/** A span in the largest unit that leaves it readable. */
export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 100) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 172_800) return `${(s / 3600).toFixed(s < 36_000 ? 1 : 0)} h`;
  return `${Math.round(s / 86_400)} days`;
}

/** "14:02:11", with the day if it is not that of `nowMs`. */
export function clock(text, nowMs) {
  const day = text.slice(0, 10);
  const time = text.slice(11, 19);
  return day === new Date(nowMs).toISOString().slice(0, 10) ? time : `${day} ${time}`;
}

/** Evidence, which is kept as a logarithm of base ten: "3,200", or a power of ten if it is large. */
export function factor(log10) {
  if (log10 === null || log10 === undefined || log10 < 0) return "below 1";
  return log10 < 9 ? count(Number((10 ** log10).toPrecision(3))) : `10${raised(Math.round(log10))}`;
}

function raised(n) {
  return [...String(n)].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(digit)]).join("");
}

/** The same in percent; the least that is shown is a tenth of one. */
export function shareWords(part) {
  return part < 0.001 ? `below ${percent(0.001)}` : percent(part);
}

/** How much of the evidence that raises an alert there is, from 0 to 1. */
export function share(found) {
  if (found.log10 === null || found.needed_log10 === null) return 0;
  return Math.min(1, 10 ** (found.log10 - found.needed_log10));
}

const HIDDEN = /(?! )[\p{C}\p{Z}]/gu;

/** What a sender chose, with everything that cannot be seen, or that turns the direction of writing, spelled out. */
export function shown(text) {
  return String(text).replace(HIDDEN, (c) => {
    const code = c.codePointAt(0);
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/** The same, with the middle of a long one left out. */
export function short(text, most = 44) {
  const whole = shown(text);
  if (whole.length <= most) return whole;
  const end = Math.floor(most / 3);
  return `${whole.slice(0, most - end - 1)}…${whole.slice(-end)}`;
}

/** A link that leads to http or https and nowhere else; empty if it does not. */
export function safeLink(text) {
  try {
    const url = new URL(text);
    return ["http:", "https:"].includes(url.protocol) ? url.href : "";
  } catch {
    return "";
  }
}
