// The real hub, real browsers, and a way between them that can be disturbed.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, rmSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import puppeteer from "puppeteer-core";

/** How long a fact may take on a machine that has other things to do, in milliseconds. */
export const PATIENCE = Number(process.env.PATIENCE ?? 60_000);

/** A host that is not this machine, as far as a browser can see. */
export const ANOTHER_HOST = "alarms.example";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? path.join(ROOT, "target");
const BINARY =
  process.env.ALARM_HUB_BIN ??
  [path.join(target, "debug/alarm-hub"), path.join(target, "release/alarm-hub")].find((file) => existsSync(file));

/** The browsers that are here; `BROWSERS=chrome` leaves the other out. */
export const BROWSERS = (process.env.BROWSERS ?? "chrome,firefox").split(",");
const PROGRAMS = {
  chrome: ["/usr/bin/chromium", "/usr/bin/google-chrome"],
  firefox: ["/usr/bin/firefox-esr", "/usr/bin/firefox"],
};

/** A folder that is gone when the test is. */
async function folder(name) {
  const made = await mkdtemp(path.join(tmpdir(), `alarm-hub-${name}-`));
  return { path: made, remove: () => rm(made, { recursive: true, force: true, maxRetries: 5 }) };
}

/** A file with a key, for tokens; it is gone when the tests are. */
export async function keyFile(key) {
  const made = await folder("key");
  process.on("exit", () => rmSync(made.path, { recursive: true, force: true }));
  const file = path.join(made.path, "key");
  await writeFile(file, key, { mode: 0o600 });
  return file;
}

export class Hub {
  #folder;
  #process;
  #arguments;

  /** Starts the binary on a new database and waits until it says where it listens. */
  static async start(...options) {
    const hub = await Hub.#make(options);
    await promisify(execFile)(BINARY, ["init", "--db", hub.db]);
    await hub.restart("127.0.0.1:0");
    return hub;
  }

  /** Starts it on a database that another program made. */
  static async adopt(...statements) {
    const hub = await Hub.#make([]);
    await promisify(execFile)("sqlite3", [hub.db, statements.join(";")]);
    await hub.restart("127.0.0.1:0");
    return hub;
  }

  /** Starts the binary without a database. */
  static async edge(...options) {
    const hub = await Hub.#make(options);
    hub.db = null;
    await hub.restart("127.0.0.1:0");
    return hub;
  }

  static async #make(options) {
    if (!BINARY) throw new Error("there is no binary: run cargo build first, or name it with ALARM_HUB_BIN");
    const hub = new Hub();
    hub.#folder = await folder("db");
    hub.#arguments = options;
    hub.db = path.join(hub.#folder.path, "alarms.db");
    return hub;
  }

  /** Starts it again at its place, after a `kill`. */
  async restart(listen = this.host) {
    const options = ["serve", ...(this.db ? ["--db", this.db] : []), "--listen", listen, ...this.#arguments];
    const stdio = ["ignore", "pipe", process.env.HUB_LOG ? "inherit" : "ignore"];
    this.#process = spawn(BINARY, options, { stdio, cwd: this.#folder.path });
    for await (const line of createInterface({ input: this.#process.stdout })) {
      const said = /http:\/\/([^/\s]+)/.exec(line);
      if (!said) continue;
      this.host = said[1];
      this.url = `http://${this.host}`;
      this.#process.stdout.resume();
      return;
    }
    throw new Error("the hub ended before it said where it listens");
  }

  /** Waits until it can serve, and hears of other hubs if there are some. */
  async isReady() {
    const end = Date.now() + PATIENCE;
    for (;;) {
      const answer = await fetch(`${this.url}/readyz`);
      const { checks } = await answer.json();
      if (answer.ok && Object.values(checks).every(({ status }) => status === "ok")) return;
      if (Date.now() > end) throw new Error(`it is not ready: ${JSON.stringify(checks)}`);
      await new Promise((later) => setTimeout(later, 50));
    }
  }

  async kill(signal = "SIGKILL") {
    if (!this.#process || this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exit = once(this.#process, "exit");
    this.#process.kill(signal);
    await exit;
  }

  async stop() {
    await this.kill();
    await this.#folder.remove();
  }

  /** Another process writes an alarm. */
  async send(messages, { user, id } = {}) {
    const texts = Object.entries(messages).map(([lang, text]) => `${lang}=${text}`);
    const options = [...(user ? ["--user", user] : []), ...(id ? ["--id", id] : [])];
    await promisify(execFile)(BINARY, ["send", "--db", this.db, ...options, ...texts]);
  }

  /** An alarm in three languages, told apart by a number. */
  async sendNumber(n, options) {
    await this.send({ ko: `알림 ${n}`, "en-US": `Alarm ${n}`, ja: `アラーム ${n}` }, { id: `n${n}`, ...options });
  }

  /** Another process runs the command line. */
  async run(...options) {
    return (await promisify(execFile)(BINARY, options)).stdout;
  }
}

/** A Redis that keeps nothing on the disk. */
export async function startRedis() {
  const probe = net.createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  const options = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", tmpdir()];
  const redis = spawn("redis-server", options.map(String), { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: redis.stdout })) {
    if (line.includes("Ready to accept connections")) break;
  }
  redis.stdout.resume();
  const stop = async () => {
    const exit = once(redis, "exit");
    redis.kill("SIGKILL");
    await exit;
  };
  return { url: `redis://127.0.0.1:${port}`, stop };
}

/**
 * A browser with a new profile, to which this host is the machine that it runs on. Firefox alone chooses light or dark
 * when it is started, and lets pages notify from then on.
 */
export async function launch(name, scheme = "light") {
  const executablePath = PROGRAMS[name]?.find((file) => existsSync(file));
  if (!executablePath) throw new Error(`there is no ${name} here: make test installs it`);
  const profile = await folder(name);
  const browser = await puppeteer.launch({
    browser: name,
    executablePath,
    headless: true,
    userDataDir: profile.path,
    timeout: PATIENCE,
    protocolTimeout: 2 * PATIENCE,
    args:
      name === "chrome"
        ? [
            "--no-sandbox",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--lang=en-US",
            `--host-resolver-rules=MAP ${ANOTHER_HOST} 127.0.0.1`,
          ]
        : [],
    extraPrefsFirefox: {
      "intl.accept_languages": "en-US,en",
      "layout.css.prefers-color-scheme.content-override": scheme === "dark" ? 0 : 1,
      "permissions.default.desktop-notification": 1,
      "network.dns.localDomains": ANOTHER_HOST,
    },
  });
  const close = browser.close.bind(browser);
  browser.close = async () => {
    await close();
    await profile.remove();
  };
  return browser;
}

/** A page that waits patiently and tells of its errors. */
export async function open(browser, url) {
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.errors = [];
  page.on("pageerror", (error) => page.errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && page.errors.push(message.text()));
  if (url) await page.goto(url, { waitUntil: "load" });
  return page;
}

/** Waits until a function of the page answers something, also in a tab in the background, where no frame is drawn. */
export async function until(page, fact, ...values) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const answer = await page.evaluate(fact, ...values);
    if (answer) return answer;
    if (Date.now() > end) {
      const shown = await page.evaluate(() => document.body.innerText.slice(0, 1000));
      throw new Error(`in vain: ${fact} ${JSON.stringify(values)}; the page shows:\n${shown}`);
    }
    await new Promise((later) => setTimeout(later, 50));
  }
}

/** Waits until the list is in a state. */
export const state = (page, wanted) =>
  until(page, (wanted) => document.querySelector("alarm-list")?.dataset.state === wanted, wanted);

/** Waits until the list shows exactly these messages, newest first. */
export async function shows(page, messages) {
  const read = () => JSON.stringify([...document.querySelectorAll("alarm-list .alarm-message")].map((m) => m.textContent));
  const wanted = JSON.stringify(messages);
  try {
    await until(page, `(${read})() === ${JSON.stringify(wanted)}`);
  } catch (cause) {
    throw new Error(`it shows ${await page.evaluate(read)}, not ${wanted}`, { cause });
  }
}

/** The text of an element. */
export const text = (page, selector) => page.$eval(selector, (element) => element.textContent.trim());

/**
 * Stands between browser and hub as a proxy does: `mode` is `pass`, `stall` (takes everything, passes nothing on, also
 * of what is open), `hold` (passes what is new on when it is released), or a status to answer with. `seen` are the
 * requests that came.
 */
export class Way {
  mode = "pass";
  /** Seconds that an answer with a status asks to wait. */
  retryAfter = 0;
  seen = [];
  /** Pages that stand beside the hub's own, by their path. */
  pages = {};
  #held = [];
  #server;
  #open = new Set();

