// The page at /: a list of alarms, and around it what one needs to work with it.

import "./alarm-hub.js";
import { pageWords } from "./page-words.js";
import { LANGUAGES, spoken, words } from "./words.js";

/** @import { AlarmList } from "./alarm-hub.js" */

/** What the picker offers, by the language of the words: what is asked of the hub. @type {Record<string, string>} */
const READ = { ko: "ko", en: "en-US", ja: "ja" };
/** A sound is made at most this often, in milliseconds. */
const QUIET = 2_000;

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @returns {T}
 */
const get = (id) => /** @type {T} */ (document.getElementById(id));

const address = new URL(location.href);
const signedIn = document.querySelector("meta[name=alarm-hub-user]")?.getAttribute("content");
const user = signedIn || address.searchParams.get("user");

/** @type {HTMLSelectElement} */
const picker = get("language");
/** @type {HTMLInputElement} */
const filter = get("filter");
/** @type {HTMLInputElement} */
const unreadOnly = get("unread");
/** @type {HTMLButtonElement} */
const soundButton = get("sound");
/** @type {HTMLButtonElement} */
const notifyButton = get("notify");
/** @type {HTMLButtonElement} */
const allButton = get("all");

/** What is asked of the hub; empty: what the browser says. */
let reading = address.searchParams.get("lang") ?? "";
let language = spoken(reading ? reading.split(/[,;]/) : navigator.languages);
let text = pageWords(language);
/** @type {AlarmList | undefined} */
let list;
/** @type {AudioContext | undefined} */
let audio;
let sounded = 0;

/** Puts every word of the page into the language that counts now. */
function speak() {
  text = pageWords(language);
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-word]")) {
    const word = /** @type {Record<string, unknown>} */ (text)[element.getAttribute("data-word") ?? ""];
    if (typeof word === "string") element.textContent = word;
  }
  filter.placeholder = text.filter;
  filter.setAttribute("aria-label", text.filter);
  const keys = text.keys.map(([key = "", what = ""]) => {
    const pair = document.createElement("span");
    pair.append(Object.assign(document.createElement("kbd"), { textContent: key }), ` ${what}`);
    return pair;
  });
  get("keys").replaceChildren(...keys);
  showNotify();
  showCount();
}

function offerLanguages() {
  const own = reading && !Object.values(READ).includes(reading) ? [reading] : [];
  const options = [...LANGUAGES.map((language) => READ[language] ?? language), ...own].map((tag) => {
    const option = new Option(nameOf(tag), tag);
    if (!own.includes(tag)) option.lang = tag;
    return option;
  });
  picker.replaceChildren(...options);
  picker.value = reading || READ[language] || language;
}

/** @param {string} tag a language by its own name, a list of languages as it is */
function nameOf(tag) {
  try {
    const { language } = new Intl.Locale(tag);
    return new Intl.DisplayNames([tag], { type: "language" }).of(language) ?? tag;
  } catch {
    return tag;
  }
}

function showCount() {
  const n = list?.unread ?? 0;
  const number = list?.unreadMore ? `${n}+` : String(n);
  const title = user ? `${text.alarms} · ${user}` : text.alarms;
  const trouble = list && !["live", "connecting", "idle"].includes(list.client?.state ?? "idle") ? "⚠ " : "";
  document.title = trouble + (n ? `(${number}) ${title}` : title);
  const count = get("count");
  count.hidden = n === 0;
  if (count.textContent !== text.unread(number)) count.textContent = text.unread(number);
  allButton.disabled = n === 0;
  const found = get("found");
  found.hidden = !list || !(filter.value || unreadOnly.checked);
  if (list) found.textContent = text.found(list.counts.shown, list.counts.loaded);
}

