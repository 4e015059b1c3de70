// Many photos: the contact sheet.
import { h } from "/page/dom.js";
import { picture } from "/page/look.js";
import { saving } from "/page/save.js";
import { count, percent, several } from "/page/words.js";

const ORDERS = { given: "as given", unsure: "least sure first", class: "by class" };

const told = (photo, model) => {
  const said = photo.said;
  if (photo.problem) return { label: "not answered", note: photo.problem, p: -1, bad: true };
  if (!said) return { label: "…", note: "", p: 2 };
  if (said.classes) return { label: said.classes[0], p: said.probabilities[0], note: percent(said.probabilities[0]), bar: true };
  if (said.places) {
    const [first] = said.places;
    return first ? { label: first.class, p: first.probability, note: percent(first.probability), bar: true } : { label: "nothing", p: 0, note: "" };
  }
  const found = said.detections.filter((d) => d.score >= (model.threshold ?? 0.5));
  const counts = new Map();
  for (const f of found) counts.set(f.class, (counts.get(f.class) ?? 0) + 1);
  return { label: several(found.length, "box", "boxes"), p: found.length, note: [...counts].map(([c, n]) => `${n} ${c}`).join(", ") };
};

export const sheet = ({ photos, model, more, choose }) => {
  const cards = new Map(photos.map((photo) => {
    const label = h("b", { class: "name" }), note = h("span", { class: "n" }), bar = h("i", { class: "level", hidden: true });
    const element = h("li", {}, h("button", { type: "button", class: "card", on: { click: () => choose(photo) } },
      h("span", { class: "thumb" }, picture(photo)), label, bar, note));
    return [photo, { element, label, note, bar, button: element.firstChild }];
  }));
  const grid = h("ol", { class: "sheet", "aria-label": "Photos" });
  const order = h("select", { id: "order", on: { change: () => arrange() } },
    Object.entries(ORDERS).map(([value, text]) => h("option", { value, text })));
  const progress = h("span", { class: "n", id: "progress" });
  const element = h("div", {}, h("div", { class: "of" }, progress,
    h("span", {}, h("label", { for: "order", text: "Order " }), order), saving(photos, () => model.threshold ?? 0.5, model.name)), grid);

  const arrange = () => {
    const sorted = [...photos];
    const of = (p) => told(p, model);
    if (order.value === "unsure") sorted.sort((a, b) => of(a).p - of(b).p);
    if (order.value === "class") sorted.sort((a, b) => of(a).label.localeCompare(of(b).label) || of(b).p - of(a).p);
    grid.append(...sorted.map((p) => cards.get(p).element));
  };
  const update = (some) => {
    for (const photo of some) {
      const { label, note, bar, button } = cards.get(photo), t = told(photo, model);
      label.textContent = t.label;
      note.textContent = t.note;
      bar.hidden = !t.bar;
      if (t.bar) bar.style.setProperty("--now", t.p);
      button.classList.toggle("bad", Boolean(t.bad));
      button.title = photo.name;
      button.setAttribute("aria-label", `${photo.name}: ${t.label} ${t.note}`);
    }
    const done = photos.filter((p) => p.said || p.problem).length;
    const bad = photos.filter((p) => p.problem).length;
    progress.textContent = done < photos.length ? `${done} of ${several(photos.length, "photo")}` :
      several(photos.length, "photo") + (bad ? `, ${bad} not answered` : "") + (more ? `; ${count(more)} more were given than are taken at once` : "");
    if (order.value !== "given") arrange();
  };
  update(photos);
  arrange();
  return { element, update };
};
