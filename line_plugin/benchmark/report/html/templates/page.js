"use strict";
// Sorting, choosing a metric, and one method at a threshold. Everything shown is in the page; nothing is fetched.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);
  document.documentElement.classList.add("scripted");

  // Tables: a button in a head sorts by its column, again turns it round. Equal rows keep their order.
  const valueOf = (row, column, kind) => {
    const cell = row.cells[column];
    if (kind === "text") return cell.textContent.trim();
    const value = parseFloat(cell.dataset.value ?? cell.textContent);
    return Number.isNaN(value) ? null : value;
  };
  const sortBy = (button) => {
    const head = button.closest("th");
    const table = head.closest("table");
    const kind = button.dataset.sort;
    const now = head.getAttribute("aria-sort");
    const next = now === "none" ? button.dataset.first : now === "ascending" ? "descending" : "ascending";
    all("thead th[aria-sort]", table).forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", next);
    const sign = next === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [valueOf(row, head.cellIndex, kind), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // what was not measured stays below
      return sign * (kind === "text" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
    });
    body.append(...rows.map(([, row]) => row));
  };
  all("table.sortable thead button").forEach((button) => button.addEventListener("click", () => sortBy(button)));

  // One metric at a time.
  const views = all("[data-view]");
  const radios = all("input[name=metric]");
  const showMetric = (name) => views.forEach((view) => { view.hidden = view.dataset.view !== name; });
  radios.forEach((radio) => radio.addEventListener("change", () => showMetric(radio.value)));
  all(".views, .controls, #shares").forEach((part) => { part.hidden = false; });
  showMetric(radios.find((radio) => radio.checked).value);

  // A line in every histogram, a dot in every ROC picture; each has its axes in the same place.
  const [left, top, right, bottom] = data.frame;
  const draw = (figure, kind, attributes) => {
    const mark = document.createElementNS("http://www.w3.org/2000/svg", kind);
    Object.entries(attributes).forEach(([name, value]) => mark.setAttribute(name, value));
    figure.querySelector("svg").append(mark);
    return mark;
  };
  const lines = all("[data-entry] .histogram").map((figure) => draw(figure, "line", { class: "cut", y1: top, y2: bottom }));
  const dots = all(".roc").map((figure) => draw(figure, "circle", { class: "dot", r: 4 }));
  const sets = data.sets.length - 1;
  all(".roc [id*='-curve-']").forEach((curve) => curve.classList.add("curve"));

  const select = byId("entry");
  const slider = byId("threshold");
  const calibrated = byId("at-calibrated");
  const per = (n, of) => (100 * n) / of;
  const percent = (n, of) => per(n, of).toFixed(1);

  const move = () => {
    const entry = data.entries[select.value];
    const at = Number(slider.value);
    const flagged = entry.flagged.map((counts) => counts[at]);
    const threshold = entry.thresholds[at];
    const kept = percent(data.counts[0] - flagged[0], data.counts[0]);
    const place = at === 50 ? " This is the 95 % threshold." : at === entry.calibrated ? " This is the calibrated threshold, or the last position before it." : "";
    const text = `Flag an image if its confidence is below ${threshold.toPrecision(5)}: ${kept} % of ID is kept, ${percent(flagged[0], data.counts[0])} % flagged.${place}`;
    byId("told").textContent = text;
    slider.setAttribute("aria-valuetext", `${kept} % of ID kept, threshold ${threshold.toPrecision(5)}`);
    all("#shares tbody tr").forEach((row, i) => {
      row.querySelector(".flagged").textContent = flagged[i];
      row.querySelector(".kept").textContent = data.counts[i] - flagged[i];
      row.querySelector(".share").textContent = percent(flagged[i], data.counts[i]);
      row.querySelector(".bar span").style.width = `${per(flagged[i], data.counts[i])}%`;
    });
    const [low, high] = entry.span;
    const share = Math.min(1, Math.max(0, (threshold - low) / (high - low)));
    const x = left + share * (right - left);
    lines.forEach((line) => { line.setAttribute("x1", x); line.setAttribute("x2", x); });
    const fpr = flagged[0] / data.counts[0];
    dots.forEach((dot, i) => {
      const tpr = flagged[1 + (i % sets)] / data.counts[1 + (i % sets)];
      const logarithmic = i >= sets;
      const along = logarithmic ? 1 - Math.log10(Math.max(fpr, data.leastFpr)) / Math.log10(data.leastFpr) : fpr;
      dot.setAttribute("cx", left + along * (right - left));
      dot.setAttribute("cy", bottom - ((tpr + 0.01) / 1.02) * (bottom - top));
    });
  };

  const choose = () => {
    const chosen = select.value;
    all("[data-entry]").forEach((part) => { part.hidden = part.dataset.entry !== chosen; });
    all("[data-entry]:not([hidden]) img[data-picture]").forEach((img) => {
      if (!img.src) img.src = data.pictures[img.dataset.picture];
    });
    all("[data-curve]").forEach((item) => item.classList.toggle("on", item.dataset.curve === chosen));
    all(".curve").forEach((curve) => curve.classList.toggle("on", curve.id.endsWith(`-curve-${chosen}`)));
    calibrated.hidden = data.entries[chosen].calibrated === null;
    move();
  };
  const moveTo = (at) => { slider.value = at; move(); };
  select.addEventListener("change", choose);
  slider.addEventListener("input", move);
  byId("at-95").addEventListener("click", () => moveTo(50));
  calibrated.addEventListener("click", () => moveTo(data.entries[select.value].calibrated));
  choose();

  // On paper nothing can be opened: everything is, and is put back afterwards.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details:not([open])");
    opened.forEach((part) => { part.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((part) => { part.open = false; }));
})();
