// <alarm-list src="/connection/tiaz" lang="ko">: the alarms of one user, and how the connection is.
//
// In the light DOM, so that the page's own style reaches it; /assets/alarm-hub.css is a start, made of variables.
// Text is only ever text: nothing that comes from the hub is put into HTML.

import { AlarmClient } from "./alarm-client.js";
import { AlarmModel, ROWS } from "./alarm-model.js";
import { meaning, spoken, words } from "./words.js";

/** @import { Alarm, StateDetail } from "./types.js" */

/** Alarms of one page of the history. */
const PAGE = 50;
/** A sentence is read aloud at most this often, in milliseconds. */
const BREATH = 5_000;
/** How far down the page counts as reading on, in pixels. */
const AT_TOP = 40;
/** @type {StateDetail} */
const NOT_YET = { state: "idle", cause: "", status: 0, retryAt: 0 };

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} [className]
 * @param {Partial<HTMLElementTagNameMap[T]>} [properties]
 * @returns {HTMLElementTagNameMap[T]}
 */
function make(tag, className = "", properties = {}) {
  return Object.assign(document.createElement(tag), { className, ...properties });
}

/**
 * - `src`: the stream. `lang`: the language of its words (ko, en, ja), and of the alarms unless `languages` says
 *   otherwise (a list as in an `Accept-Language` header). Without either, what the browser says.
 * - Events: `change` when what it shows changed, `arrive` with `detail.alarms` for new alarms, `state` with a
 *   {@link StateDetail}.
 */
export class AlarmList extends HTMLElement {
  static observedAttributes = ["src", "lang", "languages"];

  /** Set before it is connected: gives the token for `Authorization: Bearer`. @type {(() => string | Promise<string>) | undefined} */
  token;
  /** @type {AlarmClient | undefined} */
  #client;
  #model = new AlarmModel();
  #words = words("en");
  #filter = "";
  #unreadOnly = false;
  /** @type {Map<string, HTMLLIElement>} */
  #items = new Map();
  /** @type {AbortController | undefined} */
  #life;
  /** The one refill that counts. @type {AbortController | undefined} */
  #refilling;
  #loaded = false;
  #sourceDown = "";
  #painting = 0;
  #ticking = 0;
  #speaking = 0;
  #spoke = 0;
  #busy = false;
  #recounting = 0;
  /** New alarms that the page has not been told of. @type {Alarm[]} */
  #arrivals = [];
  /** New alarms that have not been read aloud. @type {Alarm[]} */
  #unsaid = [];
  #stateUnsaid = false;
  #language = "en";
  /** The one alarm that the tab key finds: with all of them nobody would get past the list. @type {Element | null} */
  #current = null;

  #dot = make("span", "alarm-dot");
  #state = make("strong");
  #why = make("span", "alarm-why");
  #button = make("button", "alarm-connect", { type: "button" });
  #bar = make("div", "alarm-state");
  #source = make("p", "alarm-source", { hidden: true });
  #notice = make("p", "alarm-notice", { hidden: true });
  #pill = make("button", "alarm-pill", { type: "button", hidden: true });
  #list = make("ol", "alarm-rows");
  #empty = make("p", "alarm-empty", { hidden: true });
  #older = make("button", "alarm-older", { type: "button", hidden: true });
  #voice = make("p", "alarm-voice");

  /** The client behind it; none before it is in a document. */
  get client() {
    return this.#client;
  }

  /** How many alarms are not acknowledged, also beyond the rows. */
  get unread() {
    return this.#model.unread;
  }

  /** Whether there are more than {@link unread} says. */
  get unreadMore() {
    return this.#model.unreadMore;
  }

