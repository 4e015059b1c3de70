
// A cell of the confusion matrix, or one of the most frequent mistakes, opens its images.
{
  const dialog = document.getElementById("cell");
  if (dialog && dialog.showModal) {
    const sheet = document.getElementById("mistakes-sheet");
    const names = JSON.parse(dialog.dataset.classes);
    const { columns, px, tiny, cells } = JSON.parse(dialog.dataset.cells);
    const [title, said] = ["cell-title", "cell-said"].map((id) => document.getElementById(id));
    const list = dialog.querySelector("ul");
    const [previous, next] = ["previous", "next"].map((name) => dialog.querySelector(`.${name}`));
    const pairOf = (key) => key.split("-").map(Number);
    const wrong = Object.keys(cells).filter((key) => pairOf(key)[0] !== pairOf(key)[1])
      .sort((a, b) => cells[b].n - cells[a].n);
    const count = (n) => n.toLocaleString("en");
    let shown = "";

    const thumbnail = (place, label) => {
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = px;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", label);
      if (tiny) canvas.className = "tiny";
      const draw = () => canvas.getContext("2d")
        .drawImage(sheet, (place % columns) * px, Math.floor(place / columns) * px, px, px, 0, 0, px, px);
      if (sheet.complete) draw(); else sheet.addEventListener("load", draw, { once: true });
      return canvas;
    };

    const entry = ([place, name, probability], label) => {
      const item = document.createElement("li");
      const figure = document.createElement("figure");
      const caption = document.createElement("figcaption");
      const value = document.createElement("span");
      value.className = "n";
      value.textContent = probability;
      caption.title = name;
      caption.append(value, document.createElement("br"), name.split("/").pop());
      figure.append(thumbnail(place, `${name}: ${label} ${probability}`), caption);
      item.append(figure);
      return item;
    };

    const show = (key) => {
      const [truth, guess] = pairOf(key).map((i) => names[i]);
      const { n, items } = cells[key];
      const right = truth === guess;
      shown = key;
      title.textContent = right ? `${truth}, recognised` : `${truth} taken for ${guess}`;
      const which = right ? "the least sure" : "those that it was most wrong about";
      said.textContent = items.length < n
        ? `${count(items.length)} of ${count(n)} images, ${which}; predictions.csv lists all. Below each: how sure it was of ${guess}.`
        : `${count(n)} ${n === 1 ? "image" : "images"}. Below each: how sure it was of ${guess}.`;
      list.replaceChildren(...items.map((row) => entry(row, guess)));
      const at = wrong.indexOf(key);
      previous.disabled = at <= 0;
      next.disabled = at < 0 || at >= wrong.length - 1;
      if (!dialog.open) dialog.showModal();
      dialog.scrollTop = 0;
      title.focus();
    };

    const step = (by) => { const to = wrong[wrong.indexOf(shown) + by]; if (to && wrong.includes(shown)) show(to); };
    previous.addEventListener("click", () => step(-1));
    next.addEventListener("click", () => step(1));
    dialog.querySelector(".close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") step(-1);
      if (event.key === "ArrowRight") step(1);
    });

    const openers = [];
    for (const place of document.querySelectorAll("[data-cell]")) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...place.childNodes);
      if (place.title) { button.title = place.title; button.setAttribute("aria-label", `${place.title}. Show images`); }
      button.setAttribute("aria-haspopup", "dialog");
      button.addEventListener("click", () => show(place.dataset.cell));
      place.append(button);
      if (place.tagName === "TD") openers.push(button);
    }

    // In the table the arrows move; the tab key enters it once.
    const places = new Map(openers.map((button) => [button.parentElement.dataset.cell, button]));
    openers.forEach((button, i) => {
      button.tabIndex = i ? -1 : 0;
      button.addEventListener("focus", () => { for (const other of openers) other.tabIndex = other === button ? 0 : -1; });
      button.addEventListener("keydown", (event) => {
        const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
        if (!by) return;
        event.preventDefault();
        let [row, column] = pairOf(button.parentElement.dataset.cell);
        do { row += by[0]; column += by[1]; }
        while (row >= 0 && column >= 0 && row < names.length && column < names.length && !places.has(`${row}-${column}`));
        places.get(`${row}-${column}`)?.focus();
      });
    });
    for (const hint of document.querySelectorAll(".look")) hint.hidden = false;
  }
}
