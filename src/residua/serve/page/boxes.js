// Things and their places: boxes over the photo, and a list beside it.
import { h, tell } from "/page/dom.js";
import { percent, several } from "/page/words.js";

const TONES = 8;

export const boxes = ({ photo, model, picture }) => {
  const detector = model.task === "detection";
  const frame = h("div", { class: "frame" }, picture(photo));
  const list = h("ol", { class: "found", "aria-label": "What was found" });
  const slider = h("input", { type: "range", id: "threshold", min: 0.05, max: 1, step: 0.01, value: model.threshold ?? 0.5 });
  const value = h("output", { for: "threshold", id: "least" });
  const said = h("p", { class: "label", id: "label" });
  let found = [], size = null;
  const least = () => (detector ? Number(slider.value) : 0);
  const tone = (name) => `tone-${Math.max(0, model.classes.indexOf(name)) % TONES}`;

  const draw = () => {
    const shown = found.filter((f) => f.score >= least());
    value.textContent = Number(slider.value).toFixed(2);
    const marks = [], rows = [];
    for (const f of shown) {
      const [x0, y0, x1, y1] = f.box;
      const mark = h("div", { class: `box ${tone(f.class)}`, vars: {
        x: x0 / size.width, y: y0 / size.height, w: (x1 - x0) / size.width, h: (y1 - y0) / size.height } },
      shown.length <= 40 ? h("span", { text: f.class }) : null);
      const lit = (on) => () => { mark.classList.toggle("lit", on); row.classList.toggle("lit", on); };
      const row = h("li", { class: tone(f.class), tabindex: 0, on: {
        mouseenter: lit(true), mouseleave: lit(false), focus: lit(true), blur: lit(false) } },
      h("b", { text: f.class }), " ", h("span", { class: "n", text: percent(f.score) }));
      mark.addEventListener("mouseenter", lit(true));
      mark.addEventListener("mouseleave", lit(false));
      marks.push(mark);
      rows.push(row);
    }
    frame.querySelectorAll(".box").forEach((b) => b.remove());
    frame.append(...marks);
    list.replaceChildren(...rows);
    const counts = new Map();
    for (const f of shown) counts.set(f.class, (counts.get(f.class) ?? 0) + 1);
    said.textContent = detector ?
      ([...counts].map(([name, n]) => `${n} ${name}`).join(", ") || "Nothing from this score on") : found[0]?.class ?? "";
    tell(detector ? `${several(shown.length, "box", "boxes")} from a score of ${value.textContent}` : said.textContent);
  };
  slider.addEventListener("input", draw);
  const control = detector ? h("div", { class: "threshold" },
    h("label", { for: "threshold" }, "Show from score ", value), slider) : null;
  const element = h("div", { class: "answer placed" }, h("figure", { class: "photo" }, frame),
    h("div", { class: "says" }, h("p", { class: "n eyebrow", text: detector ? "Found" : "The net says" }), said, control, list));
  const update = (answer) => {
    size = answer;
    found = answer.detections ?? answer.places.map((p) => ({ ...p, score: p.probability }));
    if (!detector) found = found.slice(0, 5);
    draw();
    if (!detector) frame.querySelectorAll(".box").forEach((b, i) => b.classList.toggle("second", i > 0));
  };
  return { element, update, least };
};