  /** How many alarms are loaded, and how many of them are shown. */
  get counts() {
    return { loaded: this.#model.rows.length, shown: this.#items.size };
  }

  /** Text that an alarm must have in it to be shown. */
  get filter() {
    return this.#filter;
  }

  set filter(text) {
    this.#filter = plain(text.trim());
    this.#paint();
  }

  /** Whether only alarms that are not acknowledged are shown. */
  get unreadOnly() {
    return this.#unreadOnly;
  }

  set unreadOnly(only) {
    this.#unreadOnly = only;
    this.#paint();
  }

  connectedCallback() {
    this.#build();
    this.#life = new AbortController();
    const { signal } = this.#life;
    addEventListener("scroll", () => this.#scrolled(), { signal, passive: true });
    this.addEventListener("keydown", (event) => this.#key(event), { signal });
    this.addEventListener("focusin", ({ target }) => this.#makeCurrent(/** @type {Element} */ (target).closest("li")), { signal });
    this.#speakThe();
    this.#connect();
  }

  disconnectedCallback() {
    this.#life?.abort();
    this.#refilling?.abort();
    this.#client?.close();
    this.#client = undefined;
    clearInterval(this.#ticking);
    clearTimeout(this.#recounting);
    clearTimeout(this.#speaking);
    this.#speaking = 0;
  }

  /** @param {string} name */
  attributeChangedCallback(name) {
    if (!this.#client) return;
    if (name === "src") return this.#connect();
    this.#speakThe();
    const languages = this.#languages();
    if (languages === this.#client.languages) return;
    this.#client.setLanguage(languages);
    this.#refill();
  }

  /**
   * Moves the focus to the next alarm, or to one before.
   * @param {1 | -1} step
   */
  move(step) {
    const items = /** @type {HTMLElement[]} */ ([...this.#list.children]);
    const from = items.findIndex((item) => item === document.activeElement || item.contains(document.activeElement));
    const to = items[from < 0 ? 0 : Math.min(items.length - 1, Math.max(0, from + step))];
    to?.focus();
    to?.scrollIntoView({ block: "nearest" });
  }

  /**
   * Acknowledges an alarm, or takes that back.
   * @param {string} id
   * @param {boolean} acknowledged
   */
  async acknowledge(id, acknowledged) {
    const client = this.#client;
    if (!client) return;
    const before = !!this.#model.find(id)?.acknowledged;
    this.#acknowledged(id, acknowledged);
    try {
      await client.acknowledge(id, acknowledged);
      this.#tell("");
    } catch (error) {
      this.#acknowledged(id, before);
      this.#fail(error);
    }
  }

  /** Acknowledges every alarm of this user, also those that are not loaded. */
  async acknowledgeAll() {
    const client = this.#client;
    if (!client) return;
    try {
      /** @type {string | null} */
      let before = null;
      do {
        const page = await client.history({ limit: PAGE, before });
        // A few at a time: a browser has six connections to a host, and the stream has one of them.
        const ids = page.alarms.filter((alarm) => !alarm.acknowledged).map((alarm) => alarm.id);
        const workers = [1, 2, 3].map(async () => {
          for (let id = ids.shift(); id !== undefined; id = ids.shift()) {
            await client.acknowledge(id);
            this.#acknowledged(id, true);
          }
        });
        await Promise.all(workers);
        before = this.#model.unread > 0 || this.#model.unreadMore ? page.next : null;
      } while (before);
      this.#tell("");
    } catch (error) {
      this.#fail(error);
    }
    this.#refill();
  }

  #languages() {
    return this.getAttribute("languages") ?? this.getAttribute("lang") ?? "";
  }

  #build() {
    this.#dot.setAttribute("aria-hidden", "true");
    this.#voice.setAttribute("role", "status");
    this.#notice.setAttribute("role", "alert");
    this.#bar.replaceChildren(this.#dot, this.#state, this.#why, this.#button);
    this.replaceChildren(
      this.#bar,
      this.#source,
      this.#notice,
      this.#pill,
      this.#list,
      this.#empty,
      this.#older,
      this.#voice,
    );
    this.#button.onclick = () => (this.#client?.state === "superseded" ? this.#client.takeOver() : this.#client?.start());
    this.#pill.onclick = () => this.#toNewest();
    this.#older.onclick = () => this.#fetchOlder();
    this.#list.onclick = (event) => {
      const button = event.target instanceof Element ? event.target.closest("button") : null;
      const item = button?.closest("li");
      if (item) this.#toggle(item);
    };
  }

  /** Everything that stands in the list's own words, in the language that counts now. */
  #speakThe() {
    const own = this.getAttribute("lang");
    const around = this.closest("[lang]")?.getAttribute("lang");
    this.#language = spoken(own ? [own] : around ? [around] : navigator.languages);
    this.#words = words(this.#language);
    this.#list.setAttribute("aria-label", this.#words.alarms);
    this.#older.textContent = this.#words.older;
    this.#showState();
    this.#paint();
  }

  #connect() {
    this.#client?.close();
    this.#refilling?.abort();
    this.#model = new AlarmModel();
    this.#loaded = false;
    // Nobody is shown what another user was.
    this.#items.clear();
    this.#list.replaceChildren();
    this.#wait(false);
    const src = this.getAttribute("src");
    if (!src) return;
    const client = new AlarmClient(src, { languages: this.#languages(), token: this.token });
    this.#client = client;
    /** @type {(name: string, listener: (detail: any) => void) => void} */
    const on = (name, listener) =>
      client.addEventListener(name, (event) => {
        if (client === this.#client && event instanceof CustomEvent) listener(event.detail);
      });
    on("state", (detail) => this.#stateChanged(detail));
    on("alarm", (alarm) => this.#arrived(alarm));
    on("updated", (alarm) => (this.#model.updated(alarm), this.#paint()));
    on("cleared", ({ id }) => this.#recount(this.#model.cleared(id)));
    on("acknowledged", ({ id, acknowledged }) => this.#acknowledged(id, acknowledged));
    on("hello", () => ((this.#sourceDown = ""), this.#refill()));
    on("gap", () => this.#refill());
    on("reset", () => this.#refill());
    on("status", ({ source, since }) => ((this.#sourceDown = source === "down" ? since || " " : ""), this.#paint()));
    client.start();
  }

  /**
   * Fetches the list anew, in the language that counts now, as far down as it was. Until it is here nothing changes
   * on the page: a page has one language.
   */
  async #refill() {
    const client = this.#client;
    if (!client) return;
    this.#refilling?.abort();
    const { signal } = (this.#refilling = new AbortController());
    const wanted = Math.min(ROWS, Math.max(PAGE, this.#model.behind ? 0 : this.#model.rows.length));
    this.#model.beginRefill();
    this.#wait(true);
    try {
      const history = await client.history({ limit: PAGE, signal });
      while (history.next && history.alarms.length < wanted) {
        const page = await client.history({ limit: PAGE, before: history.next, signal });
        history.alarms.push(...page.alarms);
        history.next = page.next;
      }
      if (signal.aborted) return;
      this.#model.refill(history, this.#readsOn());
      this.#loaded = true;
      this.#tell("");
    } catch (error) {
      if (signal.aborted) return;
      // Without a connection the bar says enough, and the next one fetches again.
      if (client.state === "live") {
        this.#fail(error);
        setTimeout(() => signal.aborted || client.state !== "live" || this.#refill(), BREATH);
      }
    }
    this.#wait(false);
  }

  /** @param {boolean} busy whether a list is on its way */
  #wait(busy) {
    this.#busy = busy;
    this.#list.setAttribute("aria-busy", String(busy));
    this.#paint();
  }

  async #fetchOlder() {
    const { next } = this.#model;
    const client = this.#client;
    if (!next || !client || this.#older.disabled) return;
    this.#older.disabled = true;
    try {
      const page = await client.history({ limit: PAGE, before: next });
      if (next === this.#model.next) this.#model.older(page);
    } catch (error) {
      this.#fail(error);
    }
    this.#older.disabled = false;
    this.#paint();
  }

  #toNewest() {
    this.#model.release();
    scrollTo({ top: 0 });
    if (this.#model.behind) {
      this.#model = new AlarmModel();
      this.#refill();
    }
    this.#paint();
  }

  /** Who reads further down must not have the list jump. */
  #readsOn() {
    return this.isConnected && this.getBoundingClientRect().top < -AT_TOP;
  }

  #scrolled() {
    if (this.#model.held.size && !this.#model.behind && !this.#readsOn()) {
      this.#model.release();
      this.#paint();
    }
  }

  /** @param {Alarm} alarm */
  #arrived(alarm) {
    this.#model.arrived(alarm, this.#readsOn());
    this.#arrivals.push(alarm);
    this.#paint();
  }

  /**
   * @param {string} id
   * @param {boolean} acknowledged
   */
  #acknowledged(id, acknowledged) {
    this.#recount(this.#model.acknowledged(id, acknowledged));
  }

  /** @param {boolean} certain whether the model knows how many are unread */
  #recount(certain) {
    this.#paint();
    if (certain || this.#recounting) return;
    this.#recounting = setTimeout(() => {
      this.#recounting = 0;
      this.#refill();
    }, 1000);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const item = event.target instanceof HTMLLIElement ? event.target : undefined;
    if (!item || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "a" || event.key === "Enter") this.#toggle(item);
    else if (event.key === "ArrowDown") this.move(1);
    else if (event.key === "ArrowUp") this.move(-1);
    else return;
    event.preventDefault();
  }

  /** @param {HTMLLIElement} item */
  #toggle(item) {
    const id = item.dataset.id ?? "";
    this.acknowledge(id, !this.#model.find(id)?.acknowledged);
  }

  /** @param {unknown} error */
  #fail(error) {
    const status = error instanceof Error ? error.cause : 0;
    this.#tell(status === 401 || status === 403 ? this.#words.signIn : this.#words.failed);
  }

  /** @param {string} notice */
  #tell(notice) {
    this.#notice.hidden = !notice;
    this.#notice.textContent = notice;
  }

  /** @param {StateDetail} detail */
  #stateChanged(detail) {
    this.#showState();
    clearInterval(this.#ticking);
    if (detail.retryAt) this.#ticking = setInterval(() => this.#showState(), 1000);
    // Connecting is over in a moment, and a lost connection that is back within a breath is no news.
    if (detail.state !== "connecting") this.#stateUnsaid = true;
    this.#speak();
    this.dispatchEvent(new CustomEvent("state", { detail }));
  }

  #showState() {
    const detail = this.#client?.detail ?? NOT_YET;
    const text = this.#words;
    const { state, retryAt } = detail;
    const seconds = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
    const next = state !== "reconnecting" ? "" : retryAt && seconds ? text.retryIn(seconds) : text.retrying;
    this.#bar.dataset.state = state;
    this.dataset.state = state;
    this.#state.textContent = text.states[state];
    this.#why.textContent = `${meaning(text, detail)} ${next}`.trim();
    this.#button.hidden = state === "live" || state === "connecting" || (state === "reconnecting" && !retryAt);
    this.#button.textContent =
      state === "superseded" ? text.takeOver : state === "reconnecting" ? text.retry : text.connect;
  }

  /** Draws what changed, once for all that comes in one go; not while a list in another language is on its way. */
  #paint() {
    if (this.#painting) return;
    this.#painting = setTimeout(() => {
      this.#painting = 0;
      if (this.isConnected && !this.#busy) this.#draw();
    });
  }

  #draw() {
    const { rows, held, next, behind } = this.#model;
    const fits = rows.filter(
      (row) =>
        !held.has(row.id) &&
        !(this.#unreadOnly && row.acknowledged) &&
        (!this.#filter || plain(`${row.message} ${row.id}`).includes(this.#filter)),
    );
    const ids = new Set(fits.map((row) => row.id));
    const focused = document.activeElement?.closest("li");
    for (const [id, item] of this.#items) {
      if (ids.has(id)) continue;
      // The focus stays in the list when the alarm that had it goes.
      if (item === focused) /** @type {HTMLElement | null} */ (item.nextElementSibling ?? item.previousElementSibling)?.focus();
      item.remove();
      this.#items.delete(id);
    }
    let place = this.#list.firstElementChild;
    for (const row of fits) {
      const item = this.#items.get(row.id) ?? this.#item(row.id);
      this.#fill(item, row);
      if (item === place) place = place.nextElementSibling;
      else this.#list.insertBefore(item, place);
    }
    if (!this.#current?.isConnected) this.#makeCurrent(this.#list.firstElementChild);
    const open = ["connecting", "live", "reconnecting"].includes(this.#client?.state ?? "idle");
    this.#empty.hidden = fits.length > 0 || (!this.#loaded && !open);
    this.#empty.textContent = !this.#loaded ? this.#words.loading : rows.length ? this.#words.nothing : this.#words.empty;
    this.#pill.hidden = held.size === 0 && !behind;
    this.#pill.textContent = held.size ? this.#words.pill(held.size) : this.#words.newest;
    this.#older.hidden = !next;
    this.#source.hidden = !this.#sourceDown;
    const since = new Date(this.#sourceDown);
    const known = Number.isNaN(since.getTime()) ? "" : this.#words.since(since.toLocaleString(this.#language));
    set(this.#source, `${this.#words.sourceDown} ${known}`.trim());
    this.dispatchEvent(new Event("change"));
    if (!this.#arrivals.length) return;
    const alarms = this.#arrivals.map((alarm) => this.#model.find(alarm.id) ?? alarm);
    this.#arrivals = [];
    this.#unsaid.push(...alarms);
    this.#speak();
    this.dispatchEvent(new CustomEvent("arrive", { detail: { alarms } }));
  }

  /** @param {Element | null} item */
  #makeCurrent(item) {
    if (!item || item === this.#current) return;
    for (const [element, index] of [/** @type {const} */ ([this.#current, -1]), /** @type {const} */ ([item, 0])]) {
      for (const part of [element, element?.querySelector("button")]) part?.setAttribute("tabindex", String(index));
    }
    this.#current = item;
  }

  /** @param {string} id */
  #item(id) {
    const item = make("li", "alarm-row", { tabIndex: -1 });
    item.dataset.id = id;
    const message = make("p", "alarm-message", { dir: "auto" });
    const meta = make("p", "alarm-meta");
    meta.append(make("span", "alarm-mark"), make("span", "alarm-time"), make("span", "alarm-other"));
    item.append(message, meta, make("button", "alarm-ack", { type: "button", tabIndex: -1 }));
    this.#items.set(id, item);
    return item;
  }

  /**
   * @param {HTMLLIElement} item
   * @param {Alarm} row
   */
  #fill(item, row) {
    const [message, meta, button] = item.children;
    const [mark, time, other] = meta?.children ?? [];
    if (!message || !mark || !time || !other || !button) return;
    set(message, row.message);
    if (message.getAttribute("lang") !== row.lang) message.setAttribute("lang", row.lang);
    set(mark, row.acknowledged ? "" : this.#words.unread);
    set(time, row.isn_dt ?? "");
    const notes = [row.fallback ? this.#name(row.lang) : "", row.truncated ? this.#words.truncated : ""];
    set(other, notes.filter(Boolean).join(" · "));
    set(button, row.acknowledged ? this.#words.takeBack : this.#words.acknowledge);
    item.classList.toggle("unread", !row.acknowledged);
    item.classList.toggle("fallback", row.fallback);
  }

  /** @param {string} tag a language, by its name in the language of the words */
  #name(tag) {
    try {
      return new Intl.DisplayNames([this.#language], { type: "language" }).of(tag) ?? tag;
    } catch {
      return tag;
    }
  }

  /** Reads aloud what is new, one sentence a breath. A refill is not news. */
  #speak() {
    if (this.#speaking) return;
    // What comes in one burst is one sentence.
    const pause = Math.max(250, this.#spoke + BREATH - Date.now());
    this.#speaking = setTimeout(() => {
      this.#speaking = 0;
      this.#spoke = Date.now();
      const latest = this.#unsaid.at(-1);
      const detail = this.#client?.detail ?? NOT_YET;
      const sentences = [
        this.#stateUnsaid ? `${this.#words.states[detail.state]}. ${meaning(this.#words, detail)}` : "",
        latest ? this.#words.said(this.#unsaid.length, latest.message.slice(0, 200)) : "",
      ];
      this.#unsaid = [];
      this.#stateUnsaid = false;
      this.#voice.textContent = sentences.join(" ").trim();
    }, pause);
  }
}

/**
 * Touches the page only where the text differs.
 * @param {Element} element
 * @param {string} text
 */
function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * As it is compared: width and case do not count.
 * @param {string} text
 */
function plain(text) {
  return text.normalize("NFKC").toLowerCase();
}

if (!customElements.get("alarm-list")) customElements.define("alarm-list", AlarmList);
