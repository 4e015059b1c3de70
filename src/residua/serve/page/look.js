// One photo: what the model says of it, and why.
import { h, tell } from "/page/dom.js";
import { bars } from "/page/bars.js";
import { boxes } from "/page/boxes.js";
import { depth } from "/page/depth.js";
import { saving } from "/page/save.js";
import { percent } from "/page/words.js";

const TINY = 64; // pixels: pictures up to here keep their hard edges

export const picture = (photo) => {
  const image = h("img", { src: photo.url, alt: photo.name, class: "shot" });
  image.addEventListener("load", () => {
    image.classList.toggle("tiny", Math.max(image.naturalWidth, image.naturalHeight) <= TINY);
  });
  image.addEventListener("error", () => image.replaceWith(h("span", { class: "unseen", text: "no preview" })));
  return image;
};

// The photo under the heat of what speaks for a class, as much of it as the slider says.
const heated = (photo) => {
  const frame = h("div", { class: "frame" }, picture(photo));
  const slider = h("input", { type: "range", min: 0, max: 100, value: 100, id: "heat", "aria-label": "Heat over the photo" });
  const caption = h("span", { id: "heat-said" });
  const control = h("div", { class: "heat", hidden: true }, h("label", { for: "heat", text: "photo" }), slider,
    h("span", { text: "heat" }));
  const figure = h("figure", { class: "photo" }, frame, h("figcaption", {}, control, caption));
  let map = null;
  slider.addEventListener("input", () => frame.style.setProperty("--heat", slider.value / 100));
  return {
    element: figure,
    wait: () => { caption.textContent = "looking where it looked…"; },
    update: (reasons) => {
      const fresh = h("img", { class: "map", alt: "", src: `data:image/png;base64,${reasons.map}` });
      fresh.addEventListener("load", () => {
        fresh.classList.toggle("tiny", fresh.naturalWidth <= TINY);
        const under = frame.querySelector(".shot"); // of a long strip only the middle is drawn
        const part = under && Math.abs(fresh.naturalWidth * under.naturalHeight / (fresh.naturalHeight * under.naturalWidth) - 1) > 0.05;
        frame.classList.toggle("part", Boolean(part));
      });
      map?.remove();
      map = fresh;
      frame.append(map);
      control.hidden = false;
      caption.textContent = reasons.nothing ? `Nothing on this picture speaks for ${reasons.target}.` :
        `Where ${reasons.target} was seen.`;
    },
    fail: (line) => { caption.textContent = line; },
  };
};

const headline = (back, photos, photo, model) => {
  const place = photos.indexOf(photo);
  return h("div", { class: "of" },
    back ? h("button", { type: "button", class: "quiet", id: "back", on: { click: back } }, "← All photos") : null,
    h("span", { class: "n file", text: photos.length > 1 ? `${photo.name} · ${place + 1} of ${photos.length}` : photo.name }),
    saving([photo], () => 0, model.name));
};

const named = ({ photo, model, models, back, photos }) => {
  const figure = heated(photo);
  const label = h("p", { class: "label", id: "label" }), sure = h("p", { class: "sure", id: "sure" });
  const problem = h("p", { class: "trouble", hidden: true });
  const holder = h("div", { class: "holder" });
  const deep = depth({ photo, model, models, figure, holder, bars, headline: (name, p, was) => {
    label.textContent = name;
    sure.textContent = was === null ? percent(p) : `${percent(p)}, was ${percent(was)}`;
  } });
  const element = h("div", {}, headline(back, photos, photo, model), problem,
    h("div", { class: "answer" }, figure.element,
      h("div", { class: "says" }, h("p", { class: "n eyebrow", text: "The net says" }), label, sure, holder,
        h("p", { class: "n small", text: "Choose a class to see what speaks for it." }))),
    deep.element);
  let begun = false;
  const update = () => {
    if (photo.problem) {
      problem.textContent = `${photo.name}: ${photo.problem}`;
      problem.hidden = false;
      element.classList.add("failed");
    } else if (photo.said?.classes && !begun) {
      begun = true;
      label.textContent = photo.said.classes[0];
      sure.textContent = percent(photo.said.probabilities[0]);
      tell(`${photo.said.classes[0]}, ${percent(photo.said.probabilities[0])}`);
      deep.begin(photo.said);
    }
  };
  update();
  return { element, update, leave: deep.leave };
};

const placed = ({ photo, model, back, photos }) => {
  const made = boxes({ photo, model, picture });
  const problem = h("p", { class: "trouble", hidden: true });
  const element = h("div", {}, headline(back, photos, photo, model), problem, made.element);
  element.querySelector(".saving").replaceWith(saving([photo], made.least, model.name));
  const update = () => {
    if (photo.problem) {
      problem.textContent = `${photo.name}: ${photo.problem}`;
      problem.hidden = false;
    } else if (photo.said) made.update(photo.said);
  };
  update();
  return { element, update };
};

export const look = (asked) => (asked.model.task === "classification" ? named(asked) : placed(asked));