  static async to(hub) {
    const way = new Way();
    way.hub = hub;
    way.#server = http.createServer((request, response) => way.#pass(hub, request, response));
    way.#server.listen(0, "127.0.0.1");
    await once(way.#server, "listening");
    way.host = `127.0.0.1:${way.#server.address().port}`;
    way.url = `http://${way.host}`;
    return way;
  }

  #pass(hub, request, response) {
    const { pathname, searchParams } = new URL(request.url, this.url);
    this.seen.push({
      at: performance.now(),
      path: pathname,
      position: searchParams.get("last_event_id"),
      lang: searchParams.get("lang"),
      history: searchParams.get("history"),
      header: request.headers["last-event-id"],
    });
    const page = this.pages[pathname];
    if (page) {
      const kind = pathname.endsWith(".js") ? "text/javascript" : "text/html";
      return response.writeHead(200, { "Content-Type": `${kind}; charset=utf-8` }).end(page);
    }
    const { mode } = this;
    if (typeof mode === "number") {
      const headers = { "Content-Type": "text/html", ...(this.retryAfter && { "Retry-After": this.retryAfter }) };
      return response.writeHead(mode, headers).end("<p>No.</p>");
    }
    this.#open.add(response);
    response.on("close", () => this.#open.delete(response));
    if (mode === "stall") return;
    if (mode === "hold") return this.#held.push(() => this.#forward(hub, request, response));
    this.#forward(hub, request, response);
  }

  #forward(hub, request, response) {
    const [host, port] = hub.host.split(":");
    const forward = http.request({ host, port, method: request.method, path: request.url, headers: { ...request.headers, host: this.host } });
    forward.on("response", (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.on("data", (chunk) => this.mode !== "stall" && response.write(chunk));
      answer.on("end", () => response.end());
      answer.on("error", () => response.destroy());
    });
    forward.on("error", () => response.destroy());
    response.on("close", () => forward.destroy());
    request.pipe(forward);
  }

  /** The openings of a stream that came. */
  get openings() {
    return this.seen.filter(({ path }) => path.startsWith("/connection/"));
  }

  /** Waits for a request. */
  async until(fact) {
    const end = Date.now() + PATIENCE;
    while (!this.seen.some(fact)) {
      if (Date.now() > end) throw new Error(`nothing came with ${fact}, but ${JSON.stringify(this.seen)}`);
      await new Promise((later) => setTimeout(later, 20));
    }
  }

  /** Passes everything on again, also what was held. */
  release() {
    this.mode = "pass";
    for (const pass of this.#held.splice(0)) pass();
  }

  /** Breaks what is open. */
  cut() {
    for (const response of this.#open) response.destroy();
  }

  close() {
    this.cut();
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
