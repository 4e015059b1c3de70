// The depth view: one net or two as stacks of units that can be switched off, and what becomes of the answer.
import { h, tell } from "/page/dom.js";
import { Trouble, ask, form, left } from "/page/ask.js";
import { lesson } from "/page/lesson.js";
import { firstOf, stackOf } from "/page/stack.js";
import { percent, units } from "/page/words.js";

//: Classes that are asked for, of which those are shown that lead somewhere.
const TOP = 20, LEAD = 5, LEAD_NOW = 3, SHOWN = [8, 6];
//: Contributions without the units that are off are asked for where all of them took no longer than so.
const QUICK_MS = 4000, SETTLED_MS = 450;

const known = new Map(); // of a model's file: its units

const unitsOf = async (model, signal) => {
  const key = `${model.name} ${model.digest}`;
  if (!known.has(key)) known.set(key, await ask(`/v1/models/${encodeURIComponent(model.name)}/units`, { signal }));
  return known.get(key);
};

const same = (a, b) => a.length === b.length && [...a].sort().every((c, i) => c === [...b].sort()[i]);

export const depth = ({ photo, model, models, figure, holder, bars, headline }) => {
  const gone = new AbortController();
  const nets = [];
  let target = null, rows = null, said = null, linked = true;

  const line = h("p", { class: "trouble", role: "alert", hidden: true });
  const trouble = (words) => { line.textContent = words ?? ""; line.hidden = !words; };
  const sentences = h("ol", { class: "lesson" }, [0, 1, 2].map(() => h("li")));
  const reset = h("button", { type: "button", class: "quiet", id: "all-on", disabled: true, on: { click: () => first(0, null) } }, "All on");
  const twins = models.filter((m) => m !== model && m.task === "classification" && same(m.classes, model.classes));
  const twin = h("select", { id: "twin", on: { change: () => compare(twins.find((m) => m.name === twin.value) ?? null) } },
    h("option", { value: "", text: "nothing" }), twins.map((m) => h("option", { value: m.name, text: m.name })));
  const both = h("label", { class: "both-too", hidden: true },
    h("input", { type: "checkbox", id: "linked", checked: true, on: { change: (event) => { linked = event.target.checked; } } }), " switch both");
  const stacks = h("div", { class: "nets" });
  const strip = h("p", { class: "strip", hidden: true, "aria-hidden": "true" });
  const watching = new IntersectionObserver(([seen]) => { strip.hidden = seen.isIntersecting; }, { threshold: 0.3 });
  watching.observe(holder);
  const legend = h("p", { class: "legend n small" },
      h("span", {}, h("i", { class: "for" }), "gives to the class"), h("span", {}, h("i", { class: "against" }), "speaks against it"),
      h("span", {}, h("i", { class: "ratio" }), "|F| / |x|, how much a unit changes what it receives; dotted: as long as x"),
      h("span", {}, h("i", { class: "way" }), "the shortcut; where it bears a mark the shape changes (▷ padded with zeros, □ projected), and that much of the unit stays when it is off"));
  const element = h("section", { class: "depth", "aria-labelledby": "depth-title", hidden: true },
    h("div", { class: "of" }, h("h2", { id: "depth-title", text: "Which depth decided" }),
      twins.length ? h("span", {}, h("label", { for: "twin", text: "Compare with " }), twin, both) : null, reset),
    sentences, line, stacks,
    legend, strip);

  // -- drawing ------------------------------------------------------------------------------------------------------

  const draw = () => {
    const [a, b] = nets;
    if (!rows || rows.sides !== Math.max(1, nets.length)) {
      rows = { sides: Math.max(1, nets.length), ...bars(Math.max(1, nets.length), follow) };
      holder.replaceChildren(rows.element);
    }
    const leading = new Set(nets.filter((n) => n.said).flatMap((n) => [...n.said.whole.classes.slice(0, n === a ? LEAD : 1), ...n.said.reduced.classes.slice(0, LEAD_NOW)]));
    if (target) leading.add(target);
    const shown = a?.said ? a.said.change.filter((c) => leading.has(c.class)).slice(0, SHOWN[b ? 1 : 0]).map((c) => [c.class, [[c.whole, c.reduced]]]) :
      said.classes.map((c, i) => [c, [[said.probabilities[i], said.probabilities[i]]]]);
    if (b) {
      const of = new Map((b.said?.change ?? []).map((c) => [c.class, [c.whole, c.reduced]]));
      for (const [name, pairs] of shown) pairs.push(of.get(name) ?? [null, null]);
    }
    rows.update(shown, target ?? said.classes[0]);
    strip.replaceChildren(...[...shown].sort((x, y) => Math.max(...y[1].map(([, p]) => p ?? 0)) - Math.max(...x[1].map(([, p]) => p ?? 0))).slice(0, 3).map(([name, pairs]) => h("span", {}, h("b", { class: "name", text: name }),
      h("span", {}, pairs.map(([whole, now], i) => h("span", { class: `track side-${i}${Math.abs(whole - now) > 0.002 ? " changed" : ""}`, vars: { now: now ?? 0, was: whole ?? 0 } },
        h("i", { class: "now" }), h("i", { class: "was" })))),
      h("span", { class: "n" }, pairs.map(([, now]) => percent(now)).join(" · ")))));
    if (!a?.said) return;
    const { reduced } = a.said, changed = a.off.size > 0;
    headline(reduced.classes[0], reduced.probabilities[0], changed ? a.said.change.find((c) => c.class === reduced.classes[0])?.whole ?? null : null);
    for (const net of nets) net.view?.update(net, target);
    lesson(a, b, target).forEach((words, i) => { if (sentences.children[i].textContent !== words) sentences.children[i].textContent = words; });
    legend.hidden = nets.every((n) => n.info.kind !== "residual");
    reset.disabled = nets.every((n) => !n.off.size);
  };

  const spoken = () => tell(nets.filter((n) => n.said).map((n) => {
    const off = [...n.off].sort((x, y) => x - y), { whole, reduced } = n.said;
    return `${n.model.name}, ${off.length ? `without ${units(off, n.info.units.length)}` : "all units on"}: ${reduced.classes[0]} ` +
      `${percent(reduced.probabilities[0])}; ${target} ${percent(reduced.target_probability)}, with all units ${percent(whole.target_probability)}`;
  }).join(". "));

  // -- asking -------------------------------------------------------------------------------------------------------

  const question = async (net, contributions, signal) => {
    const words = { model: net.model.name, top: TOP, contributions, ...(target ? { class: target } : {}) };
    const off = [...net.off].map((i) => net.info.units[i].unit);
    if (net.seen) {
      try {
        return await ask("/v1/depth", { body: JSON.stringify({ ...words, off, seen: net.seen }), signal });
      } catch (error) {
        if (!(error instanceof Trouble) || error.status !== 410) throw error;
      }
    }
    return ask("/v1/depth", { body: form([photo], { ...words, off: off.join(",") }), signal });
  };

  const guarded = async (work) => {
    try {
      await work();
    } catch (error) {
      if (left(error)) return;
      trouble(error.message);
      if (!(error instanceof Trouble)) throw error;
    }
  };

  // What the net says with the units as they are; then, once the user rests, what the others give now.
  const refresh = (net, contributions = false) => guarded(async () => {
    net.asking?.abort();
    net.asking = new AbortController();
    clearTimeout(net.settling);
    const { signal } = net.asking;
    if (!contributions) net.left = null;
    const found = await question(net, contributions, signal);
    if (signal.aborted || gone.signal.aborted) return;
    Object.assign(net, { said: found, seen: found.seen });
    target ??= found.target;
    net.left = contributions ? found.reduced.units.map((u) => u.contribution) : null;
    trouble(null);
    element.hidden = false;
    draw();
    if (contributions) return;
    spoken();
    if (net.off.size && net.quick && !net.info.why_not) net.settling = setTimeout(() => refresh(net, true), SETTLED_MS);
  });

  // Where it looked, what each unit gives, the answer as units are added.
  const reason = (net) => guarded(async () => {
    net.reasoning?.abort();
    net.reasoning = new AbortController();
    net.failed = false;
    const began = performance.now(), main = net.side === 0;
    if (main) figure.wait();
    try {
      const { predictions } = await ask("/v1/predict", {
        body: form([photo], { model: net.model.name, explain: true, ...(target ? { class: target } : {}) }), signal: net.reasoning.signal });
      net.reasons = predictions[0].explanation;
      net.quick = performance.now() - began < QUICK_MS;
      if (main) figure.update(net.reasons);
    } catch (error) {
      if (left(error)) return;
      net.failed = true;
      if (main) figure.fail(error.message);
      if (!main) throw error;
    }
    draw();
  });

  const join = async (m, side) => {
    const info = await unitsOf(m, gone.signal);
    const net = { model: m, side, info, off: new Set(), said: null, reasons: null, seen: null, left: null, quick: false };
    net.view = stackOf(net, photo, { toggle: (i) => toggle(side, i), first: (k) => first(side, k) });
    nets[side] = net;
    stacks.append(net.view.element);
    return net;
  };

  // -- what the user does -------------------------------------------------------------------------------------------

  const partners = (side) => (linked && nets.length === 2 && nets[0].info.units.length === nets[1].info.units.length ? nets : [nets[side]]);

  const toggle = (side, i) => {
    const off = !nets[side].off.has(i);
    for (const net of partners(side)) {
      if (off) net.off.add(i); else net.off.delete(i);
      net.view.update(net, target);
      refresh(net);
    }
  };

  const first = (side, k) => {
    for (const net of k === null ? nets : partners(side)) {
      const all = net.info.units.length;
      const off = new Set(Array.from({ length: all }, (_, i) => i).filter((i) => i >= (k ?? all)));
      if (firstOf(net.off, all) === (k ?? all)) continue;
      net.off = off;
      net.view.update(net, target);
      refresh(net);
    }
  };

  const follow = (name) => {
    if (name === target || !nets.length) return;
    target = name;
    for (const net of nets) {
      net.reasons = null;
      refresh(net);
      reason(net);
    }
  };

  const compare = (m) => guarded(async () => {
    const [, old] = nets;
    if (old) {
      for (const work of [old.asking, old.reasoning]) work?.abort();
      clearTimeout(old.settling);
      old.view.element.remove();
      nets.length = 1;
    }
    both.hidden = true;
    if (m) {
      const net = await join(m, 1);
      const alike = net.info.units.length === nets[0].info.units.length;
      both.hidden = !alike;
      if (alike && linked) net.off = new Set(nets[0].off);
      await refresh(net);
      reason(net);
    }
    draw();
  });

  const begin = (answer) => guarded(async () => {
    said = answer;
    draw();
    let net;
    try {
      net = await join(model, 0);
    } catch (error) {
      if (!left(error)) figure.fail(`This net is not shown by its units: ${error.message}.`);
      return;
    }
    await refresh(net);
    await reason(net);
  });

  const leave = () => {
    gone.abort();
    watching.disconnect();
    for (const net of nets) {
      for (const work of [net.asking, net.reasoning]) work?.abort();
      clearTimeout(net.settling);
    }
  };
  return { element, begin, leave };
};
