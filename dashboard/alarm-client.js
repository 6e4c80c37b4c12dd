// The event stream of one user, kept alive. No DOM in here: only fetch, timers, and what the page hears of the network.

import { createParser } from "./eventsource-parser.js";

/** @import { Cause, History, Options, State, StateDetail } from "./types.js" */

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30_000;
/** How long the hub may take to answer, and how long one that said nothing yet may stay silent. */
const PATIENCE = 20_000;
/** A deliberate opening that could not be delivered stays deliberate this long; later it may no longer be meant. */
const MEANT = 30_000;
/** Characters of one event; a hub's text has 64 KiB, six times as much when every letter of it is escaped. */
const LONGEST_EVENT = 1 << 20;
/** Answers after which coming back by oneself is of no use. */
const FINAL = [400, 404, 405, 406, 410, 421];
const PASSED_ON = ["alarm", "updated", "cleared", "acknowledged", "gap", "reset", "status", "hello"];

/**
 * A user's stream. Events (all `CustomEvent`, `detail` is the hub's JSON): `alarm`, `updated` (replace it by its id),
 * `cleared`, `acknowledged`; `gap` and `reset` (fetch the list again), `status` (whether the hub can read its
 * database), `hello`; and `state` with a {@link StateDetail}.
 */
export class AlarmClient extends EventTarget {
  #url;
  #token;
  #languages;
  #history;
  /** The id of the last block: what has been delivered, and the claim under which. */
  #id = "";
  /** Until when the next opening is a deliberate one though it is tried by a timer. */
  #meantUntil = 0;
  /** @type {StateDetail} */
  #detail = { state: "idle", cause: "", status: 0, retryAt: 0 };
  /** The connection that counts: what comes from any other is dropped. @type {AbortController | undefined} */
  #run;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #watchdog;
  #misses = 0;
  #asked = 0;
  #notBefore = 0;
  #heartbeat = 0;
  #heard = 0;
  /** @type {AbortController | undefined} */
  #listening;

  /**
   * @param {string | URL} url of the stream, as in `/connection/tiaz`
   * @param {Options} [options]
   */
  constructor(url, { languages = "", history = 0, token } = {}) {
    super();
    this.#url = new URL(url, document.baseURI);
    this.#languages = languages;
    this.#history = history;
    this.#token = token;
  }

  /** @returns {State} */
  get state() {
    return this.#detail.state;
  }

  /** What the last `state` event carried. @returns {StateDetail} */
  get detail() {
    return this.#detail;
  }

  get languages() {
    return this.#languages;
  }

  /** Opens the stream; where it is being reopened, tries at once. */
  start() {
    if (this.state === "reconnecting") this.#open();
    else if (this.state !== "connecting" && this.state !== "live") this.takeOver();
  }

  /** Opens the stream here, whoever has it now; nothing is missed. */
  takeOver() {
    this.#meantUntil = Date.now() + MEANT;
    this.#misses = 0;
    this.#listen();
    this.#open("connecting");
  }

