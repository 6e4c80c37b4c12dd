// The page at /: a list of alarms, and around it what one needs to work with it.

import "./alarm-hub.js";
import { PAGE } from "./page-words.js";
import { LANGUAGES, many, say, spoken } from "./words.js";

/** @import { AlarmList } from "./alarm-hub.js" */
/** @import { Alarm } from "./types.js" */

/** What the picker asks of the hub, by the language of the words. @type {Record<string, string>} */
const READ = { en: "en-US", ko: "ko", ja: "ja" };
/** A sound is made at most this often, in milliseconds. */
const QUIET = 2_000;
/** How long a question is asked, in milliseconds. */
const SURE = 5_000;
/** How long a connection may be lost before somebody is called, in milliseconds. */
const LOST = 30_000;

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @returns {T}
 */
const get = (id) => /** @type {T} */ (document.getElementById(id));

const address = new URL(location.href);
// Where there is a sign-in, the hub says who is signed in; elsewhere the address does.
const meta = document.querySelector("meta[name=alarm-hub-user]");
const user = meta?.getAttribute("content") || address.searchParams.get("user");

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
const list = /** @type {AlarmList} */ (document.createElement("alarm-list"));

/** What is asked of the hub; empty: what the browser says. */
let reading = address.searchParams.get("lang") ?? "";
let language = spoken(reading ? reading.split(/[,;]/) : navigator.languages);
/** @type {AudioContext | undefined} */
let audio;
let sounded = 0;
let notifying = false;
let losing = 0;
let watched = "idle";

/** @param {keyof typeof PAGE} word @param {string | number} [value] */
const text = (word, value) => say(language, PAGE[word], value);

/** Puts every word of the page into the language that counts now. */
function speak() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-word]")) {
    element.textContent = text(/** @type {keyof typeof PAGE} */ (element.getAttribute("data-word")));
  }
  filter.placeholder = text("filter");
  filter.setAttribute("aria-label", text("filter"));
  showNotify();
  showCount();
}

function offerLanguages() {
  const tags = LANGUAGES.map((language) => READ[language] ?? language);
  if (reading && !tags.includes(reading)) tags.push(reading);
  picker.replaceChildren(...tags.map((tag) => Object.assign(new Option(nameOf(tag), tag), { lang: tag.split(/[,;]/)[0] })));
  picker.value = reading || (READ[language] ?? language);
}

/** @param {string} tag a language by its own name, a list of languages as it is */
function nameOf(tag) {
  try {
    const { language } = new Intl.Locale(tag);
    return new Intl.DisplayNames(tag, { type: "language" }).of(LANGUAGES.includes(language) ? language : tag) ?? tag;
  } catch {
    return tag;
  }
}

/** `down`: it is live, and its hub cannot read the database. */
const shownState = () => /** @type {HTMLElement | null} */ (list.querySelector(".alarm-state"))?.dataset.state ?? "idle";

/** How many are unread, in the page and in its title, where also a lost connection shows. */
function showCount() {
  const none = list.unread === "0";
  const trouble = ["idle", "connecting", "live"].includes(shownState()) ? "" : "⚠ ";
  const title = user ? `${text("alarms")} · ${user}` : text("alarms");
  document.title = trouble + (none ? title : `(${list.unread}) ${title}`);
  get("count").hidden = none;
  get("count").textContent = text("unread", list.unread);
  allButton.disabled = none;
  get("found").hidden = !filter.value && !unreadOnly.checked;
  get("found").textContent = text("found", `${list.querySelectorAll("li").length} / ${list.loaded}`);
}

/** Two short tones: heard across a room, and over in a moment. */
function beep() {
  if (!audio || Date.now() - sounded < QUIET) return;
  sounded = Date.now();
  for (const [frequency, start] of /** @type {const} */ ([[880, 0], [660, 0.18]])) {
    const [tone, volume, at] = [audio.createOscillator(), audio.createGain(), audio.currentTime + start];
    tone.frequency.value = frequency;
    volume.gain.setValueAtTime(0.2, at);
    volume.gain.exponentialRampToValueAtTime(0.001, at + 0.16);
    tone.connect(volume).connect(audio.destination);
    tone.start(at);
    tone.stop(at + 0.16);
  }
}

/** Whether there can be notifications, and if not, why. */
function showNotify() {
  /** @type {keyof typeof PAGE | undefined} */
  let why;
  if (!isSecureContext) why = "insecure";
  else if (!("Notification" in globalThis)) why = "unsupported";
  else if (Notification.permission === "denied") why = "blocked";
  notifyButton.disabled = !!why;
  notifyButton.setAttribute("aria-pressed", String(notifying && !why));
  get("why").hidden = !why;
  get("why").textContent = why ? text(why) : "";
}

