// A net drawn as its stack of units: what each gives to the answer, how strong it is, and a switch for each.
import { h, svg } from "/page/dom.js";
import { count, figure, percent, several, signed } from "/page/words.js";

const KEYS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
const SHORTCUTS = { identity: "shortcut: x as it is", "zero-pad": "shortcut: x in its new shape, padded with zeros",
  projection: "shortcut: x projected to its new shape", none: "no shortcut" };
const SPAN = 48; // a unit's drawing, across and down

const glyph = (unit, kind) => {
  const box = (y) => [svg("rect", { class: "f", x: 12, y, width: 24, height: 18, rx: 4 }), svg("text", { class: "letter", x: 24, y: y + 13.5 }, "F")];
  const inside = kind === "residual" && unit.shortcut !== "none" ? [
    svg("path", { class: "way", d: "M0 38H48" }),
    svg("path", { class: "branch", d: "M5 38C5 18 6 14 12 14M36 14C42 14 43 18 43 33" }), box(5),
    unit.shortcut === "projection" ? svg("rect", { class: "bend", x: 20, y: 34, width: 8, height: 8, rx: 1 }) : null,
    unit.shortcut === "zero-pad" ? svg("path", { class: "bend", d: "M20 33.5V42.5L28 38Z" }) : null,
    svg("circle", { class: "sum", cx: 43, cy: 38, r: 4.5 }), svg("path", { class: "plus", d: "M40.5 38h5M43 35.5v5" }),
  ] : [svg("path", { class: "way", d: "M0 38H12M36 38H48" }), svg("path", { class: "cut", d: "M12 38H36" }), box(29)];
  const top = kind === "residual" ? 0 : 26; // without a way around it a unit is a box on the line
  return svg("svg", { class: "glyph", viewBox: `0 ${top} ${SPAN} ${SPAN - top}`, "aria-hidden": "true" }, inside);
};

const details = (unit, i, word) => [
  h("b", { text: `${word} ${i + 1}` }), ` · ${unit.unit} · ${several(unit.layers, "convolution")}, ${count(unit.params)} parameters · ` +
  `${several(unit.channels, "channel")} of ${unit.height} × ${unit.width} · sees ${unit.receptive_field} × ${unit.receptive_field} px · ${SHORTCUTS[unit.shortcut]}`];