  /**
   * Goes on in other languages, from where it is. A stream that is not open stays so.
   * @param {string} languages as in an `Accept-Language` header; `""`: what the browser says
   */
  setLanguage(languages) {
    if (languages === this.#languages) return;
    this.#languages = languages;
    if (this.state === "live" || this.state === "connecting") this.#open("connecting", "language");
    else if (this.state === "reconnecting") this.#open();
  }

  /** Ends the stream; `start()` opens it again. */
  close() {
    this.#listening?.abort();
    this.#listening = undefined;
    this.#end("closed");
  }

  /**
   * Fetches a page of the history in the languages of this client.
   * @param {{ limit?: number, before?: string | null, signal?: AbortSignal }} [page]
   * @returns {Promise<History>}
   */
  async history({ limit = 50, before, signal } = {}) {
    const url = this.#beside("/alarms");
    url.searchParams.set("limit", String(limit));
    if (this.#languages) url.searchParams.set("lang", this.#languages);
    if (before) url.searchParams.set("before", before);
    const response = await this.#fetch(url, { signal, headers: { Accept: "application/json" } });
    return await response.json();
  }

  /**
   * Acknowledges an alarm, or takes that back; every window of the user is told.
   * @param {string} id
   * @param {boolean} [acknowledged]
   */
  async acknowledge(id, acknowledged = true) {
    await this.#fetch(this.#beside(`/alarms/${encodeURIComponent(id)}/ack`), { method: acknowledged ? "PUT" : "DELETE" });
  }

  /** @param {string} path below this user's part of the API */
  #beside(path) {
    const url = new URL(this.#url);
    url.pathname = url.pathname.replace(/\/connection\/([^/]+)$/, "/users/$1") + path;
    url.search = "";
    return url;
  }

  /** @returns {Promise<Record<string, string>>} */
  async #authorization() {
    const token = await this.#token?.();
    return token ? { Authorization: `Bearer ${token}` } : {};
  }

  /**
   * A call of the API. Over its limit of requests the hub says when to come back.
   * @param {URL} url
   * @param {RequestInit} init
   */
  async #fetch(url, init) {
    for (let tries = 1; ; tries++) {
      const headers = { ...init.headers, ...(await this.#authorization()) };
      const response = await fetch(url, { ...init, headers, cache: "no-store" });
      if (response.ok) return response;
      if (response.status !== 429 || tries === 5) throw new Error(`HTTP ${response.status}`, { cause: response.status });
      const pause = Math.max(1, Number(response.headers.get("Retry-After")) || 0);
      await new Promise((after) => setTimeout(after, pause * 1000));
    }
  }

  /**
   * Opens a connection that counts from now on. Without a claim, or while it is meant, it is a deliberate opening: the
   * position is in the address alone. Else the header carries position and claim, and the hub lets it go on only if
   * no newer opening owns the stream.
   * @param {"connecting" | "reconnecting"} [state]
   * @param {Cause} [cause]
   */
  async #open(state = "reconnecting", cause = this.#detail.cause) {
    this.#cut();
    const run = (this.#run = new AbortController());
    const counts = () => run === this.#run;
    const url = new URL(this.#url);
    /** @type {Record<string, string>} */
    const headers = { Accept: "text/event-stream" };
    if (this.#languages) url.searchParams.set("lang", this.#languages);
    if (this.#id && Date.now() < this.#meantUntil) url.searchParams.set("last_event_id", this.#id);
    else if (this.#id) headers["Last-Event-ID"] = this.#id;
    else if (this.#history) url.searchParams.set("history", String(this.#history));
    this.#heartbeat = 0;
    this.#hear();
    this.#become(state, state === "connecting" && cause !== "language" ? "" : cause);
    try {
      Object.assign(headers, await this.#authorization());
      if (!counts()) return;
      const response = await fetch(url, { headers, cache: "no-store", signal: run.signal });
      if (!counts()) return;
      if (!this.#accepts(response) || !response.body) return;
      const parser = createParser({
        onEvent: (message) => counts() && this.#take(message),
        onRetry: (pause) => counts() && (this.#asked = pause),
        maxBufferSize: LONGEST_EVENT,
      });
      const reader = response.body.getReader();
      const decoder = new TextDecoder();
      for (;;) {
        const { done, value } = await reader.read();
        if (!counts()) return;
        if (done) break;
        this.#hear();
        parser.feed(decoder.decode(value, { stream: true }));
        if (!counts()) return;
      }
      this.#lose("ended");
    } catch {
      if (counts()) this.#lose(navigator.onLine ? "network" : "offline");
    }
  }

  /**
   * @param {Response} response
   * @returns {boolean} whether it is a stream
   */
  #accepts({ status, headers }) {
    if (status === 200 && headers.get("Content-Type")?.startsWith("text/event-stream")) return true;
    if (status === 204) this.#end("superseded", "superseded");
    else if (status === 401 || status === 403) this.#end("unauthorized", "status", status);
    else if (FINAL.includes(status)) this.#end("stopped", "status", status);
    else this.#lose("status", Number(headers.get("Retry-After")) * 1000 || 0, status);
    return false;
  }

  /** @param {{ event?: string, id?: string, data: string }} message */
  #take({ event = "message", id, data }) {
    const detail = parsed(data);
    if (!detail) return;
    if (id) {
      // Before it is passed on: a listener may change the language, which goes on from here.
      this.#id = id;
      this.#meantUntil = 0;
    }
    if (event === "bye") {
      if (detail.reconnect !== false) this.#lose(String(detail.reason), Number(detail.retry_ms) || 0);
      else if (detail.reason === "superseded") this.#end("superseded", "superseded");
      else this.#end(detail.reason === "expired" ? "unauthorized" : "stopped", String(detail.reason));
      return;
    }
    if (event === "hello") {
      this.#misses = 0;
      this.#heartbeat = Number(detail.heartbeat_ms) || 0;
      this.#hear();
      this.#become("live");
    }
    if (PASSED_ON.includes(event)) this.dispatchEvent(new CustomEvent(event, { detail }));
  }

  /** Something came, however little. */
  #hear() {
    this.#heard = Date.now();
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#lose("silent"), this.#silence());
  }

  /** The longest silence of a connection that is well: two heartbeats may be late, the middle of the third is too much. */
  #silence() {
    return this.#heartbeat ? 2.5 * this.#heartbeat : PATIENCE;
  }

  /**
   * It comes back by itself: full jitter between half a second and half a minute, never sooner than the hub asked.
   * @param {Cause} cause
   * @param {number} [asked] milliseconds
   * @param {number} [status]
   */
  #lose(cause, asked = 0, status = 0) {
    this.#cut();
    this.#misses += 1;
    const longest = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.#misses);
    const pause = FIRST_PAUSE + Math.random() * (longest - FIRST_PAUSE);
    this.#notBefore = Date.now() + Math.max(asked, this.#asked);
    this.#wait(Math.max(this.#notBefore, Date.now() + pause), cause, status);
  }

  /**
   * @param {number} retryAt
   * @param {Cause} cause
   * @param {number} status
   */
  #wait(retryAt, cause, status) {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#open(), retryAt - Date.now());
    this.#become("reconnecting", cause, status, retryAt);
  }

  /**
   * It does not come back by itself.
   * @param {State} state
   * @param {Cause} [cause]
   * @param {number} [status]
   */
  #end(state, cause = "", status = 0) {
    this.#cut();
    this.#meantUntil = 0;
    this.#become(state, cause, status);
  }

  #cut() {
    clearTimeout(this.#retry);
    clearTimeout(this.#watchdog);
    this.#retry = undefined;
    const run = this.#run;
    this.#run = undefined;
    run?.abort();
  }

  /**
   * @param {State} state
   * @param {Cause} [cause]
   * @param {number} [status]
   * @param {number} [retryAt]
   */
  #become(state, cause = "", status = 0, retryAt = 0) {
    this.#detail = { state, cause, status, retryAt };
    this.dispatchEvent(new CustomEvent("state", { detail: this.#detail }));
  }

  /** The network is back, or somebody looks: what waits need not wait longer, what went silent is not waited for. */
  #wake() {
    if (this.state === "live" && Date.now() - this.#heard > this.#silence()) this.#lose("silent");
    const { state, cause, status } = this.#detail;
    if (state === "reconnecting" && !this.#run) this.#wait(Math.max(this.#notBefore, Date.now()), cause, status);
  }

  /** A page that is put away keeps no connection, so that the browser can keep the page. It resumes when shown again. */
  #putAway() {
    if (!["connecting", "live", "reconnecting"].includes(this.state)) return;
    this.#cut();
    this.#become("reconnecting", "hidden");
  }

  #listen() {
    if (this.#listening) return;
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    const wake = () => this.#wake();
    addEventListener("online", wake, { signal });
    addEventListener("pageshow", wake, { signal });
    addEventListener("pagehide", () => this.#putAway(), { signal });
    document.addEventListener("resume", wake, { signal });
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && wake(), { signal });
  }
}

/**
 * @param {string} data
 * @returns {Record<string, unknown> | undefined} a JSON object, or nothing
 */
function parsed(data) {
  try {
    const value = JSON.parse(data);
    return value && typeof value === "object" ? value : undefined;
  } catch {
    return undefined;
  }
}
