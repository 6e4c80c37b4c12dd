// The event stream of one user, kept alive.

import { createParser } from "./eventsource-parser.js";

/** @import { Cause, History, Options, State, StateDetail } from "./types.js" */

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30_000;
/** For an answer. */
const PATIENCE = 20_000;
/** How long a deliberate opening that could not be delivered is still meant. */
const MEANT = 30_000;
/** A text of 64 KiB, every letter escaped. */
const LONGEST_EVENT = 1 << 20;
const FINAL = [400, 404, 405, 406, 410, 421];
/** @type {StateDetail} */
export const IDLE = { state: "idle", cause: "", status: 0, retryAt: 0 };
/** States that lead to a live stream by themselves. */
export const OPEN = ["connecting", "live", "reconnecting"];

/**
 * Its events carry the hub's JSON in `detail`: `alarm`, `updated` (replace it by its id), `cleared`, `acknowledged`,
 * `gap` and `reset` (fetch the list again), `status`, `hello`; and `state` a {@link StateDetail}.
 */
export class AlarmClient extends EventTarget {
  #url;
  #token;
  #languages;
  #history;
  /** Of the last block: what has been delivered, under which claim. */
  #id = "";
  #meantUntil = 0;
  #detail = IDLE;
  /** What comes from any other connection is dropped. @type {AbortController | undefined} */
  #run;
  #retry = 0;
  #watchdog = 0;
  #misses = 0;
  #asked = 0;
  #notBefore = 0;
  #heartbeat = 0;
  #heard = 0;
  /** @type {AbortController | undefined} */
  #listening;

  /**
   * @param {string | URL} url as in `/connection/tiaz`
   * @param {Options} [options]
   */
  constructor(url, { languages = "", history = 0, token } = {}) {
    super();
    this.#url = new URL(url, document.baseURI);
    this.#languages = languages;
    this.#history = history;
    this.#token = token;
  }

  /** @type {State} */
  get state() {
    return this.#detail.state;
  }

  get detail() {
    return this.#detail;
  }

  get languages() {
    return this.#languages;
  }

  /** Opens the stream; one that waits to be reopened does not wait longer. */
  start() {
    if (this.state === "reconnecting") this.#open();
    else if (this.state !== "connecting" && this.state !== "live") this.takeOver();
  }

  /** Opens the stream here, whoever has it now. */
  takeOver() {
    this.#meantUntil = Date.now() + MEANT;
    this.#misses = 0;
    this.#listen();
    this.#open("connecting", "");
  }

  /**
   * Goes on in other languages, from where it is.
   * @param {string} languages
   */
  setLanguage(languages) {
    if (languages === this.#languages) return;
    this.#languages = languages;
    if (this.state === "live" || this.state === "connecting") this.#open("connecting", "language");
    else if (this.state === "reconnecting") this.#open();
  }

  close() {
    this.#listening?.abort();
    this.#listening = undefined;
    this.#end("closed");
  }

  /**
   * A page of what was, in the languages of this client.
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
   * Acknowledges an alarm, or takes that back.
   * @param {string} id
   * @param {boolean} [acknowledged]
   */
  async acknowledge(id, acknowledged = true) {
    await this.#fetch(this.#beside(`/alarms/${encodeURIComponent(id)}/ack`), { method: acknowledged ? "PUT" : "DELETE" });
  }

  /** @param {string} path of this user */
  #beside(path) {
    const url = new URL(this.#url);
    url.pathname = url.pathname.replace(/\/connection\/([^/]+)$/, "/users/$1") + path;
    url.search = "";
    return url;
  }

  /** @returns {Promise<{ Authorization?: string }>} */
  async #authorization() {
    const token = await this.#token?.();
    return token ? { Authorization: `Bearer ${token}` } : {};
  }

  /**
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
   * A deliberate opening has its position in the address. Else the header has position and claim, and the hub lets it
   * go on only if no newer opening owns the stream.
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
    if (this.#history) url.searchParams.set("history", String(this.#history));
    if (this.#id && Date.now() < this.#meantUntil) url.searchParams.set("last_event_id", this.#id);
    else if (this.#id) headers["Last-Event-ID"] = this.#id;
    this.#heartbeat = 0;
    this.#hear();
    this.#become(state, cause);
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

  /** @param {Response} response */
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
    const detail = JSON.parse(data);
    if (id) {
      // Before it is passed on: a listener may change the language, and go on from here.
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
    if (event !== "state") this.dispatchEvent(new CustomEvent(event, { detail }));
  }

  #hear() {
    this.#heard = Date.now();
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#lose("silent"), this.#silence());
  }

  #silence() {
    return this.#heartbeat ? 2.5 * this.#heartbeat : PATIENCE;
  }

  /**
   * It comes back by itself, with full jitter, but never sooner than the hub asked.
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
    this.#wait(Date.now() + pause, cause, status);
  }

  /**
   * @param {number} until
   * @param {Cause} cause
   * @param {number} status
   */
  #wait(until, cause, status) {
    const retryAt = Math.max(this.#notBefore, until);
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#open(), retryAt - Date.now());
    this.#become("reconnecting", cause, status, retryAt);
  }

  /**
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

  /** The network is back, or somebody looks. */
  #wake() {
    if (this.#run && Date.now() - this.#heard > this.#silence()) this.#lose("silent");
    const { state, cause, status } = this.#detail;
    if (state === "reconnecting" && !this.#run) this.#wait(Date.now(), cause, status);
  }

  /** So that the browser can keep the page. */
  #putAway() {
    if (!OPEN.includes(this.state)) return;
    this.#cut();
    this.#become("reconnecting");
  }

  #listen() {
    if (this.#listening) return;
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    const wake = () => this.#wake();
    for (const name of ["online", "pageshow"]) addEventListener(name, wake, { signal });
    document.addEventListener("resume", wake, { signal });
    // Also told to a page that is put away.
    document.addEventListener("visibilitychange", () => document.hidden || wake(), { signal });
    addEventListener("pagehide", () => this.#putAway(), { signal });
  }
}

