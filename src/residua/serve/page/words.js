// Numbers as people read them.
export const percent = (p) => {
  if (p === null || p === undefined) return "–";
  const n = 100 * p;
  if (n === 0) return "0\u00a0%";
  if (n > 0 && n < 0.1) return "<\u00a00.1\u00a0%";
  if (n < 100 && n > 99.9) return ">\u00a099.9\u00a0%";
  return `${n.toFixed(n < 10 || (n > 99 && n < 100) ? 1 : 0)}\u00a0%`; // numbers stay whole at the end of a line
};
export const figure = (x) => {
  if (x === null || x === undefined) return "–";
  const a = Math.abs(x);
  return (a >= 100 ? x.toFixed(0) : a >= 10 ? x.toFixed(1) : x.toFixed(2)).replace("-", "−");
};
export const signed = (x) => (x === null || x === undefined ? "–" : (x > 0 ? "+" : "") + figure(x));
export const count = (n) => Math.round(n).toLocaleString("en-US");
export const several = (n, word, many = `${word}s`) => `${count(n)} ${n === 1 ? word : many}`;
export const listed = (words) =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}`;
export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};
export const best = (values, of) => values.reduce((a, b) => (of(b) > of(a) ? b : a));
export const units = (indices, all) =>
  indices.length > 4 ? `${indices.length} of ${all} units` :
    `${indices.length === 1 ? "unit" : "units"} ${listed(indices.map((i) => String(i + 1)))}`;
