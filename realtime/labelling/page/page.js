"use strict";
// One patch at a time. An answer counts once the server says that it is on the disk; until then it is kept in this tab
// under the same id and sent again, so that neither a lost reply nor a server that was killed loses or doubles it.

const RETRY_MS = 700;
const BAR_ANGSTROM = [1, 2, 5, 10, 20, 50];
const byId = (id) => document.getElementById(id);
const store = window.sessionStorage;

let annotator = null;   // {number, name}
let turn = null;        // what the server said last
let again = null;       // a round through what was skipped begins at this answer
let busy = false;
let shownAt = 0;

// ---------------------------------------------------------------- the server

async function ask(path, body) {
  const reply = await fetch(path, {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body),
  });
  const told = await reply.json().catch(() => ({error: `The server answered ${reply.status}.`}));
  if (!reply.ok) throw Object.assign(new Error(told.error || `The server answered ${reply.status}.`), {said: true});
  return told;
}

// Until the server is there again; an error that it says in words is no matter of waiting.
async function askUntilHeard(path, body) {
  for (;;) {
    try {
      const told = await ask(path, body);
      trouble("");
      return told;
    } catch (error) {
      if (error.said) throw error;
      trouble("The server does not answer. Nothing is lost: what you said is kept here and sent once it is back. Start it again with the same command.");
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

function trouble(words) {
  byId("trouble").textContent = words;
  byId("trouble").hidden = !words;
}

// ---------------------------------------------------------------- who

function show(id) {
  for (const part of ["enter", "work", "end"]) byId(part).hidden = part !== id;
  byId("progress").hidden = byId("who").hidden = id === "enter";
}

async function enter() {
  annotator = turn = again = null;
  show("enter");
  byId("given").focus();
  try {
    const names = await (await fetch("names")).json();
    byId("known").replaceChildren(...names.map((name) => Object.assign(document.createElement("option"), {value: name})));
  } catch { /* the names are a help only */ }
}

async function join(name) {
  try {
    annotator = await askUntilHeard("join", {name});
  } catch (error) {
    trouble(error.message);
    return;
  }
  store.setItem("name", annotator.name);
  byId("name").textContent = annotator.name;
  trouble("");
  const pending = JSON.parse(store.getItem("pending") || "null");
  if (pending && pending.body.annotator === annotator.number) await send(pending.path, pending.body, "");
  else await go(null);
}

// ---------------------------------------------------------------- turns

async function go(round) {
  again = round;
  await guarded(async () => place(await askUntilHeard("next", {annotator: annotator.number, again})));
}

async function guarded(work) {
  if (busy) return;
  busy = true;
  document.body.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    trouble(error.message);
  } finally {
    busy = false;
    document.body.removeAttribute("aria-busy");
  }
}

function send(path, body, words) {
  return guarded(async () => {
    store.setItem("pending", JSON.stringify({path, body}));
    let told;
    try {
      told = await askUntilHeard(path, body);
    } finally {
      store.removeItem("pending");
    }
    place(told);
    byId("said").textContent = words;
  });
}

function answer(label) {
  if (!turn || turn.site === null || busy) return;
  const seconds = Math.min(3600, (performance.now() - shownAt) / 1000);
  const body = {annotator: annotator.number, site: turn.site, label, request: crypto.randomUUID(), seconds, again};
  send("answer", body, label ? `Kept: ${label}.` : "Skipped.");
}

function undo() {
  if (!turn || !turn.can_undo || busy) return;
  send("undo", {annotator: annotator.number, request: crypto.randomUUID(), again}, "Taken back: say again what stands here.");
}

function place(told) {
  turn = told;
  byId("bar").max = told.total;
  byId("bar").value = told.done;
  byId("count").textContent = `${told.done} of ${told.total}` + (told.skipped ? ` · ${told.skipped} skipped` : "");
  byId("undo").disabled = byId("end-undo").disabled = !told.can_undo;
  byId("said").textContent = "";
  if (told.site === null) { end(told); return; }
  show("work");
  const sides = told.surroundings_angstrom > 0;
  byId("picture").src = `picture/${told.site}/site.png`;
  byId("around").hidden = !sides;
  if (sides) {
    byId("surroundings").src = `picture/${told.site}/surroundings.png`;
    const part = 100 * told.picture_angstrom / told.surroundings_angstrom;
    const box = {x: 50 - part / 2, y: 50 - part / 2, width: part, height: part};
    for (const [name, value] of Object.entries(box)) byId("box").setAttribute(name, value);
  }
  scales();
  byId("place").textContent = told.place;
  byId("conditions").textContent = told.conditions;
  byId("offers").replaceChildren(...told.offers.map(offer));
  ahead(told.after, sides);
  shownAt = performance.now();
}

function offer(one, index) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.label = one.label;
  button.style.setProperty("--role", one.colour);
  const key = index + 1;
  if (key <= 9) button.setAttribute("aria-keyshortcuts", String(key));
  const digit = Object.assign(document.createElement("kbd"), {textContent: key <= 9 ? key : ""});
  const name = Object.assign(document.createElement("b"), {textContent: one.label});
  const words = Object.assign(document.createElement("span"), {textContent: one.words});
  button.append(digit, name, words);
  button.addEventListener("click", () => { answer(one.label); button.blur(); });
  return button;
}

// The pictures of the next site are in the browser before they are asked for.
function ahead(site, sides) {
  if (site === null) return;
  for (const which of sides ? ["site", "surroundings"] : ["site"]) new Image().src = `picture/${site}/${which}.png`;
}

function scales() {
  if (!turn || turn.site === null) return;
  for (const picture of ["picture", "surroundings"]) {
    const width = turn[`${picture}_angstrom`];
    const length = Math.max(...BAR_ANGSTROM.filter((n) => n <= width / 3), BAR_ANGSTROM[0]);
    const bar = byId(`${picture}-scale`);
    bar.textContent = length >= 10 ? `${length / 10} nm` : `${length} Å`;
    bar.style.setProperty("--bar", `${length / (width || 1) * byId(picture).clientWidth}px`);
  }
}

function end(told) {
  show("end");
  byId("again").hidden = !told.skipped;
  byId("end-title").textContent = told.skipped ? "All seen" : "Done, thank you";
  byId("end-words").textContent = told.skipped
    ? `${told.done} of ${told.total} are labelled. You skipped ${told.skipped}: you may look at them again, or leave them.`
    : `All ${told.total} are labelled and kept. You may close this page.`;
  byId("end-title").focus();
}

// ---------------------------------------------------------------- how it is shown

const LOOKS = {brightness: 1, contrast: 1, smoothing: 0};

function look() {
  const [brightness, contrast, smoothing] = Object.keys(LOOKS).map((id) => byId(id).value);
  // Smoothing is the same length on the specimen in both pictures.
  const parts = {picture: 1, surroundings: turn ? turn.picture_angstrom / (turn.surroundings_angstrom || 1) : 1};
  for (const [id, part] of Object.entries(parts)) {
    const blur = smoothing > 0 ? ` blur(${smoothing * part * (id === "picture" ? 1 : 0.6)}px)` : "";
    byId(id).style.filter = `brightness(${brightness}) contrast(${contrast})${blur}`;
  }
  byId("ring").style.display = byId("show-ring").checked ? "" : "none";
}

function reset() {
  for (const [id, value] of Object.entries(LOOKS)) byId(id).value = value;
  byId("show-ring").checked = true;
  look();
}

// ---------------------------------------------------------------- begin

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !annotator) return;
  if (event.target instanceof HTMLInputElement && event.target.type === "text") return;
  const key = event.key.toLowerCase();
  const working = !byId("work").hidden;
  if (working && /^[1-9]$/.test(key) && turn.offers[key - 1]) answer(turn.offers[key - 1].label);
  else if (working && key === "s") answer("");
  else if (key === "u" || key === "backspace") undo();
  else if (working && key === "r") { byId("show-ring").checked = !byId("show-ring").checked; look(); }
  else if (working && key === "0") reset();
  else return;
  event.preventDefault();
});
byId("join").addEventListener("submit", (event) => { event.preventDefault(); join(byId("given").value); });
byId("leave").addEventListener("click", () => { store.clear(); enter(); });
byId("skip").addEventListener("click", () => answer(""));
byId("undo").addEventListener("click", undo);
byId("end-undo").addEventListener("click", undo);
byId("again").addEventListener("click", () => go(turn.last));
byId("reset").addEventListener("click", reset);
for (const id of [...Object.keys(LOOKS), "show-ring"]) byId(id).addEventListener("input", look);
window.addEventListener("resize", scales);

const known = store.getItem("name");
if (known) join(known); else enter();
