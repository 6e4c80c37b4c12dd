// Pages that use the browser's own EventSource, without any code of ours.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { after, before, describe, test } from "node:test";
import { BROWSERS, Hub, Way, launch, open, startRedis, until } from "./harness.mjs";

/** Opens a bare EventSource in a page of the hub's origin; `got` are the messages that it was given. */
async function tab(browser, way, query = "") {
  const page = await open(browser, `${way.url}/`);
  await page.evaluate((query) => {
    window.got = [];
    window.source = new EventSource(`/connection/tiaz${query}`);
    window.source.addEventListener("alarm", (event) => window.got.push(JSON.parse(event.data).message));
    window.source.addEventListener("hello", () => (window.hello = true));
  }, query);
  await until(page, () => window.hello);
  return page;
}

const got = (page, messages) => until(page, (wanted) => JSON.stringify(window.got) === wanted, JSON.stringify(messages));
const isClosed = (page) => until(page, () => window.source.readyState === EventSource.CLOSED);

for (const name of BROWSERS) {
  describe(`EventSource in ${name}`, () => {
    let hub, way, browser;
    before(async () => {
      [hub, browser] = await Promise.all([Hub.start(), launch(name)]);
      way = await Way.to(hub);
    });
    after(async () => {
      way?.close();
      await Promise.all([browser?.close(), hub?.stop()]);
    });

    test("two tabs of one user do not fight: the newer one has the stream, the older one is closed for good", async () => {
      const first = await tab(browser, way);
      const second = await tab(browser, way);
      await isClosed(first);
      await hub.sendNumber(1);
      await got(second, ["Alarm 1"]);
      // Two openings, and one automatic reconnect that was sent away.
      assert.deepEqual(way.openings.map(({ header }) => !!header), [false, false, true]);
      assert.deepEqual(await first.evaluate(() => window.got), []);
      await Promise.all([first.close(), second.close()]);
    });

    test("two tabs of one user on two hubs do not fight either, and each hub brings its tab back", async () => {
      const redis = await startRedis();
      const hubs = [await Hub.start("--redis", redis.url)];
      const ways = [];
      try {
        await hubs[0].isReady();
        hubs.push(await Hub.edge("--redis", redis.url));
        await hubs[1].isReady();
        for (const hub of hubs) ways.push(await Way.to(hub));
        const first = await tab(browser, ways[0]);
        const second = await tab(browser, ways[1]);
        await isClosed(first);
        await hubs[0].sendNumber(1);
        await got(second, ["Alarm 1"]);
        ways[1].cut();
        await hubs[0].sendNumber(2);
        await got(second, ["Alarm 1", "Alarm 2"]);
        // Each opened it once; the older one was sent away when it came back, and the newer one let in.
        for (const way of ways) assert.deepEqual(way.openings.map(({ header }) => !!header), [false, true]);
        const third = await tab(browser, ways[0]);
        await isClosed(second);
        await hubs[0].sendNumber(3);
        await got(third, ["Alarm 3"]);
        assert.deepEqual(await first.evaluate(() => window.got), []);
        await Promise.all([first, second, third].map((page) => page.close()));
      } finally {
        ways.forEach((way) => way.close());
        await Promise.all(hubs.map((hub) => hub.stop()));
        await redis.stop();
      }
    });

    test("a tab whose connection breaks comes back by itself with what it missed", async () => {
      const page = await tab(browser, way);
      way.cut();
      await hub.sendNumber(2);
      await got(page, ["Alarm 2"]);
      await hub.sendNumber(3);
      await got(page, ["Alarm 2", "Alarm 3"]);
      await page.close();
    });

    test("a tab that was away does not steal the stream when it is back", async () => {
      const [away, newer] = [await tab(browser, way), await tab(browser, way)];
      await isClosed(away);
      way.cut();
      await hub.sendNumber(4);
      await got(newer, ["Alarm 4"]);
      await Promise.all([away.close(), newer.close()]);
    });

    test("a page of another site cannot touch the stream, whatever it asks with", async () => {
      const page = await tab(browser, way);
      const site = http.createServer((_, response) => response.end("<!doctype html><title>Another site</title>"));
      await once(site.listen(0, "localhost"), "listening");
      try {
        const foreign = await open(browser, `http://localhost:${site.address().port}/`);
        const ends = await foreign.evaluate(async (stream) => {
          const load = (name, attributes) =>
            new Promise((resolve) => {
              const element = Object.assign(document.createElement(name), attributes);
              element.onload = () => resolve("loaded");
              element.onerror = () => resolve("refused");
              document.head.append(element);
            });
          const source = new Promise((resolve) => {
            const source = new EventSource(stream);
            source.onopen = () => resolve("opened");
            source.onerror = () => resolve("refused");
          });
          // Opaque: what came of it cannot be read, only that it ended.
          const fetched = fetch(stream, { mode: "no-cors" }).then((answer) => answer.type, () => "refused");
          return Promise.all([
            load("img", { src: stream }),
            load("link", { rel: "stylesheet", href: stream }),
            load("script", { src: stream }),
            source,
            fetched.then((type) => (type === "opaque" ? "refused" : type)),
          ]);
        }, `${way.url}/connection/tiaz`);
        assert.deepEqual(ends, Array(5).fill("refused"));
        await hub.sendNumber(5);
        await got(page, ["Alarm 5"]);
        assert.equal(await page.evaluate(() => window.source.readyState), 1);
        await Promise.all([page.close(), foreign.close()]);
      } finally {
        site.close();
      }
    });
  });
}
