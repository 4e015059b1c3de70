// Curves of several runs in one chart that answers the pointer and the arrow keys.
import { h, svg } from "/page/dom.js";
import { figure, percent } from "/page/words.js";

const LEFT = 56, RIGHT = 16, TOP = 14, BOTTOM = 34;

const ticks = (low, high, most, least = 0) => {
  const rough = Math.max(least, (high - low) / most || 1), power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const made = [];
  for (let t = Math.ceil(low / step) * step; t <= high + step * 1e-6; t += step) made.push(Number(t.toPrecision(12)));
  return made;
};

// `lines`: {name, tone, x: [...], y: [... or null], thin}; `share`: y is a fraction.
export const curves = (lines, { share, words }) => {
  const [W, H] = innerWidth < 736 ? [440, 280] : [960, 340];
  const xs = lines.flatMap((l) => l.x), ys = lines.flatMap((l) => l.y).filter((y) => y !== null);
  if (!ys.length) return h("p", { class: "n", text: "None of these runs has this curve." });
  const x0 = Math.min(...xs), x1 = Math.max(...xs, x0 + 1);
  let y0 = Math.min(...ys), y1 = Math.max(...ys);
  if (share || y0 / (y1 || 1) < 0.5) y0 = Math.min(0, y0);
  if (y0 === y1) y1 = y0 + 1;
  const px = (x) => LEFT + (x - x0) / (x1 - x0) * (W - LEFT - RIGHT), py = (y) => H - BOTTOM - (y - y0) / (y1 - y0) * (H - TOP - BOTTOM);
  const write = (y) => (y === null || y === undefined ? "–" : share ? percent(y) : figure(y));
  const grid = [
    ...ticks(y0, y1, 5).map((t) => svg("g", {}, svg("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: py(t), y2: py(t) }),
      svg("text", { x: LEFT - 8, y: py(t) + 4, "text-anchor": "end" }, share ? `${Math.round(1000 * t) / 10} %` : String(t)))),
    ...ticks(x0, x1, W / 110, 1).map((t) => svg("text", { x: px(t), y: H - 12, "text-anchor": "middle" }, String(t))),
  ];
  const path = (l) => l.y.map((y, i) => [y, i]).filter(([y]) => y !== null)
    .map(([y, i], n) => `${n ? "L" : "M"}${px(l.x[i]).toFixed(1)} ${py(y).toFixed(1)}`).join("");
  const drawn = lines.filter((l) => l.y.some((y) => y !== null)).map((l) => {
    const points = l.y.filter((y) => y !== null).length;
    return points > 1 ? svg("path", { class: `line ${l.tone}${l.thin ? " thin" : ""}`, d: path(l) }) :
      svg("circle", { class: `dot ${l.tone}`, r: 4, cx: px(l.x[l.y.findIndex((y) => y !== null)]), cy: py(l.y.find((y) => y !== null)) });
  });
  const cursor = svg("line", { class: "cursor", y1: TOP, y2: H - BOTTOM });
  const readout = h("div", { class: "readout", hidden: true, role: "status" });
  const chart = svg("svg", { viewBox: `0 0 ${W} ${H}`, class: "chart", role: "img", tabindex: 0, "aria-label": words }, grid, drawn, cursor,
    svg("text", { x: W - RIGHT, y: H - 12, "text-anchor": "end", class: "axis" }, ""));
  let epoch = null;
  const read = (e) => {
    epoch = Math.max(x0, Math.min(x1, Math.round(e)));
    cursor.setAttribute("x1", px(epoch));
    cursor.setAttribute("x2", px(epoch));
    chart.classList.add("reading");
    readout.hidden = false;
    readout.style.setProperty("--at", px(epoch) / W);
    readout.classList.toggle("flip", px(epoch) > W / 2);
    readout.replaceChildren(h("b", { text: `epoch ${epoch}` }), ...lines.filter((l) => !l.thin).map((l) => {
      const i = l.x.indexOf(epoch);
      return h("div", {}, h("span", { class: `swatch ${l.tone}` }), h("span", { text: l.name }), h("span", { class: "n", text: write(i < 0 ? null : l.y[i]) }));
    }));
  };
  const rest = () => { readout.hidden = true; chart.classList.remove("reading"); epoch = null; };
  chart.addEventListener("pointermove", (event) => {
    const r = chart.getBoundingClientRect();
    read(x0 + ((event.clientX - r.left) / r.width * W - LEFT) / (W - LEFT - RIGHT) * (x1 - x0));
  });
  chart.addEventListener("pointerleave", rest);
  chart.addEventListener("blur", rest);
  chart.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (move) { read((epoch ?? (move > 0 ? x0 - 1 : x1 + 1)) + move); event.preventDefault(); }
  });
  return h("div", { class: "curves" }, chart, readout);
};
