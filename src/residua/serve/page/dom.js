// Elements from words. Text is always set as text: names come from files and are never markup.
const SVG = "http://www.w3.org/2000/svg";

const filled = (made, props, kids) => {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, heard] of Object.entries(value)) made.addEventListener(event, heard);
    else if (name === "vars") for (const [v, n] of Object.entries(value)) made.style.setProperty(`--${v}`, n);
    else if (name === "text") made.textContent = value;
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...kids.flat(Infinity).filter((k) => k !== null && k !== undefined && k !== false));
  return made;
};

export const h = (tag, props, ...kids) => filled(document.createElement(tag), props, kids);
export const svg = (tag, props, ...kids) => filled(document.createElementNS(SVG, tag), props, kids);
export const at = (id) => document.getElementById(id);

// What assistive technology reads out, without moving the focus.
let later = 0;
export const tell = (words) => {
  clearTimeout(later);
  later = setTimeout(() => { at("told").textContent = words; }, 150);
};
