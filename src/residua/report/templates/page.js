"use strict";

// The pointer over the curves: the nearest epoch, its numbers beside it.
for (const svg of document.querySelectorAll("svg.chart[data-points]")) {
  const data = { width: Number(svg.dataset.width), points: JSON.parse(svg.dataset.points) };
  const pointer = svg.querySelector(".pointer");
  const cursor = pointer.querySelector(".cursor");
  const readout = svg.closest("figure").querySelector(".readout");
  let at = -1;

  const hide = () => { pointer.setAttribute("hidden", ""); readout.hidden = true; at = -1; };

  const show = (index) => {
    if (index === at || !data.points.length) return;
    at = Math.max(0, Math.min(index, data.points.length - 1));
    const point = data.points[at];
    cursor.setAttribute("x1", point.x);
    cursor.setAttribute("x2", point.x);
    for (const old of pointer.querySelectorAll("circle")) old.remove();
    readout.replaceChildren();
    const title = document.createElement("b");
    title.textContent = `${svg.dataset.unit || "epoch"} ${point.epoch}`;
    readout.append(title);
    for (const [kind, label, text, y] of point.rows) {
      const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      dot.setAttribute("class", `dot ${kind}`);
      dot.setAttribute("cx", point.x);
      dot.setAttribute("cy", y);
      dot.setAttribute("r", 3.5);
      pointer.append(dot);
      const row = document.createElement("div");
      const name = document.createElement("span");
      name.className = `of-${kind}`;
      name.textContent = label;
      const value = document.createElement("span");
      value.textContent = text;
      row.append(name, value);
      readout.append(row);
    }
    pointer.removeAttribute("hidden");
    readout.hidden = false;
    const scale = svg.getBoundingClientRect().width / data.width;
    const right = point.x < data.width / 2;
    readout.style.left = right ? `${(point.x + 14) * scale}px` : "auto";
    readout.style.right = right ? "auto" : `${svg.parentElement.clientWidth - (point.x - 14) * scale}px`;
  };

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * data.width;
    let best = 0;
    data.points.forEach((p, i) => { if (Math.abs(p.x - x) < Math.abs(data.points[best].x - x)) best = i; });
    show(best);
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) { event.preventDefault(); show(at < 0 ? data.points.length - 1 : Math.max(0, at + step)); }
    if (event.key === "Escape") hide();
  });
}

// A click on a column's name sorts by it; a second click turns the order.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const first = column === 0 ? "ascending" : "descending";
      const order = head.getAttribute("aria-sort") === first
        ? (first === "ascending" ? "descending" : "ascending") : first;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = column === 0
        ? (a, b) => value(a).localeCompare(value(b), undefined, { numeric: true })
        : (a, b) => (Number(value(a)) || 0) - (Number(value(b)) || 0);
      const rows = [...body.rows].sort(compare);
      body.append(...(order === "ascending" ? rows : rows.reverse()));
    });
  });
}

// Copy a command, where the browser lets a page do so.
for (const button of document.querySelectorAll("button.copy")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.previousElementSibling.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

// On paper everything is open but the long table of epochs.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not(.epochs)")) details.open = true;
});
