// The alarms of one user, and how the connection is. In the light DOM; text is never HTML.

import { AlarmClient, IDLE, OPEN } from "./alarm-client.js";
import { AlarmModel, ROWS } from "./alarm-model.js";
import { STATES, WORDS, many, meaning, say, spoken } from "./words.js";

/** @import { Alarm, Options, StateDetail } from "./types.js" */
/** @import { Sentence } from "./words.js" */

const PAGE = 50;
/** Milliseconds between two spoken sentences. */
const BREATH = 5_000;
/** Pixels. */
const AT_TOP = 40;

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} name its class is `alarm-` and this
 * @param {Partial<HTMLElementTagNameMap[T]>} [properties]
 */
const make = (tag, name, properties) =>
  Object.assign(document.createElement(tag), { className: `alarm-${name}` }, properties);

/** @param {string} name */
const button = (name) => make("button", name, { type: "button", hidden: true });

/**
 * @param {Element | undefined} element
 * @param {string} text
 */
const set = (element, text) => element && element.textContent !== text && (element.textContent = text);

/**
 * Without width and case.
 * @param {string} text
 */
const plain = (text) => text.normalize("NFKC").toLowerCase();

/**
 * `src`: the stream. `lang`: the language of its words, and of the alarms unless `languages` has another list.
 * Events: `change`: what it shows; `arrive`: `detail.alarms` are new; `state`: a {@link StateDetail}.
 */
export class AlarmList extends HTMLElement {
  static observedAttributes = ["src", "lang", "languages"];

  /** @type {Options["token"]} */
  token;
  /** @type {AlarmClient | undefined} */
  #client;
  #model = new AlarmModel();
  #language = "en";
  #filter = "";
  #unreadOnly = false;
  /** @type {Map<string, HTMLLIElement>} */
  #items = new Map();
  /** The one that the tab key finds. @type {Element | null} */
  #current = null;
  /** @type {AbortController | undefined} */
  #refilling;
  #busy = false;
  #loaded = false;
  #down = "";
  #painting = 0;
  #ticking = 0;
  #recounting = 0;
  #speaking = 0;
  #spoke = 0;
  /** New to the page. @type {Alarm[]} */
  #arrivals = [];
  /** New to the voice. @type {Alarm[]} */
  #unsaid = [];
  #stateUnsaid = false;

  #state = make("strong", "name");
  #why = make("span", "why");
  #connect = button("connect");
  #bar = make("div", "state");
  #notice = make("p", "notice", { hidden: true });
  #pill = button("pill");
  #list = make("ol", "rows");
  #empty = make("p", "empty", { hidden: true });
  #older = button("older");
  #voice = make("p", "voice");
  #onScroll = () => this.#scrolled();