// `toggle(i)`, `first(k)`: what the user wants; `update(net, target)` draws what is known.
export const stackOf = (net, photo, { toggle, first }) => {
  const { info } = net, all = info.units.length, word = info.kind === "layers" ? "Layer" : "Unit", small = word.toLowerCase();
  const detail = h("p", { class: "detail n small", text: `Click a ${small} to switch it off; or walk with the arrow keys, and press space.` });
  const buttons = info.units.map((unit, i) => {
    const gives = h("span", { class: "gives" }, h("i", { class: "was" }), h("i", { class: "now" }));
    const strength = h("span", { class: "strength" }, h("i"));
    const button = h("button", { type: "button", class: "unit", role: "switch", "aria-checked": "true", tabindex: i ? -1 : 0, "data-unit": unit.unit },
      gives, glyph(unit, info.kind), strength, h("span", { class: "no", text: i + 1 }));
    button.addEventListener("click", () => toggle(i));
    button.addEventListener("focus", () => { detail.replaceChildren(...details(unit, i, word)); roam(i); });
    button.addEventListener("mouseenter", () => detail.replaceChildren(...details(unit, i, word)));
    button.addEventListener("keydown", (event) => {
      const to = event.key === "Home" ? 0 : event.key === "End" ? all - 1 : KEYS[event.key] ? i + KEYS[event.key] : null;
      if (to === null || !buttons[to]) return;
      buttons[to].focus();
      event.preventDefault();
    });
    return button;
  });
  const roam = (i) => buttons.forEach((b, j) => { b.tabIndex = i === j ? 0 : -1; });

  const stages = [];
  info.units.forEach((unit, i) => {
    const last = stages.at(-1);
    if (last?.stage === unit.stage) last.units.push(buttons[i]);
    else stages.push({ stage: unit.stage, of: unit, units: [buttons[i]] });
  });
  const end = h("span", { class: "end" });
  const thumb = h("img", { class: "start", src: photo.url, alt: "" });
  thumb.addEventListener("error", () => thumb.replaceWith(h("span", { class: "start" })));
  const drawn = h("div", { class: `stack ${info.kind}${all > 14 ? " some" : all > 9 ? " several" : ""}`, vars: { fit: Math.min(5.6, Math.max(1.98, 53 / all)).toFixed(2) }, role: "group", "aria-label": `${word}s of ${net.model.name}` },
    thumb,
    stages.map((s) => h("div", { class: "stage", role: "group", "aria-label": s.stage < 0 ? "stem" : `stage ${s.stage + 1}` },
      h("span", { class: "title n" }, h("b", { text: s.stage < 0 ? "stem" : `stage ${s.stage + 1}` }), ` ${s.of.channels} × ${s.of.height} × ${s.of.width}`),
      h("div", { class: "row" }, s.units))), end);

  const slider = h("input", { type: "range", min: 0, max: all, value: all, step: 1, class: "first", id: `first-${net.side}`,
    on: { input: () => first(Number(slider.value)) } });
  const state = h("output", { for: `first-${net.side}` });
  const course = h("div", { class: "course", "aria-hidden": "true" });
  const element = h("div", { class: `net side-${net.side}` },
    h("h3", {}, h("span", { class: "key" }), net.model.name, h("span", { class: "n", text: ` ${net.model.arch}, ${all} ${small}s` })),
    drawn, detail,
    h("div", { class: "until" }, course, slider, h("p", { class: "n" }, h("label", { for: `first-${net.side}`, text: `Only the first ${small}s work: ` }), state)));

  const draw = (net_, target) => {
    const { said, reasons, off, left } = net_;
    const whole = said?.whole, reduced = said?.reduced;
    const given = reasons?.units.length ? reasons.units.map((u) => u.contribution) : null;
    const now = given && off.size && left ? left : given;
    const low = Math.min(0, ...(given ?? []), ...(left ?? []).map((c) => c ?? 0)), high = Math.max(0, ...(given ?? []), ...(left ?? []).map((c) => c ?? 0));
    const zero = given ? -low / Math.max(1e-9, high - low) : 0;
    const strong = Math.max(1, ...[...(whole?.units ?? []), ...(reduced?.units ?? [])].map((u) => u.ratio ?? 0));
    drawn.classList.toggle("told", Boolean(given));
    drawn.classList.toggle("waits", !given && info.why_not === null && !net_.failed);
    drawn.classList.toggle("stale", Boolean(given && off.size && !left));
    drawn.style.setProperty("--zero", zero);
    drawn.style.setProperty("--one", 1 / strong);
    buttons.forEach((button, i) => {
      const on = !off.has(i), c = on ? now?.[i] : 0, r = on ? (reduced?.units[i].ratio ?? null) : null;
      const [was, is] = button.querySelectorAll(".gives i");
      for (const [bar, value] of [[was, given?.[i] ?? 0], [is, c ?? 0]]) {
        bar.style.setProperty("--length", Math.abs(value) / Math.max(1e-9, high - low));
        bar.classList.toggle("against", value < 0);
      }
      was.hidden = !off.size;
      button.querySelector(".strength i").style.setProperty("--length", (r ?? 0) / strong);
      button.setAttribute("aria-checked", String(on));
      button.setAttribute("aria-label", [`${word} ${i + 1}, ${on ? "on" : "off"}`, given ? `gives ${signed(given[i])} to ${target}` : null,
        whole?.units[i].ratio !== null && whole ? `|F| over |x| is ${figure(whole.units[i].ratio)}` : null].filter(Boolean).join(", "));
      button.title = [`${small} ${i + 1}: ${on ? "on" : "off"}`, given ? `gives ${signed(given[i])} to ${target}` : null,
        now && off.size && on && left ? `now ${signed(left[i])}` : null, r === null ? null : `|F|/|x| ${figure(r)}`].filter(Boolean).join("\n");
    });
    const k = firstOf(off, all);
    slider.value = k ?? all - off.size;
    state.textContent = k === null ? `your choice, ${all - off.size} of ${all} work` : k === all ? `all ${all}` : `${k} of ${all}`;
    slider.setAttribute("aria-valuetext", state.textContent);
    if (reduced) end.replaceChildren(h("b", { text: reduced.classes[0] }), h("span", { class: "n", text: percent(reduced.probabilities[0]) }));
    end.classList.toggle("other", Boolean(reduced && reduced.classes[0] !== whole.classes[0]));
    if (net_.reasons !== drawnOf) { drawnOf = net_.reasons; course.replaceChildren(...way(reasons, all, target)); }
  };
  let drawnOf;
  return { element, update: draw, buttons };
};

// How many units work if only the first ones do, else null.
export const firstOf = (off, all) => {
  for (let i = all - off.size; i < all; i++) if (!off.has(i)) return null;
  return all - off.size;
};

// The target's probability as units are added, and what leads on the way.
const way = (reasons, all, target) => {
  if (!reasons?.units.length) return [];
  const p = [reasons.bare, ...reasons.units.map((u) => u.added)].map((v) => v ?? 0);
  const points = p.map((v, k) => `${k} ${(1 - v).toFixed(4)}`);
  const parts = [];
  reasons.units.forEach((u, i) => {
    if (parts.at(-1)?.leads === u.leads) parts.at(-1).to = i + 1;
    else parts.push({ leads: u.leads, from: i, to: i + 1 });
  });
  return [h("span", { class: "of-class n", text: `probability of ${target} as units are added, and what leads` }),
    svg("svg", { viewBox: `0 0 ${all} 1`, preserveAspectRatio: "none" },
      svg("path", { class: "area", d: `M0 1L${points.join("L")}L${all} 1Z` }), svg("path", { class: "line", d: `M${points.join("L")}` })),
  h("div", { class: "leads n" }, parts.map((l) => h("span", { text: l.leads, title: `${l.leads} leads`, vars: { from: l.from / all, to: l.to / all } })))];
};
