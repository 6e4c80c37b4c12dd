// The page at /operator: who is connected, and how the hub is doing.

import { chart } from "./chart.js";
import { rates } from "./metrics.js";
import { OPERATOR } from "./operator-words.js";
import { LANGUAGES, say, spoken } from "./words.js";

/** @import { Numbers } from "./metrics.js" */

/**
 * One row of `GET /sessions`.
 * @typedef {object} Session
 * @property {string} user
 * @property {string} conn
 * @property {string[]} languages
 * @property {string} since
 * @property {number} delivered
 * @property {string | null} last_alarm_at
 * @property {number} queued
 */

/** Milliseconds between two looks. */
const LOOK = 2_000;
/** How long a question is asked, in milliseconds. */
const SURE = 5_000;
/** Rows of the table; a browser bears no more of them, changing every two seconds. */
const ROWS = 500;

/** @param {string} id */
const get = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
const picker = /** @type {HTMLSelectElement} */ (get("language"));
const address = new URL(location.href);
const wanted = address.searchParams.get("lang");
let language = spoken(wanted ? [wanted] : navigator.languages);

/** @param {keyof typeof OPERATOR} word @param {string | number} [value] */
const text = (word, value) => say(language, OPERATOR[word], value);

const charts = {
  read: chart(),
  delivered: chart(),
  missing: chart(),
  lag: chart(),
  delay: chart(),
};
/** @type {Numbers | undefined} */
let before;
/** The connection that is asked about, by its name. @type {string | undefined} */
let asked;
/** @type {Session[]} */
let sessions = [];

function speak() {
  document.documentElement.lang = language;
  document.title = text("operator");
  for (const element of document.querySelectorAll("[data-word]")) {
    element.textContent = text(/** @type {keyof typeof OPERATOR} */ (element.getAttribute("data-word")));
  }
  for (const [name, { element }] of Object.entries(charts)) {
    const caption = element.querySelector("figcaption");
    if (caption) caption.textContent = text(/** @type {keyof typeof charts} */ (name));
  }
  show();
}

/** Draws the table; a row that stays keeps its elements, so that the focus stays where it is. */
function show() {
  const body = get("sessions");
  const rows = new Map([...body.children].map((row) => [row.getAttribute("data-conn"), row]));
  const shown = sessions.slice(0, ROWS).map((session) => {
    const row = rows.get(session.conn) ?? newRow(session);
    const cells = [
      session.user,
      session.languages.join(", "),
      time(session.since),
      time(session.last_alarm_at),
      String(session.delivered),
      String(session.queued),
    ];
    cells.forEach((cell, i) => row.children[i] && (row.children[i].textContent = cell));
    const kick = row.querySelector("button");
    if (kick) {
      kick.textContent = text(asked === session.conn ? "kickSure" : "kick");
      kick.setAttribute("aria-label", `${kick.textContent} ${session.user}`);
    }
    return row;
  });
  const isSame = shown.length === body.children.length && shown.every((row, i) => row === body.children[i]);
  if (!isSame) body.replaceChildren(...shown);
  get("table").hidden = !shown.length;
  get("nobody").hidden = shown.length > 0;
  get("count").hidden = false;
  get("count").textContent = text("count", sessions.length);
}

/** @param {string | null} moment */
const time = (moment) => (moment ? new Date(moment).toLocaleString(language) : "-");

/** @param {Session} session */
function newRow({ conn, user }) {
  const row = document.createElement("tr");
  row.setAttribute("data-conn", conn);
  const name = document.createElement("th");
  name.scope = "row";
  name.dir = "auto";
  row.append(name);
  for (let i = 1; i < 6; i++) row.append(document.createElement("td"));
  for (const i of [4, 5]) row.children[i]?.classList.add("number");
  const kick = document.createElement("button");
  kick.type = "button";
  kick.onclick = () => {
    if (asked === conn) end(user);
    asked = asked === conn ? undefined : conn;
    setTimeout(() => {
      if (asked === conn) asked = undefined;
      show();
    }, SURE);
    show();
  };
  row.append(document.createElement("td"));
  row.lastElementChild?.append(kick);
  return row;
}

/** @param {string} user */
async function end(user) {
  try {
    const response = await fetch(`sessions/${encodeURIComponent(user)}`, { method: "DELETE" });
    // 404: it has ended by itself.
    tell(response.ok || response.status === 404 ? "" : refusal(response.status));
  } catch {
    tell(text("away"));
  }
  look();
}

/** @param {number} status */
const refusal = (status) => ([401, 403].includes(status) ? text("denied") : text("refused", status));

/** @param {string} trouble */
function tell(trouble) {
  get("trouble").hidden = !trouble;
  if (get("trouble").textContent !== trouble) get("trouble").textContent = trouble;
}

async function look() {
  try {
    const response = await fetch("sessions", { cache: "no-store" });
    if (response.ok) sessions = (await response.json()).sessions;
    tell(response.ok ? await troubles() : refusal(response.status));
    if (response.ok) show();
    await measure();
  } catch {
    tell(text("away"));
  }
}

/** Why the hub is not ready, in the words of its log. */
async function troubles() {
  /** @type {{ checks: Record<string, { reason?: string }> }} */
  const { checks } = await (await fetch("readyz", { cache: "no-store" })).json();
  const failed = Object.entries(checks).filter(([, { reason }]) => reason);
  return failed.map(([name, { reason }]) => `${name}: ${reason}`).join("\n");
}

/** Without the right to read the metrics the page shows who is connected, and no charts. */
async function measure() {
  const response = await fetch("metrics", { cache: "no-store" });
  get("charts").hidden = !response.ok;
  if (!response.ok) return;
  const now = { at: performance.now(), text: await response.text() };
  const { rate, previous } = rates(before, now);
  before = previous;
  if (!rate) return;
  charts.read.add({ "": rate.read });
  charts.delivered.add(rate.delivered);
  charts.missing.add(rate.missing);
  charts.lag.add({ "": rate.lag });
  charts.delay.add({ "": rate.delay });
}

async function keepLooking() {
  await look();
  setTimeout(keepLooking, LOOK);
}

picker.replaceChildren(...LANGUAGES.map((tag) => new Option(new Intl.DisplayNames(tag, { type: "language" }).of(tag), tag)));
picker.value = language;
picker.onchange = () => {
  language = picker.value;
  address.searchParams.set("lang", language);
  history.replaceState(null, "", address);
  speak();
};
get("charts").append(...Object.values(charts).map(({ element }) => element));
speak();
get("count").hidden = get("nobody").hidden = true;
keepLooking();
