// The residual idea in three sentences, from the numbers on the screen.
import { best, figure, median, percent, signed, units } from "/page/words.js";

const fell = (said, target) => {
  const { whole, reduced } = said, leads = reduced.classes[0];
  const now = leads === target || leads === whole.classes[0] ? "" : `, and the net says ${leads}`;
  return `from ${percent(whole.target_probability)} to ${percent(reduced.target_probability)}${now}`;
};

const residual = (net, twin, target) => {
  const { said, info, reasons, off } = net, all = info.units.length;
  const ratios = said.whole.units.map((u) => u.ratio).filter((r) => r !== null);
  const idea = `Each of these ${all} units adds a correction F(x) to what it receives, H(x) = F(x) + x; on this photo F is ` +
    `${figure(Math.min(...ratios))} to ${figure(Math.max(...ratios))} times as long as x, ${figure(median(ratios))} in the middle.`;
  const parts = reasons?.units.map((u, i) => ({ i, c: u.contribution }));
  if (!parts?.length) return [idea, net.failed ? `What each of them gives to the score of ${target} could not be measured in time.` :
    `What each of them gives to the score of ${target} is being measured…`, gone(net, twin, target, null)];
  const up = best(parts, (p) => p.c), down = best(parts, (p) => -p.c), least = best(parts, (p) => -Math.abs(p.c));
  const against = down.c < 0 ? `, unit ${down.i + 1} speaks most against it (${signed(down.c)}),` : "";
  const sum = `What they give adds up to the score of ${target}: unit ${up.i + 1} gives most (${signed(up.c)})${against} and with none of them ` +
    `at work it would be ${figure(reasons.bare_logit)} instead of ${figure(reasons.logit)}.`;
  return [idea, sum, gone(net, twin, target, off.size ? null : least.i)];
};

const gone = (net, twin, target, least) => {
  const { said, off, info } = net, which = units([...off].sort((a, b) => a - b), info.units.length);
  if (!off.size) {
    return least === null ? "Switch a unit off, and x still arrives by the shortcut: the net goes on." :
      `Switch a unit off, and x still arrives by the shortcut, so the net goes on: try unit ${least + 1}, which gives least here.`;
  }
  const here = `Without ${which}, what they received still arrives by the shortcut, and ${target} goes ${fell(said, target)}`
    .replace(/Without unit \d+, what they/, (w) => w.replace("they", "it"));
  if (!twin?.said || twin.info.kind === "residual" || !twin.off.size) return `${here}.`;
  return `${here}; in ${twin.model.name}, where nothing leads around a unit, it goes ${fell(twin.said, target)}.`;
};

const plain = (net, target) => {
  const { said, info, off } = net, all = info.units.length, word = info.kind === "layers" ? "layers" : "units";
  const which = units([...off].sort((a, b) => a - b), all).replace("unit", info.kind === "layers" ? "layer" : "unit");
  return [
    `Each of these ${all} ${word} puts F(x) in the place of what it receives, H(x) = F(x): no shortcut leads around it.`,
    "So what it gives cannot be told from what it passes on, and there is no sum of contributions to draw.",
    off.size ? `Without ${which}, its neighbours are joined, which they never learned to bear: ${target} goes ${fell(said, target)}.` :
      "Switch one off, and its neighbours are joined, which they never learned to bear.",
  ];
};

export const lesson = (net, twin, target) => (net.info.kind === "residual" ? residual(net, twin, target) : plain(net, target));