/** Two short tones: heard across a room, and over in a moment. */
function beep() {
  if (!audio || Date.now() - sounded < QUIET) return;
  sounded = Date.now();
  for (const [start, frequency] of /** @type {const} */ ([[0, 880], [0.18, 660]])) {
    const [tone, volume] = [audio.createOscillator(), audio.createGain()];
    const at = audio.currentTime + start;
    tone.frequency.value = frequency;
    volume.gain.setValueAtTime(0.2, at);
    volume.gain.exponentialRampToValueAtTime(0.001, at + 0.16);
    tone.connect(volume).connect(audio.destination);
    tone.start(at);
    tone.stop(at + 0.16);
  }
}

let notifying = false;

function showNotify() {
  const why =
    !isSecureContext ? text.insecure
    : !("Notification" in globalThis) ? text.unsupported
    : Notification.permission === "denied" ? text.blocked
    : "";
  notifyButton.disabled = why !== "";
  notifyButton.setAttribute("aria-pressed", String(notifying && !why));
  const note = get("why");
  note.hidden = !why;
  note.textContent = why;
}

/** @param {{ message: string, lang: string }[]} alarms */
function notify(alarms) {
  const latest = alarms.at(-1);
  if (!notifying || !latest || document.hasFocus()) return;
  const shown = new Notification(words(language).pill(alarms.length), {
    body: latest.message.slice(0, 300),
    lang: latest.lang,
    tag: "alarm-hub",
  });
  shown.onclick = () => {
    focus();
    shown.close();
  };
}

/** @param {string} who */
function show(who) {
  const shown = /** @type {AlarmList} */ (document.createElement("alarm-list"));
  list = shown;
  shown.setAttribute("src", `connection/${encodeURIComponent(who)}`);
  shown.setAttribute("lang", language);
  if (reading) shown.setAttribute("languages", reading);
  else shown.setAttribute("languages", "");
  shown.addEventListener("change", showCount);
  shown.addEventListener("state", showCount);
  shown.addEventListener("arrive", (event) => {
    if (!(event instanceof CustomEvent)) return;
    beep();
    notify(event.detail.alarms);
  });
  get("user").textContent = who;
  get("tools").hidden = get("keys").hidden = false;
  get("alarms").replaceChildren(shown);
}

picker.onchange = () => {
  reading = picker.value;
  language = spoken(reading.split(/[,;]/));
  address.searchParams.set("lang", reading);
  history.replaceState(null, "", address);
  speak();
  // First what it reads, so that it fetches once.
  list?.setAttribute("languages", reading);
  list?.setAttribute("lang", language);
};
filter.oninput = () => list && (list.filter = filter.value);
unreadOnly.onchange = () => list && (list.unreadOnly = unreadOnly.checked);
let sure = 0;
allButton.onclick = () => {
  // A click too many must not make a night's alarms look handled.
  clearTimeout(sure);
  const meant = allButton.dataset.word === "allSure";
  allButton.dataset.word = meant ? "all" : "allSure";
  if (meant) list?.acknowledgeAll();
  else sure = setTimeout(() => ((allButton.dataset.word = "all"), speak()), 5000);
  speak();
};
soundButton.onclick = () => {
  if (audio) audio.close();
  audio = audio ? undefined : new AudioContext();
  soundButton.setAttribute("aria-pressed", String(!!audio));
  beep();
};
notifyButton.onclick = async () => {
  notifying = !notifying && (await Notification.requestPermission()) === "granted";
  showNotify();
};
get("who").onsubmit = (event) => {
  event.preventDefault();
  /** @type {HTMLInputElement} */
  const name = get("name");
  address.searchParams.set("user", name.value);
  location.assign(address);
};

document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  const types = target instanceof Element && target.matches("input, select, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey || !list) return;
  if (key === "Escape" && target === filter) list.move(1);
  else if (types) return;
  else if (key === "/") filter.focus();
  else if (key === "j") list.move(1);
  else if (key === "k") list.move(-1);
  else return;
  event.preventDefault();
});

offerLanguages();
speak();
if (user) show(user);
else get("who").hidden = false;