  constructor() {
    super();
    this.#bar.append(make("span", "dot"), this.#state, this.#why, this.#connect);
    this.#notice.setAttribute("role", "alert");
    this.#voice.setAttribute("role", "status");
    this.#connect.onclick = () => (this.#client?.state === "superseded" ? this.#client.takeOver() : this.#client?.start());
    this.#pill.onclick = () => this.#toNewest();
    this.#older.onclick = () => this.#fetchOlder();
    this.#list.onclick = ({ target }) => {
      const item = target instanceof HTMLButtonElement && target.closest("li");
      if (item) this.acknowledge(item.dataset.id ?? "");
    };
    this.#list.addEventListener("focusin", ({ target }) => target instanceof Element && this.#makeCurrent(target.closest("li")));
  }

  get client() {
    return this.#client;
  }

  /** How many are not acknowledged, also beyond the rows; `+`: and more. */
  get unread() {
    return `${this.#model.unread}${this.#model.unreadMore ? "+" : ""}`;
  }

  get loaded() {
    return this.#model.rows.length;
  }

  /** @param {string} text only alarms with it are shown */
  set filter(text) {
    this.#filter = plain(text.trim());
    this.#paint();
  }

  /** @param {boolean} only */
  set unreadOnly(only) {
    this.#unreadOnly = only;
    this.#paint();
  }

  connectedCallback() {
    this.replaceChildren(this.#bar, this.#notice, this.#pill, this.#list, this.#empty, this.#older, this.#voice);
    addEventListener("scroll", this.#onScroll, { passive: true });
    this.#speakIt();
    this.#open();
  }

  disconnectedCallback() {
    removeEventListener("scroll", this.#onScroll);
    this.#refilling?.abort();
    this.#client?.close();
    this.#client = undefined;
    for (const timer of [this.#ticking, this.#recounting, this.#speaking]) clearTimeout(timer);
    this.#speaking = this.#recounting = 0;
  }

  /** @param {string} name */
  attributeChangedCallback(name) {
    if (!this.#bar.isConnected) return;
    if (name === "src") return this.#open();
    this.#speakIt();
    if (!this.#client || this.#languages() === this.#client.languages) return;
    this.#client.setLanguage(this.#languages());
    this.#refill(true);
  }

  /**
   * Acknowledges an alarm, or takes that back.
   * @param {string} id
   */
  async acknowledge(id) {
    const acknowledged = !this.#model.find(id)?.acknowledged;
    this.#acknowledged(id, acknowledged);
    try {
      await this.#client?.acknowledge(id, acknowledged);
      this.#tell("");
    } catch (error) {
      this.#acknowledged(id, !acknowledged);
      this.#fail(error);
    }
  }

  #languages() {
    return this.getAttribute("languages") ?? this.getAttribute("lang") ?? "";
  }

  /**
   * @param {Sentence | undefined} sentence
   * @param {string | number} [value]
   */
  #say(sentence, value) {
    return say(this.#language, sentence, value);
  }

  #speakIt() {
    const lang = this.closest("[lang]")?.getAttribute("lang");
    this.#language = spoken(lang ? [lang] : navigator.languages);
    this.#list.setAttribute("aria-label", this.#say(WORDS.alarms));
    this.#older.textContent = this.#say(WORDS.older);
    this.#showState();
    this.#paint();
  }

  #open() {
    this.#client?.close();
    this.#refilling?.abort();
    this.#model = new AlarmModel();
    this.#loaded = false;
    this.#items.clear();
    this.#list.replaceChildren();
    this.#wait(false);
    const src = this.getAttribute("src");
    if (!src) return;
    const client = (this.#client = new AlarmClient(src, { languages: this.#languages(), token: () => this.token?.() ?? "" }));
    /** @type {Record<string, (detail: any) => void>} */
    const listeners = {
      state: (detail) => this.#stateChanged(detail),
      alarm: (alarm) => {
        this.#model.arrived(alarm, this.#readsOn());
        this.#arrivals.push(alarm);
      },
      updated: (alarm) => this.#model.updated(alarm),
      cleared: ({ id }) => this.#recount(this.#model.cleared(id)),
      acknowledged: ({ id, acknowledged }) => this.#acknowledged(id, acknowledged),
      // What was acknowledged meanwhile is in no stream.
      hello: () => this.#refill(),
      gap: () => this.#refill(),
      reset: () => this.#refill(),
      status: ({ source, since }) => {
        this.#down = source === "down" ? since || " " : "";
        this.#sayState();
      },
    };
    for (const [name, listener] of Object.entries(listeners)) {
      client.addEventListener(name, (event) => {
        if (client !== this.#client || !(event instanceof CustomEvent)) return;
        listener(event.detail);
        this.#paint();
      });
    }
    client.start();
  }

  /**
   * Fetches all that is shown anew. Until it is here nothing changes: one page, one language.
   * @param {boolean} [always] also what is read far below
   */
  async #refill(always = false) {
    if (this.#model.behind && !always) return;
    const client = this.#client;
    this.#refilling?.abort();
    const { signal } = (this.#refilling = new AbortController());
    const limit = Math.min(ROWS, Math.max(PAGE, this.#model.behind ? 0 : this.loaded));
    this.#model.beginRefill();
    this.#wait(true);
    try {
      const history = await client?.history({ limit, signal });
      if (signal.aborted || !history) return;
      this.#model.refill(history, this.#readsOn());
      this.#loaded = true;
      this.#tell("");
    } catch (error) {
      if (signal.aborted) return;
      // The next connection fetches again.
      if (client?.state === "live") {
        this.#fail(error);
        setTimeout(() => !signal.aborted && client.state === "live" && this.#refill(), BREATH);
      }
    }
    this.#wait(false);
  }

  /** @param {boolean} busy */
  #wait(busy) {
    this.#busy = busy;
    this.#list.setAttribute("aria-busy", String(busy));
    this.#paint();
  }

  async #fetchOlder() {
    const { next } = this.#model;
    this.#older.disabled = true;
    try {
      const page = await this.#client?.history({ limit: PAGE, before: next });
      if (page && next === this.#model.next) this.#model.older(page);
    } catch (error) {
      this.#fail(error);
    }
    this.#older.disabled = false;
    this.#paint();
  }

  #toNewest() {
    scrollTo({ top: 0 });
    this.#model.held.clear();
    if (this.#model.behind) {
      this.#model = new AlarmModel();
      this.#refill();
    }
    this.#paint();
  }

  #readsOn() {
    return this.getBoundingClientRect().top < -AT_TOP;
  }

  #scrolled() {
    if (!this.#model.held.size || this.#model.behind || this.#readsOn()) return;
    this.#model.held.clear();
    this.#paint();
  }

  /**
   * @param {string} id
   * @param {boolean} acknowledged
   */
  #acknowledged(id, acknowledged) {
    this.#recount(this.#model.acknowledged(id, acknowledged));
    this.#paint();
  }

  /** @param {boolean} certain whether the number of unread ones is */
  #recount(certain) {
    if (certain || this.#recounting) return;
    this.#recounting = setTimeout(() => {
      this.#recounting = 0;
      this.#refill();
    }, 1000);
  }

  /** @param {unknown} error */
  #fail(error) {
    const denied = error instanceof Error && [401, 403].includes(Number(error.cause));
    this.#tell(this.#say(denied ? STATES.unauthorized : WORDS.failed));
  }

  /** @param {string} notice */
  #tell(notice) {
    this.#notice.hidden = !notice;
    this.#notice.textContent = notice;
  }

  /** @param {StateDetail} detail */
  #stateChanged(detail) {
    this.#down = "";
    clearInterval(this.#ticking);
    if (detail.retryAt) this.#ticking = setInterval(() => this.#showState(), 1000);
    // Connecting is over in a moment.
    if (detail.state === "connecting") this.#showState();
    else this.#sayState();
    this.dispatchEvent(new CustomEvent("state", { detail }));
  }

  /** Not again at each try. */
  #sayState() {
    const before = this.#state.textContent;
    this.#showState();
    if (before === this.#state.textContent) return;
    this.#stateUnsaid = true;
    this.#speak();
  }

  /** Of the state: name and meaning. */
  #said() {
    const detail = this.#client?.detail ?? IDLE;
    if (this.#bar.dataset.state !== "down") return [this.#say(STATES[detail.state] ?? STATES.stopped), meaning(this.#language, detail)];
    const since = new Date(this.#down);
    const time = since.getTime() ? this.#say(WORDS.since, since.toLocaleString(this.#language)) : "";
    return [this.#say(STATES.down), `${this.#say(WORDS.missing)} ${time}`];
  }

  #showState() {
    const { state, retryAt } = this.#client?.detail ?? IDLE;
    const seconds = Math.ceil((retryAt - Date.now()) / 1000);
    const isWaiting = state === "reconnecting";
    const next = seconds > 0 ? this.#say(WORDS.retryIn, seconds) : this.#say(WORDS.retrying);
    this.dataset.state = state;
    this.#bar.dataset.state = state === "live" && this.#down ? "down" : state;
    const [name = "", why] = this.#said();
    set(this.#state, name);
    set(this.#why, `${why} ${isWaiting ? next : ""}`.trim());
    this.#connect.hidden = isWaiting ? !retryAt : ["idle", "connecting", "live"].includes(state);
    set(this.#connect, this.#say(isWaiting ? WORDS.retry : state === "superseded" ? WORDS.takeOver : WORDS.connect));
  }

  #paint() {
    this.#painting ||= setTimeout(() => {
      this.#painting = 0;
      if (this.isConnected && !this.#busy) this.#draw();
    });
  }

  #draw() {
    const { rows, held, next, behind } = this.#model;
    const fits = rows.filter(
      (row) =>
        !held.has(row.id) &&
        (row.unread || !this.#unreadOnly) &&
        plain(`${row.message} ${row.id}`).includes(this.#filter),
    );
    this.#place(fits);
    const isOpen = OPEN.includes(this.#client?.state ?? "");
    this.#empty.hidden = fits.length > 0 || (!this.#loaded && !isOpen);
    set(this.#empty, this.#loaded ? this.#say(rows.length ? WORDS.none : WORDS.empty) : "…");
    this.#pill.hidden = !held.size && !behind;
    set(this.#pill, this.#say(held.size ? many(held.size) : WORDS.newest, held.size));
    this.#older.hidden = !next;
    this.dispatchEvent(new Event("change"));
    if (!this.#arrivals.length) return;
    const alarms = this.#arrivals.map((alarm) => this.#model.find(alarm.id) ?? alarm);
    this.#arrivals = [];
    this.#unsaid.push(...alarms);
    this.#speak();
    this.dispatchEvent(new CustomEvent("arrive", { detail: { alarms } }));
  }

  /** @param {AlarmModel["rows"]} rows */
  #place(rows) {
    const ids = new Set(rows.map((row) => row.id));
    for (const [id, item] of this.#items) {
      if (ids.has(id)) continue;
      // The focus stays in the list.
      const beside = item.nextElementSibling ?? item.previousElementSibling;
      if (item.contains(document.activeElement) && beside instanceof HTMLElement) beside.focus();
      item.remove();
      this.#items.delete(id);
    }
    let place = this.#list.firstElementChild;
    for (const row of rows) {
      const item = this.#items.get(row.id) ?? this.#item(row.id);
      this.#fill(item, row);
      if (item === place) place = place.nextElementSibling;
      else this.#list.insertBefore(item, place);
    }
    if (!this.#current?.isConnected) this.#makeCurrent(this.#list.firstElementChild);
  }

  /** @param {Element | null} item */
  #makeCurrent(item) {
    for (const part of [this.#current, this.#current?.lastElementChild]) part?.setAttribute("tabindex", "-1");
    for (const part of [item, item?.lastElementChild]) part?.setAttribute("tabindex", "0");
    this.#current = item;
  }

  /** @param {string} id */
  #item(id) {
    const item = make("li", "row", { tabIndex: -1 });
    item.dataset.id = id;
    const meta = make("p", "meta");
    meta.append(make("span", "mark"), make("span", "time"), make("span", "other"));
    item.append(make("p", "message", { dir: "auto" }), meta, make("button", "ack", { type: "button", tabIndex: -1 }));
    this.#items.set(id, item);
    return item;
  }

  /**
   * @param {HTMLLIElement} item
   * @param {AlarmModel["rows"][0]} row
   */
  #fill(item, row) {
    const unread = !!row.unread;
    const texts = {
      message: row.message,
      mark: unread ? this.#say(WORDS.unread) : "",
      time: row.isn_dt ?? "",
      other: `${row.fallback ? this.#name(row.lang) : ""} ${row.truncated ? this.#say(WORDS.truncated) : ""}`.trim(),
      ack: this.#say(row.acknowledged ? WORDS.takeBack : WORDS.acknowledge),
    };
    for (const [name, text] of Object.entries(texts)) set(item.getElementsByClassName(`alarm-${name}`)[0], text);
    const [message] = item.children;
    message?.setAttribute("lang", row.lang);
    // It scrolls, also by keyboard.
    if (row.message.length > 300 || row.message.split("\n").length > 8) message?.setAttribute("tabindex", "0");
    item.classList.toggle("unread", unread);
  }

  /** @param {string} tag */
  #name(tag) {
    try {
      return new Intl.DisplayNames(this.#language, { type: "language" }).of(tag) ?? tag;
    } catch {
      return tag;
    }
  }

  /** A refill is not news. */
  #speak() {
    this.#speaking ||= setTimeout(
      () => {
        this.#speaking = 0;
        this.#spoke = Date.now();
        const n = this.#unsaid.length;
        const latest = this.#unsaid[n - 1];
        const state = `${this.#said().join(". ")} `;
        const news = latest ? `${this.#say(many(n), n)}: ${latest.message.slice(0, 200)}` : "";
        this.#voice.textContent = `${this.#stateUnsaid ? state : ""}${news}`.trim();
        this.#unsaid = [];
        this.#stateUnsaid = false;
      },
      Math.max(250, this.#spoke + BREATH - Date.now()),
    );
  }
}

if (!customElements.get("alarm-list")) customElements.define("alarm-list", AlarmList);
