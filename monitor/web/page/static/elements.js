// Elements are made by these functions only. Text goes in as text nodes, so a name that a sender chose stays a name.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

/** An HTML element with attributes, listeners ("onclick") and children; null and false are left out. */
export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function s(tag, properties, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

const last = new WeakMap();
const opened = new Map();

/**
 * Put what `build` makes into `place`, if `data` is not what it was made from before.
 * The focus stays on the element of the same data-focus, and details that somebody opened or closed stay so.
 */
export function place(where, data, build) {
  const text = JSON.stringify(data);
  if (last.get(where) === text) return;
  last.set(where, text);
  const focus = where.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
  const made = [build()].flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false);
  where.replaceChildren(...made);
  for (const details of where.querySelectorAll("details[data-open]")) {
    const key = details.dataset.open;
    if (opened.has(key)) details.open = opened.get(key);
    details.addEventListener("toggle", () => opened.set(key, details.open));
  }
  if (focus) [...where.querySelectorAll("[data-focus]")].find((e) => e.dataset.focus === focus)?.focus();
}

const SHAPES = {
  alarm: "M8 1.2 15.2 14.5H.8Z",
  blind: "M4.9 1h6.2L15 4.9v6.2L11.1 15H4.9L1 11.1V4.9Z",
  attention: "M8 .8 15.2 8 8 15.2.8 8Z",
  handled: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Z",
  waiting: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm0 2.2a4.8 4.8 0 1 1 0 9.6 4.8 4.8 0 0 1 0-9.6Z",
  ok: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Z",
};
const MARKS = {
  alarm: "M8 5.6v4.2M8 11.9v.2",
  blind: "M8 4.4v4.6M8 11.4v.2",
  attention: "M8 4.6v4.4M8 11.2v.2",
  handled: "M4.8 8h6.4",
  ok: "m4.8 8.2 2.2 2.3 4.3-4.8",
};

/** A sign whose shape, and not only its colour, tells the level. Words beside it say the same. */
export function sign(level) {
  return s(
    "svg",
    { viewBox: "0 0 16 16", class: `sign sign-${level}`, "aria-hidden": "true", focusable: "false" },
    s("path", { d: SHAPES[level] ?? SHAPES.attention, class: "sign-shape", "fill-rule": "evenodd" }),
    MARKS[level] ? s("path", { d: MARKS[level], class: "sign-mark" }) : null,
  );
}

/** A table with a caption that only screen readers hear, headers that name their columns, and rows. */
export function table(caption, columns, rows, properties) {
  const head = columns.map((c) => h("th", { scope: "col", class: c.class }, c.name));
  return h(
    "table",
    properties,
    h("caption", { class: "unseen" }, caption),
    h("thead", {}, h("tr", {}, head)),
    h("tbody", {}, rows.map((cells) => row(columns, cells))),
  );
}

function row(columns, cells) {
  return h(
    "tr",
    {},
    cells.map((cell, i) =>
      columns[i].header
        ? h("th", { scope: "row", class: columns[i].class }, cell)
        : h("td", { class: columns[i].class }, cell),
    ),
  );
}
