"use strict";

// Every card has two boxes, of which one at most is ticked; keys do the same; what is decided can be downloaded.
{
  const cards = [...document.querySelectorAll(".suspect")];
  const progress = document.getElementById("progress");
  const save = document.getElementById("save");

  const boxes = (card) => [...card.querySelectorAll("input")];
  const decided = (card) => boxes(card).find((box) => box.checked)?.value ?? "";

  const refresh = () => {
    for (const card of cards) {
      card.classList.toggle("wrong", decided(card) === "wrong");
      card.classList.toggle("right", decided(card) === "right");
    }
    const done = cards.filter(decided).length;
    progress.textContent = `${done} of ${cards.length} decided`;
    save.disabled = done === 0;
  };

  const decide = (card, word) => {
    for (const box of boxes(card)) box.checked = box.value === word;
    refresh();
  };

  // A name that a spreadsheet would run gets an apostrophe, as in every table of Residua.
  const field = (text) => `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;

  const table = () => {
    const rows = cards.filter(decided).map((card) => [...JSON.parse(card.dataset.row), decided(card)]);
    return [["path", "truth", "likely", "decision"], ...rows].map((row) => row.map(field).join(",") + "\r\n").join("");
  };

  cards.forEach((card, i) => {
    for (const box of boxes(card)) {
      box.addEventListener("change", () => decide(card, box.checked ? box.value : ""));
    }
    card.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const word = { w: "wrong", r: "right", u: "" }[event.key.toLowerCase()];
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key] ?? (word ? 1 : 0);
      if (word !== undefined) decide(card, word);
      if (word === undefined && !step) return;
      event.preventDefault();
      cards[Math.max(0, Math.min(cards.length - 1, i + step))].focus();
    });
  });

  save?.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
    link.download = "label_decisions.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });
}