/**
 * @param {string} title
 * @param {string} body
 * @param {string} lang
 */
function notify(title, body, lang) {
  if (!notifying || document.hasFocus()) return;
  const shown = new Notification(title, { body: body.slice(0, 300), lang, tag: "alarm-hub" });
  shown.onclick = () => {
    focus();
    shown.close();
  };
}

/** Whoever relies on being called must not take silence for peace. */
function watch() {
  showCount();
  const state = shownState();
  if (state === watched) return;
  watched = state;
  if (state === "reconnecting") losing ||= setTimeout(call, LOST);
  else if (state !== "connecting") {
    clearTimeout(losing);
    losing = 0;
  }
  if (["unauthorized", "stopped", "down"].includes(state)) call();
}

function call() {
  beep();
  const said = (/** @type {string} */ part) => list.querySelector(`.alarm-${part}`)?.textContent ?? "";
  notify(said("name"), said("why"), language);
}

/** Acknowledges every alarm of this user, also those that are not loaded. The stream tells the list. */
async function acknowledgeAll() {
  const { client } = list;
  get("trouble").hidden = true;
  try {
    /** @type {string | null} */
    let before = null;
    let left = Infinity;
    do {
      const page = await /** @type {NonNullable<typeof client>} */ (client).history({ limit: 500, before });
      // What the hub adopted comes last, and is not unread.
      left = page.unread_more ? Infinity : Math.min(left, page.unread);
      const ids = page.alarms.filter((alarm) => !alarm.acknowledged).slice(0, left).map((alarm) => alarm.id);
      left -= ids.length;
      // A few at a time: a browser has six connections to a host, and the stream has one of them.
      const some = async () => {
        for (let id = ids.shift(); id !== undefined; id = ids.shift()) await client?.acknowledge(id);
      };
      await Promise.all([some(), some(), some()]);
      before = page.next;
    } while (before && left > 0);
  } catch {
    get("trouble").hidden = false;
  }
}

/** @param {1 | -1} step to the next alarm, or to one before */
function move(step) {
  const items = [...list.querySelectorAll("li")];
  const from = items.findIndex((item) => item.contains(document.activeElement));
  const to = items[from < 0 ? 0 : Math.max(0, Math.min(items.length - 1, from + step))];
  to?.focus();
}

picker.onchange = () => {
  reading = picker.value;
  language = spoken(reading.split(/[,;]/));
  address.searchParams.set("lang", reading);
  history.replaceState(null, "", address);
  speak();
  // First what it reads, so that it fetches once.
  list.setAttribute("languages", reading);
  list.setAttribute("lang", language);
};
filter.oninput = () => (list.filter = filter.value);
unreadOnly.onchange = () => (list.unreadOnly = unreadOnly.checked);
allButton.onclick = () => {
  // One click too many must not make a night's alarms look handled.
  const isSure = allButton.dataset.word === "allSure";
  const ask = (/** @type {boolean} */ sure) => {
    allButton.dataset.word = sure ? "allSure" : "all";
    speak();
  };
  ask(!isSure);
  if (isSure) acknowledgeAll();
  else setTimeout(ask, SURE, false);
};
soundButton.onclick = () => {
  audio?.close();
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
  address.searchParams.set("user", /** @type {HTMLInputElement} */ (get("name")).value);
  location.assign(address);
};
document.addEventListener("keydown", (event) => {
  const target = /** @type {Element} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || !user) return;
  if (event.key === "Escape" && target === filter) move(1);
  else if (target.matches("input, select")) return;
  else if (event.key === "/") filter.focus();
  else if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "a") {
    const id = target.closest("li")?.dataset.id;
    if (id !== undefined) list.acknowledge(id);
  } else return;
  event.preventDefault();
});

offerLanguages();
speak();
get("who").hidden = !!user || !!meta?.hasAttribute("data-auth");
get("sign-in").hidden = !!user || !meta?.hasAttribute("data-auth");
if (user) {
  list.setAttribute("src", `connection/${encodeURIComponent(user)}`);
  list.setAttribute("lang", language);
  list.setAttribute("languages", reading);
  list.addEventListener("change", watch);
  list.addEventListener("state", watch);
  list.addEventListener("arrive", (event) => {
    const { alarms } = /** @type {CustomEvent<{ alarms: Alarm[] }>} */ (event).detail;
    const latest = alarms.at(-1);
    beep();
    if (latest) notify(say(language, many(alarms.length), alarms.length), latest.message, latest.lang);
  });
  get("user").textContent = user;
  get("tools").hidden = get("keys").hidden = false;
  get("alarms").append(list);
}
