// Questions to this server. A token is kept for this tab only; what is too much at a time is asked again when told.
import { at } from "/page/dom.js";

const TRIES = 6;
let token = sessionStorage.getItem("residua-token") ?? "";
let wanted = null; // resolves once the user has given a token

export class Trouble extends Error {
  constructor(line, status) { super(line); this.status = status; }
}

const given = () => {
  if (!wanted) {
    const form = at("token");
    at("token-said").textContent = token ? "This token is not the server's." : "";
    form.hidden = false;
    at("token-field").focus();
    wanted = new Promise((done) => {
      form.onsubmit = (event) => {
        event.preventDefault();
        token = at("token-field").value.trim();
        sessionStorage.setItem("residua-token", token);
        form.hidden = true;
        wanted = null;
        done();
      };
    });
  }
  return wanted;
};

const pause = (seconds, signal) => new Promise((done, left) => {
  const timer = setTimeout(done, 1000 * seconds);
  signal?.addEventListener("abort", () => { clearTimeout(timer); left(new DOMException("left", "AbortError")); });
});

// The JSON of an answer. Throws Trouble with one line; `wait(seconds)` hears that the server is busy.
export const ask = async (path, { body, signal, wait } = {}) => {
  for (let tries = 1; ; tries++) {
    const used = token;
    let answer;
    try {
      answer = await fetch(path, {
        method: body ? "POST" : "GET", body, signal,
        headers: { ...(used ? { Authorization: `Bearer ${used}` } : {}),
          ...(typeof body === "string" ? { "Content-Type": "application/json" } : {}) },
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Trouble("The server does not answer: is it still running?", 0);
    }
    if (answer.status === 401) {
      if (used === token) await given();
      continue;
    }
    const again = Number(answer.headers.get("Retry-After"));
    if (answer.status === 429 && again && tries < TRIES) {
      wait?.(again);
      await pause(again, signal);
      continue;
    }
    const said = await answer.json().catch(() => null);
    if (answer.ok && said) return said;
    throw new Trouble(said?.error ?? `The server answered ${answer.status}.`, answer.status);
  }
};

export const form = (photos, words) => {
  const made = new FormData();
  for (const [word, value] of Object.entries(words)) made.append(word, String(value));
  for (const photo of photos) made.append("files", photo.file, photo.name);
  return made;
};

export const left = (error) => error.name === "AbortError";
