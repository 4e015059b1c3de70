// Answers as files, with the columns of `residua predict --out`.
import { h } from "/page/dom.js";

const FORMULA = /^[=+\-@\t\r]/; // what spreadsheets would run (OWASP, "CSV injection")

const cell = (value) => {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = FORMULA.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

export const csv = (rows) => {
  const columns = [...new Set(rows.flatMap(Object.keys))];
  return [columns, ...rows.map((row) => columns.map((c) => row[c]))]
    .map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
};

// One row a picture, or a row for each thing found on it.
export const rows = (photos, least) => photos.flatMap((photo) => {
  const said = photo.said;
  if (!said || said.error || photo.problem) return [{ path: photo.name, problem: said?.error ?? photo.problem ?? "no answer" }];
  if (said.classes) {
    const row = { path: photo.name };
    said.classes.forEach((c, i) => {
      row[`class_${i + 1}`] = c;
      row[`probability_${i + 1}`] = said.probabilities[i];
    });
    return [{ ...row, problem: "" }];
  }
  const found = said.detections?.filter((d) => d.score >= least) ?? said.places;
  return found.map((f) => ({
    path: photo.name, class: f.class, score: f.score ?? f.probability,
    left: f.box[0], top: f.box[1], right: f.box[2], bottom: f.box[3],
  }));
});

export const save = (name, type, text) => {
  const url = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
};

export const saving = (photos, least, model) => {
  const json = () => JSON.stringify({
    model, predictions: photos.map((p) => ({ ...(p.said ?? { error: p.problem }), name: p.name, explanation: undefined })),
  }, null, 1);
  return h("div", { class: "saving" },
    h("button", { class: "quiet", type: "button", id: "save-csv",
      on: { click: () => save("answers.csv", "text/csv", csv(rows(photos, least()))) } }, "CSV"),
    h("button", { class: "quiet", type: "button", id: "save-json",
      on: { click: () => save("answers.json", "application/json", json()) } }, "JSON"));
};
