// Photos from wherever people have them: dropped (folders too), pasted, chosen, taken, drawn.
import { at } from "/page/dom.js";

const MOST = 500;
const PICTURE = /\.(jpe?g|png|gif|webp|bmp|tiff?|avif|heic|pgm|ppm)$/i;

const looksLikeOne = (file) => file.type.startsWith("image/") || PICTURE.test(file.name);

const inside = async (entry) => {
  if (entry.isFile) {
    const file = await new Promise((done, bad) => entry.file(done, bad));
    return [{ name: entry.fullPath.replace(/^\//, ""), file }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((done, bad) => reader.readEntries(done, bad));
    if (!some.length || found.length > MOST) break;
    for (const one of some) if (!one.name.startsWith(".")) found.push(...await inside(one));
  }
  return found.filter((f) => looksLikeOne(f.file)).sort((a, b) => a.name.localeCompare(b.name));
};

const plain = (files) => [...files].map((file, i) => ({ name: file.name || `picture ${i + 1}`, file }));

const dropped = async (data) => {
  const entries = [...data.items].map((i) => i.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((e) => e.isDirectory)) return plain(data.files);
  return (await Promise.all(entries.map(inside))).flat();
};

// `take` gets the photos, named, at most MOST, and how many more there were.
export const intake = (take) => {
  const give = (photos) => {
    if (photos.length) take(photos.slice(0, MOST), Math.max(0, photos.length - MOST));
  };
  for (const id of ["choose", "camera"]) {
    at(id).addEventListener("change", (event) => {
      give(plain(event.target.files));
      event.target.value = "";
    });
  }
  let depth = 0;
  const files = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => {
    if (files(event)) { depth++; document.body.classList.add("dropping"); }
  });
  addEventListener("dragleave", (event) => {
    if (files(event) && --depth <= 0) { depth = 0; document.body.classList.remove("dropping"); }
  });
  addEventListener("dragover", (event) => { if (files(event)) event.preventDefault(); });
  addEventListener("drop", async (event) => {
    if (!files(event)) return;
    event.preventDefault();
    depth = 0;
    document.body.classList.remove("dropping");
    give(await dropped(event.dataTransfer));
  });
  addEventListener("paste", (event) => {
    const pasted = plain(event.clipboardData?.files ?? []);
    if (pasted.length) { event.preventDefault(); give(pasted); }
  });
  pad((file) => give([{ name: "drawing.png", file }]));
};

// A black square to draw on in white, as the digits of the first model are.
const pad = (drawn) => {
  const box = at("pad"), canvas = at("pad-canvas"), pen = canvas.getContext("2d");
  const clear = () => { pen.fillStyle = "#000"; pen.fillRect(0, 0, canvas.width, canvas.height); };
  const place = (event) => {
    const r = canvas.getBoundingClientRect();
    return [(event.clientX - r.left) * canvas.width / r.width, (event.clientY - r.top) * canvas.height / r.height];
  };
  let from = null;
  const done = () => canvas.toBlob((blob) => drawn(new File([blob], "drawing.png", { type: "image/png" })));
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    from = place(event);
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!from) return;
    const to = place(event);
    Object.assign(pen, { strokeStyle: "#fff", lineWidth: canvas.width / 9, lineCap: "round", lineJoin: "round" });
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(...to);
    pen.stroke();
    from = to;
  });
  canvas.addEventListener("pointerup", () => { if (from) { from = null; done(); } });
  canvas.addEventListener("pointercancel", () => { from = null; });
  at("pad-clear").addEventListener("click", clear);
  at("draw").addEventListener("click", () => {
    box.hidden = !box.hidden;
    at("draw").setAttribute("aria-expanded", String(!box.hidden));
    if (!box.hidden) { clear(); box.scrollIntoView({ block: "nearest" }); }
  });
};
