// Pages behind the proxies that packaging/ has settings for, while the hub is away; and a hub that is full.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { BROWSERS, Hub, PATIENCE, ROOT, Way, launch, open, shows, until } from "./harness.mjs";

async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  await new Promise((closed) => server.close(closed));
  return port;
}

const accepts = (port) =>
  new Promise((told) => {
    const socket = net.connect(port, "127.0.0.1", () => (socket.destroy(), told(true)));
    socket.on("error", () => told(false));
  });

const PROXIES = {
  nginx: {
    file: "nginx.conf",
    listen: "listen 80;",
    at: (port) => `listen 127.0.0.1:${port};`,
    whole: (http) => {
      const places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${kind};`);
      return `daemon off; master_process off; pid pid; error_log error.log; events {}
        http { access_log off; ${places.join(" ")} ${http} }`;
    },
    options: (folder) => ["-p", folder, "-e", "error.log", "-c", "conf"],
  },
  haproxy: {
    file: "haproxy.cfg",
    listen: "bind :80",
    at: (port) => `bind 127.0.0.1:${port}`,
    whole: (settings) => settings,
    options: () => ["-db", "-f", "conf"],
  },
  caddy: {
    file: "Caddyfile",
    listen: "alarms.example {",
    at: (port) => `http://127.0.0.1:${port} {`,
    whole: (sites) => `{\nadmin off\nauto_https off\n}\n${sites}`,
    options: () => ["run", "--adapter", "caddyfile", "--config", "conf"],
  },
};

/** A proxy with the settings that are shipped, but for where it listens and where the hub is. */
class Proxy {
  static async start(name, hub) {
    const { file, listen, at, whole, options } = PROXIES[name];
    const proxy = new Proxy();
    proxy.folder = await mkdtemp(path.join(tmpdir(), `alarm-hub-${name}-`));
    const port = await freePort();
    const shipped = await readFile(path.join(ROOT, "packaging", file), "utf8");
    assert.ok(shipped.includes(listen) && shipped.includes("127.0.0.1:5000"));
    const settings = shipped.replaceAll("127.0.0.1:5000", hub.host).replace(listen, at(port));
    await writeFile(path.join(proxy.folder, "conf"), whole(settings));
    const binary = ["/usr/sbin", "/usr/bin"].map((place) => path.join(place, name)).find((binary) => existsSync(binary));
    assert.ok(binary, `there is no ${name} here: make test installs it`);
    proxy.process = spawn(binary, options(proxy.folder), {
      cwd: proxy.folder,
      env: { HOME: proxy.folder },
      stdio: "ignore",
    });
    for (const end = Date.now() + PATIENCE; !(await accepts(port)); ) assert.ok(Date.now() < end, `${name} listens`);
    proxy.url = `http://127.0.0.1:${port}`;
    return proxy;
  }

  async stop() {
    const exit = once(this.process, "exit");
    this.process.kill("SIGKILL");
    await exit;
    await rm(this.folder, { recursive: true, force: true });
  }
}

for (const name of BROWSERS) {
  describe(`Proxies in ${name}`, () => {
    let browser;
    before(async () => {
      browser = await launch(name);
    });
    after(() => browser?.close());

    for (const kind of Object.keys(PROXIES)) {
      test(`behind ${kind} a bare EventSource, the library and the hub's own page come back alone when the hub does`, async () => {
        const hub = await Hub.start("--base-path", "/alarms");
        const proxy = await Proxy.start(kind, hub);
        try {
          const page = await open(browser, `${proxy.url}/alarms/?user=page&lang=en-US`);
          await page.evaluate(async () => {
            window.got = { native: [], library: [] };
            window.losses = { native: 0, library: 0 };
            const note = (kind, alarm) => window.got[kind].push(alarm.message);
            const source = new EventSource("/alarms/connection/native?lang=en-US");
            source.addEventListener("hello", () => (window.native = true));
            source.addEventListener("alarm", (event) => note("native", JSON.parse(event.data)));
            source.addEventListener("error", () => (window.losses.native += 1));
            const { AlarmClient } = await import("/alarms/assets/alarm-hub.js");
            const client = new AlarmClient("/alarms/connection/library", { languages: "en-US" });
            client.addEventListener("alarm", ({ detail }) => note("library", detail));
            client.addEventListener("state", ({ detail }) => {
              window.library = detail.state === "live";
              window.losses.library += detail.state === "reconnecting";
            });
            client.start();
          });
          await until(page, () => window.native && window.library);
          await hub.sendNumber(1);
          const all = (wanted) => until(page, (wanted) => Object.values(window.got).every((got) => JSON.stringify(got) === wanted), JSON.stringify(wanted));
          await all(["Alarm 1"]);

          await hub.kill();
          // The first is the loss itself; what follows are attempts that the proxy has answered.
          await until(page, () => Object.values(window.losses).every((losses) => losses > 2));
          await hub.sendNumber(2);
          await hub.restart();
          await all(["Alarm 1", "Alarm 2"]);
          await shows(page, ["Alarm 2", "Alarm 1"]);
          await page.close();
        } finally {
          await proxy.stop();
          await hub.stop();
        }
      });
    }

    test("an EventSource that is sent away by a full hub comes back when there is room, with what it missed", async () => {
      const hub = await Hub.start("--max-connections", "24");
      const way = await Way.to(hub);
      const [host, port] = hub.host.split(":");
      const others = [];
      /** Takes the seats that are left; the last who wants one is sent away. */
      const fill = async () => {
        for (;;) {
          const headers = { Accept: "text/event-stream" };
          const request = http.get({ host, port, path: `/connection/other${others.length}`, headers, agent: false });
          request.on("error", () => {}); // once it is destroyed
          others.push(request);
          const [answer] = await once(request, "response");
          const [first] = await once(answer, "data");
          if (String(first).includes("event: bye")) return;
        }
      };
      try {
        const page = await open(browser, `${way.url}/?user=page`);
        await page.evaluate(() => {
          Object.assign(window, { got: [], hellos: 0, busy: 0 });
          const source = new EventSource("/connection/tiaz?lang=en-US");
          source.addEventListener("hello", () => (window.hellos += 1));
          source.addEventListener("alarm", (event) => window.got.push(JSON.parse(event.data).message));
          source.addEventListener("bye", (event) => (window.busy += JSON.parse(event.data).reason === "busy"));
        });
        await until(page, () => window.hellos);
        for (let busy = false; !busy; ) {
          const hellos = await page.evaluate(() => window.hellos);
          way.cut();
          await fill();
          // A connection that was open for something else has its seat: then it is let in, and cut again.
          await until(page, (hellos) => window.busy || window.hellos > hellos, hellos);
          busy = await page.evaluate(() => window.busy > 0);
        }
        await hub.sendNumber(1);
        others.forEach((request) => request.destroy());
        await until(page, () => window.got.join() === "Alarm 1");
        await page.close();
      } finally {
        others.forEach((request) => request.destroy());
        way.close();
        await hub.stop();
      }
    });
  });
}
