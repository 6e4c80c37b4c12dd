// AlarmClient: when it opens the stream, how, and what it asks for; seen from the way in between.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { BROWSERS, Hub, Way, keyFile, launch, open, state, until } from "./harness.mjs";

for (const name of BROWSERS) {
  describe(`AlarmClient in ${name}`, () => {
    let hub, way, browser, user;
    let count = 0;
    before(async () => {
      [hub, browser] = await Promise.all([Hub.start("--heartbeat", "2s"), launch(name)]);
      way = await Way.to(hub);
    });
    after(async () => {
      way?.close();
      await Promise.all([browser?.close(), hub?.stop()]);
    });
    beforeEach(() => {
      user = `c${++count}`;
      way.seen = [];
      way.mode = "pass";
      way.retryAfter = 0;
    });
    afterEach(async () => {
      const pages = await browser.pages();
      await Promise.all(pages.slice(1).map((page) => page.close()));
    });

    const send = (n) => hub.sendNumber(`${user}-${n}`, { user, id: `${user}-${n}` });
    /** What the client in the page was told, in order, as `event id`. */
    const told = (page) => page.evaluate(() => window.told);
    const hears = (page, wanted) => until(page, (wanted) => window.told.includes(wanted), wanted);
    const becomes = (page, wanted) => until(page, (wanted) => window.client.state === wanted, wanted);

    /** A page without a list, and a client in it that was not started yet. */
    async function client(options = {}, at = way) {
      const page = await open(browser, `${at.url}/`);
      await page.evaluate(
        async (user, options) => {
          const { AlarmClient } = await import("/assets/alarm-hub.js");
          window.told = [];
          window.client = new AlarmClient(`/connection/${user}`, options);
          for (const kind of ["alarm", "updated", "cleared", "acknowledged"]) {
            window.client.addEventListener(kind, ({ detail }) => window.told.push(`${kind} ${detail.id}`));
          }
        },
        user,
        options,
      );
      return page;
    }
    async function live(options, at) {
      const page = await client(options, at);
      await page.evaluate(() => window.client.start());
      await becomes(page, "live");
      return page;
    }
    /** Waits, as long as pauses get, for a way that answers with a status. */
    async function waitsLong(page, status, retryAfter = 0) {
      await page.evaluate(() => (Math.random = () => 1));
      Object.assign(way, { mode: status, retryAfter });
      way.cut();
      await until(page, () => {
        const { detail } = window.client;
        if (detail.retryAt - Date.now() > 20_000) return true;
        if (detail.state === "reconnecting" && detail.retryAt) window.client.start();
      });
    }
    /** When it will try again before and after something happens. */
    const around = (page, kind) =>
      page.evaluate((kind) => {
        const before = window.client.detail.retryAt;
        if (kind === "online" || kind === "pageshow") dispatchEvent(new Event(kind));
        else document.dispatchEvent(new Event(kind));
        return [before, window.client.detail.retryAt];
      }, kind);

    for (const kind of ["online", "pageshow", "visibilitychange", "resume"]) {
      test(`${kind} ends a long pause at once`, async () => {
        const page = await live();
        await waitsLong(page, 503);
        way.mode = "pass";
        await page.bringToFront();
        const [before, after] = await around(page, kind);
        assert.ok(after < before - 10_000, `${before}, then ${after}`);
        await becomes(page, "live");
        assert.ok((await page.evaluate(() => Date.now())) < before, "it did not wait");
      });
    }

    test("a device without a network is said to be one, and back at once when it has one", async () => {
      const page = await live();
      await page.evaluate(() => (Math.random = () => 1));
      await page.setOfflineMode(true);
      way.cut();
      await until(page, () => {
        const { detail } = window.client;
        if (detail.cause === "offline" && detail.retryAt - Date.now() > 20_000) return true;
        if (detail.state === "reconnecting" && detail.retryAt) window.client.start();
      });
      const waiting = await page.evaluate(() => window.client.detail.retryAt);
      await page.setOfflineMode(false);
      await becomes(page, "live");
      assert.ok((await page.evaluate(() => Date.now())) < waiting, "it did not wait");
    });

    test("a page that nobody looks at stays connected", async () => {
      const page = await live();
      await page.evaluate(() => window.client.addEventListener("ping", () => (window.pings = (window.pings ?? 0) + 1)));
      await (await browser.newPage()).bringToFront();
      await until(page, () => document.hidden && window.pings > 3);
      await send(1);
      await hears(page, `alarm ${user}-1`);
      assert.equal(await page.evaluate(() => document.hidden), true);
      assert.equal(way.openings.length, 1);
    });

    test("a hub that is shut down is waited for as long as it asks, and found when it is back", async () => {
      const mortal = await Hub.start();
      try {
        const page = await live({}, mortal);
        await page.evaluate(() => {
          Math.random = () => 0;
          window.client.addEventListener("state", ({ detail }) => {
            if (detail.cause === "shutdown") window.pause = detail.retryAt - Date.now();
          });
        });
        await mortal.kill("SIGTERM");
        const pause = await until(page, () => window.pause);
        assert.ok(pause > 900, `${pause} ms, where it would have waited for 500 by itself`);
        await mortal.restart();
        await becomes(page, "live");
      } finally {
        await mortal.stop();
      }
    });

    test("a pause that was asked for with 429 and Retry-After is kept, also when the network is back", async () => {
      const page = await live();
      await waitsLong(page, 429, 45);
      const left = (await page.evaluate(() => window.client.detail.retryAt - Date.now())) / 1000;
      assert.ok(left > 20 && left <= 45, `${left} s`);
      const [before, after] = await around(page, "online");
      assert.ok(after > before - 1_000, `${before}, then ${after}`);
      way.mode = "pass";
      await page.evaluate(() => window.client.start());
      await becomes(page, "live");
    });

    test("what is fetched beside the stream waits as long as 429 asks, and no longer", async () => {
      await send(1);
      const page = await live();
      Object.assign(way, { mode: 429, retryAfter: 1 });
      const fetched = page.evaluate(() => window.client.history().then(({ alarms }) => alarms.length));
      await way.until(({ path }) => path.endsWith("/alarms"));
      way.mode = "pass";
      assert.equal(await fetched, 1);
      const [first, second] = way.seen.filter(({ path }) => path.endsWith("/alarms"));
      assert.ok(second.at - first.at >= 990, `${second.at - first.at} ms`);
    });

    test("it watches for two and a half heartbeats, no less and no more", async () => {
      const page = await client();
      await page.evaluate(() => {
        window.pauses = [];
        const { setTimeout } = window;
        window.setTimeout = (call, pause, ...rest) => {
          window.pauses.push(pause);
          return setTimeout(call, pause, ...rest);
        };
        window.client.addEventListener("hello", ({ detail }) => (window.heartbeat = detail.heartbeat_ms));
        window.client.start();
      });
      await becomes(page, "live");
      const [heartbeat, pauses] = await page.evaluate(() => [window.heartbeat, window.pauses]);
      assert.equal(heartbeat, 2000);
      assert.equal(pauses.at(-1), 5000);
      way.mode = "stall";
      await until(page, () => window.client.detail.cause === "silent");
      way.mode = "pass";
      await becomes(page, "live");
    });

    test("late chunks of an older connection are dropped, and its position with them", async () => {
      const page = await client({ languages: "ko" });
      const result = await page.evaluate(async () => {
        // Connections that go on after they were given up, as a browser's may for a moment.
        const asked = [];
        const block = (event, data, id) => `event: ${event}\ndata: ${JSON.stringify(data)}\nid: ${id}\n\n`;
        window.fetch = async (_, { headers }) => {
          let connection;
          const body = new ReadableStream({ start: (controller) => (connection = controller) });
          asked.push({
            position: headers["Last-Event-ID"] ?? "none",
            say: (...blocks) => connection.enqueue(new TextEncoder().encode(blocks.join(""))),
            close: () => connection.close(),
          });
          return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
        };
        const turn = () => new Promise((later) => setTimeout(later));
        const { client } = window;
        client.addEventListener("alarm", ({ detail }) => detail.id === "second" && client.setLanguage("ja"));
        client.start();
        await turn();
        asked[0].say(block("hello", { heartbeat_ms: 60_000 }, "f.1.c"));
        await turn();
        // Late are what stands behind it in the same chunk, the chunk that is there already, and the end.
        asked[0].say(block("alarm", { id: "first" }, "f.2.c"), block("alarm", { id: "second" }, "f.3.c"), block("alarm", { id: "late" }, "f.4.c"));
        asked[0].say(block("alarm", { id: "later" }, "f.5.c"));
        asked[0].close();
        await turn();
        asked[1].say(block("hello", { heartbeat_ms: 60_000 }, "f.3.c"));
        await turn();
        client.setLanguage("en");
        asked[1].close();
        await turn();
        return { positions: asked.map(({ position }) => position), told: window.told, state: client.state };
      });
      const told = ["alarm first", "alarm second"];
      assert.deepEqual(result, { positions: ["none", "f.3.c", "f.3.c"], told, state: "connecting" });
    });

    test("the position survives a language switch: nothing is lost, nothing comes twice", async () => {
      const page = await live({ languages: "ko" });
      for (const n of [1, 2]) {
        await send(n);
        await hears(page, `alarm ${user}-${n}`);
      }
      const { cursor } = await (await fetch(`${hub.url}/sessions/${user}`)).json();
      // Those that come while the other language is on its way are in neither connection's live part.
      way.mode = "hold";
      await page.evaluate(() => window.client.setLanguage("ja"));
      await way.until(({ lang }) => lang === "ja");
      await send(3);
      way.release();
      await hears(page, `alarm ${user}-3`);
      await becomes(page, "live");
      const opening = way.openings.at(-1);
      assert.equal(opening.lang, "ja");
      assert.ok(opening.header.startsWith(`${cursor}.`), `${opening.header} goes on from ${cursor}`);
      assert.equal(opening.position, null);
      assert.deepEqual(await told(page), [1, 2, 3].map((n) => `alarm ${user}-${n}`));
    });

    test("a deliberate opening has its position in the address, an automatic one in the header", async () => {
      const page = await live();
      await send(1);
      await hears(page, `alarm ${user}-1`);
      way.cut();
      await becomes(page, "reconnecting");
      await becomes(page, "live");
      await page.evaluate(() => window.client.takeOver());
      await becomes(page, "live");
      const [first, automatic, deliberate] = way.openings;
      assert.deepEqual([first.position, first.header], [null, undefined]);
      assert.ok(automatic.header && automatic.position === null);
      assert.ok(deliberate.position && !deliberate.header);
      // Feed and position are the same, the claim is the hub's to give.
      assert.match(deliberate.position, /^[0-9a-f]{8}\.\d+\.[0-9a-f]{32}$/);
      assert.equal(way.openings.length, 3);
    });

    test("taking over is still meant when the first try cannot be delivered", async () => {
      const page = await live();
      const newer = await live({}, hub);
      await becomes(page, "superseded");
      way.seen = [];
      way.mode = 503;
      await page.evaluate(() => window.client.takeOver());
      await becomes(page, "reconnecting");
      way.mode = "pass";
      await becomes(page, "live");
      await becomes(newer, "superseded");
      assert.ok(way.openings.length > 1);
      assert.ok(way.openings.every(({ position, header }) => position && !header));
    });

    test("history brings the newest alarms first of all, oldest of them first, and only once", async () => {
      for (const n of [1, 2, 3]) await send(n);
      const page = await live({ history: 2 });
      await hears(page, `alarm ${user}-3`);
      assert.equal(way.openings[0].history, "2");
      way.cut();
      await becomes(page, "reconnecting");
      await becomes(page, "live");
      await send(4);
      await hears(page, `alarm ${user}-4`);
      assert.deepEqual(await told(page), [2, 3, 4].map((n) => `alarm ${user}-${n}`));
    });

    describe("where there is a sign-in", () => {
      let guarded, between, token;
      before(async () => {
        const file = await keyFile(randomBytes(48).toString("hex"));
        guarded = await Hub.start("--auth", "jwt", "--jwt-key-file", file);
        between = await Way.to(guarded);
        token = async (user, ...options) => (await guarded.run("token", "--key-file", file, "--user", user, ...options)).trim();
      });
      after(async () => {
        between?.close();
        await guarded?.stop();
      });

      test("a list asks for its token at each request, and a new one is used as soon as there is one", async () => {
        const page = await open(browser, `${between.url}/`);
        await guarded.send({ "en-US": `for ${user}` }, { user });
        await page.evaluate(
          async (user, token) => {
            await import("/assets/alarm-hub.js");
            window.token = token;
            const list = document.createElement("alarm-list");
            list.token = () => window.token;
            list.setAttribute("src", `/connection/${user}`);
            document.body.append(list);
          },
          user,
          await token("somebody-else"),
        );
        await state(page, "unauthorized");
        await page.evaluate((token) => (window.token = token), await token(user));
        await page.$eval(".alarm-connect", (button) => button.click());
        await state(page, "live");
        await until(page, (text) => document.querySelector(".alarm-message")?.textContent === text, `for ${user}`);
        await page.$eval(".alarm-ack", (button) => button.click());
        await until(page, () => !document.querySelector(".alarm-row.unread"));
        assert.deepEqual(await page.evaluate(() => document.cookie), "");
      });

      test("a ticket opens a bare EventSource, brings it back after a cut, and opens nothing else", async () => {
        const page = await open(browser, `${between.url}/`);
        await page.evaluate(
          async (user, token) => {
            const bought = await fetch(`/users/${user}/ticket`, { method: "POST", headers: { Authorization: `Bearer ${token}` } });
            const { ticket } = await bought.json();
            window.address = `/connection/${user}?ticket=${ticket}`;
            window.got = [];
            window.source = new EventSource(window.address);
            window.source.addEventListener("alarm", ({ data }) => window.got.push(JSON.parse(data).message));
            window.source.addEventListener("hello", () => (window.hellos = (window.hellos ?? 0) + 1));
          },
          user,
          await token(user),
        );
        await until(page, () => window.hellos === 1);
        between.cut();
        await guarded.send({ "en-US": "missed" }, { user });
        await until(page, () => window.got.includes("missed"));
        const second = await page.evaluate(
          () => new Promise((resolve) => {
            const source = new EventSource(window.address);
            source.onopen = () => resolve("opened");
            source.onerror = () => resolve(source.readyState === EventSource.CLOSED ? "refused" : "trying");
          }),
        );
        assert.equal(second, "refused");
        await guarded.send({ "en-US": "still here" }, { user });
        await until(page, () => window.got.includes("still here"));
        assert.deepEqual(await page.evaluate(() => window.got), ["missed", "still here"]);
      });
    });
  });
}
