// Classes with their probabilities as bars; of one net or of two, whole and without some units.
import { h } from "/page/dom.js";
import { percent } from "/page/words.js";

const row = (name, sides, follow) => {
  const tracks = Array.from({ length: sides }, (_, i) =>
    h("span", { class: `track side-${i}` }, h("i", { class: "now" }), h("i", { class: "was" })));
  const values = tracks.map((_, i) => h("span", { class: `value side-${i}` }));
  const button = h("button", { type: "button", class: "class", "aria-pressed": "false", title: `Explain ${name}`,
    on: { click: () => follow(name) } },
  h("span", { class: "name", text: name }),
  h("span", { class: "both" }, tracks.flatMap((t, i) => [t, values[i]])));
  return { element: h("li", {}, button), button, tracks, values };
};

// `update(rows, followed)`: rows of [class, [[whole, now], ...]] in their order.
export const bars = (sides, follow) => {
  const element = h("ol", { class: "bars", "aria-label": "Classes by probability" });
  const known = new Map();
  const update = (rows, followed) => {
    const names = rows.map(([name]) => name);
    for (const [name, made] of known) if (!names.includes(name)) { made.element.remove(); known.delete(name); }
    rows.forEach(([name, pairs], place) => {
      if (!known.has(name)) known.set(name, row(name, sides, follow));
      const made = known.get(name);
      if (element.children[place] !== made.element) element.insertBefore(made.element, element.children[place] ?? null);
      made.button.setAttribute("aria-pressed", String(name === followed));
      pairs.forEach(([whole, now], i) => {
        const missing = now === null || now === undefined;
        made.tracks[i].style.setProperty("--now", missing ? 0 : now);
        made.tracks[i].style.setProperty("--was", whole ?? 0);
        made.tracks[i].classList.toggle("changed", !missing && Math.abs(whole - now) > 0.002);
        made.values[i].textContent = percent(now);
      });
    });
  };
  return { element, update };
};
