// Pages that use the browser's own EventSource, without any code of ours.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { BROWSERS, Hub, Way, launch, open, until } from "./harness.mjs";

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
  });
}
