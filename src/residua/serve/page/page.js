// The page: which model, which photos, one of them or the contact sheet; or the runs.
import { at, h, tell } from "/page/dom.js";
import { Trouble, ask, form, left } from "/page/ask.js";
import { intake } from "/page/intake.js";
import { look } from "/page/look.js";
import { sheet } from "/page/sheet.js";
import { runs } from "/page/runs.js";
import { several } from "/page/words.js";

//: Pictures and bytes that go into one request; scores of detections that are fetched, of which a slider shows some.
const TOGETHER = 8, TOGETHER_BYTES = 12e6, LEAST_SCORE = 0.05, TOP = 5;

const state = { models: [], model: null, photos: [], more: 0, open: null, view: null, work: new AbortController() };

const trouble = (line) => {
  at("trouble").textContent = line ?? "";
  at("trouble").hidden = !line;
};
addEventListener("residua-trouble", (event) => trouble(event.detail));

// -- answers --------------------------------------------------------------------------------------------------------

const groups = (photos) => {
  const made = [];
  let bytes = 0;
  for (const photo of photos) {
    const last = made.at(-1);
    if (last && last.length < TOGETHER && bytes + photo.file.size < TOGETHER_BYTES) {
      last.push(photo);
      bytes += photo.file.size;
    } else {
      made.push([photo]);
      bytes = photo.file.size;
    }
  }
  return made;
};

const answered = async (some, signal) => {
  const words = { model: state.model.name, top: TOP };
  if (state.model.task === "detection") words.threshold = Math.min(LEAST_SCORE, state.model.threshold ?? 1);
  const wait = (seconds) => trouble(`The server is busy: asking again in ${several(seconds, "second")}.`);
  try {
    const { predictions } = await ask("/v1/predict", { body: form(some, words), signal, wait });
    trouble(null);
    some.forEach((photo, i) => {
      photo.said = predictions[i];
      photo.problem = predictions[i].error ?? null;
    });
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    if (some.length > 1 && [400, 413].includes(error.status)) {
      for (const one of some) await answered([one], signal);
      return;
    }
    for (const photo of some) photo.problem = error.message.replace(/^(['"]).*\1: /s, ""); // it is named beside
    if (![400, 413].includes(error.status)) throw error;
  }
};

const begin = async () => {
  state.work.abort();
  state.work = new AbortController();
  const { signal } = state.work;
  trouble(null);
  for (const photo of state.photos) Object.assign(photo, { said: null, problem: null });
  show();
  const waiting = groups(state.photos);
  const worker = async () => {
    for (let some = waiting.shift(); some; some = waiting.shift()) {
      await answered(some, signal);
      if (!signal.aborted) state.view?.update(some);
    }
  };
  try {
    await Promise.all([worker(), worker()]);
    if (state.photos.length > 1) tell(`${several(state.photos.length, "photo")} answered.`);
  } catch (error) {
    if (left(error)) return;
    trouble(error.message);
    state.view?.update(state.photos);
    if (!(error instanceof Trouble)) throw error;
  }
};

// -- what is shown --------------------------------------------------------------------------------------------------

const show = () => {
  state.view?.leave?.();
  const { photos, open, model, models } = state;
  at("intake").classList.toggle("slim", photos.length > 0);
  at("pictures").classList.toggle("busy", photos.length > 0);
  const back = photos.length > 1 ? () => { history.back(); } : null;
  if (!photos.length) state.view = null;
  else if (open) state.view = look({ photo: open, model, models, back, photos });
  else state.view = sheet({ photos, model, more: state.more, choose: (photo) => {
    history.pushState({ open: photos.indexOf(photo) }, "");
    state.open = photo;
    show();
    scrollTo(0, 0);
    at("work").querySelector("button")?.focus();
  } });
  at("work").replaceChildren(...(state.view ? [state.view.element] : []));
};

addEventListener("popstate", (event) => {
  const open = event.state?.open;
  const next = state.photos.length === 1 ? state.photos[0] : state.photos[open] ?? null;
  if (location.hash === "#runs" || next === state.open) return;
  state.open = next;
  show();
});

const take = (photos, more) => {
  for (const photo of state.photos) URL.revokeObjectURL(photo.url);
  state.photos = photos.map((p) => ({ ...p, url: URL.createObjectURL(p.file) }));
  state.open = photos.length === 1 ? state.photos[0] : null;
  state.more = more;
  if (location.hash === "#runs") location.hash = "#pictures";
  if (!state.model) return;
  begin();
};

const about = () => {
  const m = state.model;
  at("about").textContent = `${m.arch}, ${several(m.classes.length, "class", "classes")}` +
    (m.refused ? ` · a newer file was refused: ${m.refused}` : "");
};

const route = () => {
  const on = location.hash === "#runs" ? "runs" : "pictures";
  for (const name of ["pictures", "runs"]) {
    at(name).hidden = name !== on;
    at(`to-${name}`).toggleAttribute("aria-current", name === on);
  }
  if (on === "runs") runs(at("runs-work"));
};

addEventListener("hashchange", route);
intake(take);
route();
try {
  const { models } = await ask("/v1/models");
  state.models = models;
  at("model").append(...models.map((m) => h("option", { value: m.name, text: m.name })));
  at("model").addEventListener("change", () => {
    state.model = models.find((m) => m.name === at("model").value);
    about();
    if (state.photos.length) begin();
  });
  state.model = models[0];
  at("which").hidden = false;
  at("served").textContent = `${several(models.length, "model")} served.`;
  about();
  document.body.dataset.ready = "";
  if (state.photos.length) begin();
} catch (error) {
  trouble(error.message);
}
