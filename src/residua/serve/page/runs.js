// Runs: which there are, their curves side by side, their reports.
import { h } from "/page/dom.js";
import { ask } from "/page/ask.js";
import { curves } from "/page/curves.js";
import { count, percent } from "/page/words.js";

const TONES = 8, FIRST = 3, AGAIN_SECONDS = 5;
const NOT_CURVES = new Set(["epoch", "step", "seconds", "images_per_second", "waiting"]);
const WORDS = { val_error: "validation error", val_loss: "validation loss", train_error: "training error", train_loss: "training loss",
  val_ap50: "AP50 on held-out pictures", val_ap: "AP on held-out pictures", lr: "learning rate", test_error: "test error",
  val_top1_localization_error: "localization error", val_given_localization_error: "error of place" };
const SCORES = { top1_error: "test error", top1_localization_error: "localization error", ap50: "AP50", ap: "AP" };
const PREFERRED = ["val_error", "val_ap50", "val_top1_localization_error", "val_loss", "train_loss"];
const SHARE = /error|_ap|accuracy/;

const state = { chosen: null, metric: null, timer: 0, columns: new Map() };

const score = (run) => {
  const [word, value] = Object.entries(run.scores)[0] ?? [];
  return word ? h("span", {}, h("b", { text: percent(value) }), h("span", { class: "n", text: ` ${SCORES[word]}` })) :
    h("span", { class: "n", text: run.finished ? "" : "not finished" });
};

const when = (seconds) => new Date(1000 * seconds).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });

export const runs = async (holder) => {
  clearTimeout(state.timer);
  let said;
  try {
    said = await ask("/v1/runs");
  } catch (error) {
    holder.replaceChildren(h("p", { class: "trouble", role: "alert", text: error.message }));
    return;
  }
  if (!said.shown || !said.runs.length) {
    holder.replaceChildren(h("p", { class: "say" }, said.shown ? "There are no runs in the folder yet." :
      ["This server shows no runs. Start it with ", h("code", { text: "--runs FOLDER" }), ", the folder that holds them."]));
    return;
  }
  const listed = said.runs;
  const like = listed.find((r) => r.finished) ?? listed[0];
  state.chosen ??= new Set(listed.filter((r) => r.task === like.task && r.data === like.data).slice(0, FIRST).map((r) => r.run));
  const tone = (run) => `tone-${listed.findIndex((r) => r.run === run) % TONES}`;
  const chart = h("div", { class: "drawing" }), metric = h("select", { id: "metric" });

  const draw = () => {
    const chosen = listed.filter((r) => state.chosen.has(r.run) && state.columns.has(r.run));
    const names = [...new Set(chosen.flatMap((r) => Object.keys(state.columns.get(r.run))))].filter((c) => !NOT_CURVES.has(c));
    if (!names.includes(state.metric)) state.metric = PREFERRED.find((m) => names.includes(m)) ?? names[0];
    metric.replaceChildren(...names.map((c) => h("option", { value: c, text: WORDS[c] ?? c.replaceAll("_", " "), selected: c === state.metric })));
    const lines = chosen.flatMap((r) => {
      const columns = state.columns.get(r.run), train = state.metric?.replace(/^val_/, "train_");
      const x = columns.epoch ?? [], made = [];
      if (train !== state.metric && columns[train]) made.push({ name: r.run, tone: tone(r.run), x, y: columns[train], thin: true });
      if (columns[state.metric]) made.push({ name: r.run, tone: tone(r.run), x, y: columns[state.metric] });
      return made;
    });
    const words = WORDS[state.metric] ?? state.metric ?? "";
    chart.replaceChildren(...(lines.length ? [curves(lines, { share: SHARE.test(state.metric), words: `${words} of ${chosen.map((r) => r.run).join(", ")}, by epoch` }),
      h("p", { class: "n small", text: lines.some((l) => l.thin) ? "By epoch; thin: the same while training." : "By epoch." })] :
      [h("p", { class: "n", text: chosen.length ? "These runs have no epochs yet." : "Choose runs to compare." })]));
  };

  const fetchAll = async (fresh) => {
    await Promise.all(listed.filter((r) => state.chosen.has(r.run) && (fresh || !state.columns.has(r.run))).map(async (r) => {
      try {
        state.columns.set(r.run, (await ask(`/v1/runs/${encodeURIComponent(r.run)}/metrics`)).columns);
      } catch (error) {
        chart.replaceChildren(h("p", { class: "trouble", role: "alert", text: error.message }));
      }
    }));
    draw();
  };

  const rows = listed.map((r) => h("tr", { class: tone(r.run) },
    h("td", {}, h("label", {}, h("input", { type: "checkbox", checked: state.chosen.has(r.run), "aria-label": `Compare ${r.run}`, on: { change: (event) => {
      if (event.target.checked) state.chosen.add(r.run); else state.chosen.delete(r.run);
      fetchAll(false);
    } } }), h("span", { class: "swatch" }), h("b", { text: r.run }))),
    h("td", { text: r.arch ?? "" }), h("td", { text: r.data ?? "" }), h("td", {}, score(r)),
    h("td", { class: "n", text: r.params ? count(r.params) : "" }), h("td", { class: "n", text: when(r.changed) }),
    h("td", {}, r.report ? h("a", { href: r.report, target: "_blank", rel: "noopener noreferrer", text: "Report" }) : "")));
  metric.addEventListener("change", () => { state.metric = metric.value; draw(); });
  holder.replaceChildren(
    h("div", { class: "of" }, h("span", {}, h("label", { for: "metric", text: "Curve " }), metric)), chart,
    h("div", { class: "scroll" }, h("table", { class: "runs" },
      h("thead", {}, h("tr", {}, ["run", "net", "data", "result", "parameters", "changed", ""].map((t) => h("th", { scope: "col", text: t })))),
      h("tbody", {}, rows))));
  await fetchAll(true);
  if (listed.some((r) => !r.finished && state.chosen.has(r.run))) {
    const again = async () => {
      if (location.hash !== "#runs") return;
      if (!document.hidden) await fetchAll(true);
      state.timer = setTimeout(again, 1000 * AGAIN_SECONDS);
    };
    state.timer = setTimeout(again, 1000 * AGAIN_SECONDS);
  }
};
