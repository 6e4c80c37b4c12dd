// The page at /, in real browsers, over a way that can be disturbed.

import assert from "node:assert/strict";
import { rename } from "node:fs/promises";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { BROWSERS, Hub, Way, launch, open, shows, state, text, until } from "./harness.mjs";

for (const name of BROWSERS) {
  describe(`the page in ${name}`, () => {
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
      // A user of its own for each test, and none of its alarms for anybody else.
      user = `u${++count}`;
      way.seen = [];
      way.mode = "pass";
      way.retryAfter = 0;
    });
    afterEach(async () => {
      const pages = await browser.pages();
      await Promise.all(pages.slice(1).map((page) => page.close()));
    });

    const page = (query = "lang=en-US", at = way) => open(browser, `${at.url}/?user=${user}&${query}`);
    const send = (n) => hub.sendNumber(`${user}-${n}`, { user, id: `${user}-${n}` });
    const english = (...numbers) => numbers.map((n) => `Alarm ${user}-${n}`);
    const live = async (...options) => {
      const opened = await page(...options);
      await state(opened, "live");
      return opened;
    };
    const says = (page, part) =>
      until(page, (part) => document.querySelector(".alarm-state").textContent.includes(part), part);
    /** Goes back; no navigation is told of when the browser kept the page. */
    async function back(page) {
      await page.evaluate(() => history.back()).catch(() => {}); // the answer may go with the page
      for (;;) {
        const there = await page.evaluate(() => document.querySelector("alarm-list") !== null).catch(() => false);
        if (there) return;
        await new Promise((later) => setTimeout(later, 50));
      }
    }
    const press = (page, selector) => page.$eval(selector, (button) => button.click());

    test("alarms are listed newest first, counted in the page and in its title", async () => {
      await send(1);
      const shown = await live();
      await shows(shown, english(1));
      await send(2);
      await shows(shown, english(2, 1));
      await until(shown, () => document.title.startsWith("(2) "));
      assert.equal(await text(shown, "#count"), "2 unread");
      assert.equal(await shown.$$eval(".alarm-row.unread", (rows) => rows.length), 2);
      assert.match(await text(shown, ".alarm-time"), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/);
      assert.deepEqual(shown.errors, []);
    });

    test("a message is text and nothing else", async () => {
      const shown = await live();
      const nasty = '<img src=x onerror="document.title=1"> \u202Egnol <b>bold</b>\nsecond line & more';
      await hub.send({ "en-US": nasty }, { user, id: '"><script>alert(1)</script>' });
      await shows(shown, [nasty]);
      assert.equal(await shown.$eval(".alarm-message", (message) => message.childElementCount), 0);
      assert.equal(await shown.$$eval("img, b, main script", (elements) => elements.length), 0);
    });

    test("Arabic reads from right to left, and what stands beside it does not", async () => {
      const shown = await live("lang=ja");
      await until(shown, () => document.querySelector(".alarm-empty").textContent === "アラームはありません。");
      await hub.send({ ar: "توقفت المضخة 2." }, { user });
      await shows(shown, ["توقفت المضخة 2."]);
      const directions = await shown.$$eval(".alarm-message, .alarm-time, .alarm-other", (parts) => parts.map((part) => getComputedStyle(part).direction));
      assert.deepEqual(directions, ["rtl", "ltr", "ltr"]);
      const left = await shown.$eval(".alarm-message", (message) => {
        const range = document.createRange();
        range.selectNodeContents(message);
        return [message, range].map((box) => box.getBoundingClientRect()).reduce((box, text) => [box.right - text.right, text.left - box.left]);
      });
      assert.ok(left[0] < 2 && left[1] > 50, `it stands at the right: ${left}`);
      assert.equal(await text(shown, ".alarm-other"), "アラビア語");
      assert.equal(await shown.$eval(".alarm-empty", (empty) => empty.hidden), true);
    });

    test("a language switch changes the alarms already shown too, with alarms arriving in between", async () => {
      const shown = await live("lang=ko");
      const writing = (async () => {
        for (let n = 1; n <= 12; n++) await send(n);
      })();
      await until(shown, () => document.querySelectorAll(".alarm-row").length > 1);
      for (const lang of ["ja", "en-US", "ko", "ja"]) await shown.select("#language", lang);
      await writing;
      const numbers = Array.from({ length: 12 }, (_, i) => `アラーム ${user}-${12 - i}`);
      await shows(shown, numbers);
      assert.equal(await shown.$eval("html", (html) => html.lang), "ja");
      assert.equal(await text(shown, "h1 [data-word]"), "アラーム");
      assert.match(shown.url(), /lang=ja/);
      assert.deepEqual(await shown.$$eval(".alarm-message", (all) => [...new Set(all.map(({ lang }) => lang))]), ["ja"]);
      // One deliberate opening; a switch goes on under its claim.
      assert.deepEqual(way.openings.filter(({ header }) => !header).length, 1);
      assert.ok(way.openings.every(({ position }) => !position));
      await until(shown, () => document.title.startsWith("(12) "));
    });

    test("an alarm that is not in the reader's language says so", async () => {
      const shown = await live("lang=ja");
      await hub.send({ ko: "한국어만" }, { user });
      await shows(shown, ["한국어만"]);
      assert.equal(await shown.$eval(".alarm-message", (message) => message.lang), "ko");
      assert.equal(await text(shown, ".alarm-other"), "韓国語");
    });

    test("a second window supersedes the first, which can take over again with what it missed", async () => {
      const first = await live();
      await send(1);
      await shows(first, english(1));
      const second = await live();
      await state(first, "superseded");
      assert.equal(await text(first, ".alarm-name"), "Opened in another window");
      assert.equal(await text(first, ".alarm-why"), "New alarms no longer arrive here.");
      assert.match(await first.title(), /^⚠/);
      await send(2);
      await shows(second, english(2, 1));
      await shows(first, english(1));
      assert.equal(await text(first, ".alarm-connect"), "Take over here");
      way.seen = [];
      await press(first, ".alarm-connect");
      await shows(first, english(2, 1));
      await state(second, "superseded");
      const [opening, ...others] = way.openings;
      assert.ok(opening.position && !opening.header, "a deliberate opening has its position in the address alone");
      assert.deepEqual(others, []);
    });

    test("a window that slept does not steal the stream when it wakes", async () => {
      const bed = await Way.to(hub);
      try {
        const sleeper = await live("lang=en-US", bed);
        bed.mode = "stall";
        const newer = await live();
        await state(sleeper, "reconnecting");
        bed.mode = "pass";
        await state(sleeper, "superseded");
        await send(1);
        await shows(newer, english(1));
        assert.equal(await newer.$eval("alarm-list", (list) => list.dataset.state), "live");
        assert.ok(bed.openings.slice(1).every(({ header, position }) => header && !position));
      } finally {
        bed.close();
      }
    });

    test("a hub that is killed and started again is found again, and nothing is missed", async () => {
      const shown = await live();
      await send(1);
      await shows(shown, english(1));
      await hub.kill();
      await state(shown, "reconnecting");
      await says(shown, "Connection lost");
      await send(2);
      await hub.restart();
      await state(shown, "live");
      await shows(shown, english(2, 1));
      await send(3);
      await shows(shown, english(3, 2, 1));
    });

    test("a proxy that answers 503 in between is waited for, with a countdown and a button", async () => {
      const shown = await live();
      way.mode = 503;
      way.cut();
      await says(shown, "The server answered 503.");
      await says(shown, "Trying again in");
      way.mode = "pass";
      await send(1);
      await until(shown, () => {
        // It may be back by itself before the button is seen.
        const button = document.querySelector(".alarm-connect");
        if (!button.hidden) button.click();
        return document.querySelector("alarm-list").dataset.state === "live";
      });
      await shows(shown, english(1));
    });

    test("pauses grow from one second at most to half a minute at most, and are never shorter than the hub asked", async () => {
      const shown = await live();
      await shown.evaluate(() => (Math.random = () => 1));
      way.mode = 503;
      way.cut();
      await until(shown, () => document.querySelector("alarm-list").client.detail.status === 503);
      const pause = () =>
        shown.evaluate(async () => {
          const { client } = document.querySelector("alarm-list");
          client.start();
          for (;;) {
            const { detail } = await new Promise((told) => client.addEventListener("state", told, { once: true }));
            if (detail.retryAt) return Math.round((detail.retryAt - Date.now()) / 1000);
          }
        });
      const pauses = [];
      for (let i = 0; i < 6; i++) pauses.push(await pause());
      for (const [i, pause] of pauses.slice(1).entries()) assert.equal(pause, Math.min(30, 2 * pauses[i]), String(pauses));
      assert.equal(pauses.at(-1), 30);
      await shown.evaluate(() => (Math.random = () => 0));
      const least = await pause();
      assert.ok(least >= 1 && least <= 3, `what the stream asked for with retry is kept: ${least}`);
      way.retryAfter = 45;
      assert.equal(await pause(), 45);
      way.mode = "pass";
      await press(shown, ".alarm-connect");
      await state(shown, "live");
    });

    test("a path that went silent is noticed though nothing was closed", async () => {
      const shown = await live();
      way.mode = "stall";
      await says(shown, "The hub went silent.");
      way.mode = "pass";
      await state(shown, "live");
      await send(1);
      await shows(shown, english(1));
    });

    test("an operator's kick is said, and connecting again works", async () => {
      const shown = await live();
      await hub.run("kick", user, "--url", hub.url);
      await state(shown, "stopped");
      await says(shown, "An operator ended it.");
      await send(1);
      await press(shown, ".alarm-connect");
      await shows(shown, english(1));
      await state(shown, "live");
    });

    test("what is acknowledged is stored by the hub, one and all, and can be taken back", async () => {
      for (const n of [1, 2, 3]) await send(n);
      const shown = await live();
      await shows(shown, english(3, 2, 1));
      const acknowledged = async () => {
        const { alarms } = await (await fetch(`${hub.url}/users/${user}/alarms`)).json();
        return alarms.map(({ acknowledged }) => acknowledged);
      };
      const stored = async (wanted) => {
        while (JSON.stringify(await acknowledged()) !== JSON.stringify(wanted)) {
          await new Promise((later) => setTimeout(later, 50));
        }
      };
      await press(shown, ".alarm-row:nth-child(2) .alarm-ack");
      await stored([false, true, false]);
      await until(shown, () => document.title.startsWith("(2) "));
      await press(shown, ".alarm-row:nth-child(2) .alarm-ack");
      await stored([false, false, false]);
      await press(shown, "#all");
      assert.deepEqual(await acknowledged(), [false, false, false], "the first click asks");
      assert.equal(await text(shown, "#all"), "Acknowledge all?");
      await press(shown, "#all");
      await stored([true, true, true]);
      await until(shown, () => document.title.startsWith("Alarms"));
      assert.equal(await shown.$$eval(".alarm-row.unread", (rows) => rows.length), 0);
    });

    test("what another program acknowledges is seen at once", async () => {
      await send(1);
      const shown = await live();
      await shows(shown, english(1));
      await fetch(`${hub.url}/users/${user}/alarms/${user}-1/ack`, { method: "PUT" });
      await until(shown, () => !document.querySelector(".alarm-row.unread"));
    });

    test("what stood in a table that the hub adopted is history and not unread", async () => {
      const adopted = await Hub.adopt(
        "CREATE TABLE alarm (id, lang, message, isn_dt, PRIMARY KEY (id, lang))",
        "INSERT INTO alarm VALUES (1, 'ko', '예약에 성공했습니다!', '2023-12-01 11:10:04'), (1, 'US-en', 'Reserved', '')",
      );
      try {
        const shown = await live("lang=ko", adopted);
        await shows(shown, ["예약에 성공했습니다!"]);
        await adopted.send({ ko: "새 알림" });
        await shows(shown, ["새 알림", "예약에 성공했습니다!"]);
        assert.deepEqual(await shown.$$eval("li", (rows) => rows.map((row) => row.classList.contains("unread"))), [true, false]);
        await until(shown, () => document.title.startsWith("(1) "));
        await press(shown, "#all");
        await press(shown, "#all");
        await until(shown, () => document.title.startsWith("알림"));
        const { alarms } = await (await fetch(`${adopted.url}/users/${user}/alarms`)).json();
        assert.deepEqual(alarms.map(({ acknowledged }) => acknowledged), [true, false]);
      } finally {
        await adopted.stop();
      }
    });

    test("the filter and unread only narrow what is shown", async () => {
      for (const n of [1, 2, 12]) await send(n);
      const shown = await live();
      await shows(shown, english(12, 2, 1));
      await shown.type("#filter", `ａｌａｒｍ ${user}-1`);
      await shows(shown, english(12, 1));
      await press(shown, ".alarm-row .alarm-ack");
      await press(shown, "#unread");
      await shows(shown, english(1));
      assert.equal(await text(shown, "#found"), "1 / 3 alarms shown");
      await shown.type("#filter", " and more");
      await shows(shown, []);
      assert.equal(await text(shown, ".alarm-empty"), "No alarm matches.");
    });

    test("by keyboard alone: j and k move, a acknowledges, / filters", async () => {
      for (const n of [1, 2, 3]) await send(n);
      const shown = await live();
      await shows(shown, english(3, 2, 1));
      await shown.bringToFront();
      for (const key of ["j", "j", "j", "k"]) await shown.keyboard.press(key);
      const focused = () => shown.evaluate(() => document.activeElement.dataset.id ?? document.activeElement.id);
      assert.equal(await focused(), `${user}-2`);
      await shown.keyboard.press("a");
      await until(shown, () => !document.activeElement.classList.contains("unread"));
      await shown.keyboard.press("/");
      assert.equal(await focused(), "filter");
      await shown.keyboard.type("ja");
      assert.equal(await shown.$eval("#filter", (filter) => filter.value), "ja");
      await shown.keyboard.press("Escape");
      await shown.$eval("#filter", (filter) => filter.focus());
    });

    test("who reads further down gets a pill instead of a jumping list", async () => {
      for (let n = 1; n <= 20; n++) await send(n);
      const shown = await live();
      await until(shown, () => document.querySelectorAll(".alarm-row").length === 20);
      await shown.evaluate(() => scrollTo(0, 600));
      const top = () => shown.$eval(".alarm-row:nth-child(12)", (row) => row.getBoundingClientRect().top);
      const place = await top();
      for (const n of [21, 22]) await send(n);
      await until(shown, () => document.querySelector(".alarm-pill").textContent === "2 new alarms");
      assert.ok(Math.abs((await top()) - place) < 2, "the list did not jump");
      await press(shown, ".alarm-pill");
      await until(shown, () => scrollY === 0 && document.querySelectorAll(".alarm-row").length === 22);
      assert.equal(await text(shown, ".alarm-message"), english(22)[0]);
    });

    test("older alarms come by pages, and never more than 500 rows are in the page", async () => {
      const alarms = Array.from({ length: 620 }, (_, i) => ({
        id: `${user}-${i + 1}`,
        user_id: user,
        messages: { "en-US": `Alarm ${user}-${i + 1}` },
      }));
      const posted = await fetch(`${hub.url}/alarms`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(alarms),
      });
      assert.equal(posted.status, 201);
      const shown = await live();
      await until(shown, () => document.querySelectorAll(".alarm-row").length === 50);
      await until(shown, () => {
        document.querySelector(".alarm-older").click();
        return document.querySelector(".alarm-older").hidden;
      });
      await until(shown, (last) => document.querySelector(".alarm-row:last-child .alarm-message").textContent === last, english(1)[0]);
      assert.equal(await shown.$$eval(".alarm-row", (rows) => rows.length), 500);
      assert.equal(await text(shown, ".alarm-pill"), "Back to the newest");
      await send(621);
      await until(shown, () => document.querySelector(".alarm-pill").textContent === "1 new alarm");
      await press(shown, ".alarm-pill");
      await until(shown, (first) => document.querySelector(".alarm-message").textContent === first, english(621)[0]);
      assert.equal(await shown.$$eval(".alarm-row", (rows) => rows.length), 50);
    });

    test("a burst is read aloud as one sentence, and a refill not at all", async () => {
      for (const n of [1, 2, 3]) await send(n);
      const shown = await live();
      await shows(shown, english(3, 2, 1));
      await until(shown, () => document.querySelector(".alarm-voice").textContent === "Live. New alarms arrive here at once.");
      await shown.evaluate(() => {
        window.spoken = [];
        const voice = document.querySelector(".alarm-voice");
        new MutationObserver(() => window.spoken.push([performance.now(), voice.textContent])).observe(voice, { childList: true });
      });
      await send(4);
      await until(shown, () => window.spoken.length > 0);
      for (const n of [5, 6, 7]) await send(n);
      await until(shown, (last) => window.spoken.some(([, words]) => words.endsWith(last)), english(7)[0]);
      const spoken = await shown.evaluate(() => window.spoken);
      assert.ok(spoken.length > 1);
      for (const [i, [at]] of spoken.entries()) assert.ok(i === 0 || at - spoken[i - 1][0] > 4_900, String(spoken));
    });

    test("a lost connection is read aloud once, however often it is tried again", async () => {
      const shown = await live();
      await until(shown, () => document.querySelector(".alarm-voice").textContent.startsWith("Live."));
      await shown.evaluate(() => {
        window.spoken = [];
        const voice = document.querySelector(".alarm-voice");
        new MutationObserver(() => window.spoken.push(voice.textContent)).observe(voice, { childList: true });
      });
      way.mode = 503;
      way.cut();
      await until(shown, () => window.spoken.length > 0);
      // Longer than the pause between two sentences, and tried again and again.
      await until(
        shown,
        (end) => {
          const { client } = document.querySelector("alarm-list");
          if (client.detail.retryAt) client.start();
          return Date.now() > end;
        },
        Date.now() + 6_000,
      );
      way.mode = "pass";
      await press(shown, ".alarm-connect");
      await until(shown, () => window.spoken.at(-1).startsWith("Live."));
      const [lost, ...more] = await shown.evaluate(() => window.spoken);
      assert.match(lost, /^Connection lost\. /);
      assert.deepEqual(more, ["Live. New alarms arrive here at once."]);
    });

    test("sound and notifications are off until a click", async () => {
      const shown = await live();
      assert.equal(await shown.$eval("#sound", (button) => button.ariaPressed), "false");
      await shown.bringToFront();
      await shown.click("#sound");
      assert.equal(await shown.$eval("#sound", (button) => button.ariaPressed), "true");
      await shown.click("#sound");
      assert.equal(await shown.$eval("#sound", (button) => button.ariaPressed), "false");
      assert.equal(await shown.$eval("#notify", (button) => button.ariaPressed), "false");
    });

    test("a notification tells of alarms while nobody looks at the page", async () => {
      // Firefox allows it from the start.
      if (name === "chrome") await browser.defaultBrowserContext().overridePermissions(way.url, ["notifications"]);
      const shown = await live("lang=ko");
      await shown.evaluate(() => {
        window.told = [];
        window.Notification = class extends Notification {
          constructor(title, options) {
            super(title, options);
            window.told.push([title, options.body, options.lang]);
          }
        };
      });
      await shown.bringToFront();
      await shown.click("#notify");
      await until(shown, () => document.querySelector("#notify").ariaPressed === "true");
      await send(0);
      await shows(shown, [`알림 ${user}-0`]);
      await (await browser.newPage()).bringToFront();
      await until(shown, () => !document.hasFocus());
      await send(1);
      await until(shown, () => window.told.length > 0);
      assert.deepEqual(await shown.evaluate(() => window.told), [["새 알림 1건", `알림 ${user}-1`, "ko"]]);
      // Silence is not to be taken for peace.
      await hub.run("kick", user, "--url", hub.url);
      const over = ["연결 종료됨", "운영자가 연결을 끊었습니다. 새 알림이 더 이상 여기로 오지 않습니다.", "ko"];
      await until(shown, () => window.told.length > 1);
      assert.deepEqual((await shown.evaluate(() => window.told))[1], over);
    });

    test("a connection that stays lost calls somebody, one that comes back does not", async () => {
      const shown = await open(browser);
      await shown.evaluateOnNewDocument(() => {
        window.calls = [];
        const { setTimeout, clearTimeout } = window;
        // The half minute is over when the test says so.
        window.setTimeout = (call, pause, ...rest) => (pause === 30_000 ? window.calls.push(call) + 1e6 : setTimeout(call, pause, ...rest));
        window.clearTimeout = (timer) => (timer > 1e6 ? delete window.calls[timer - 1e6 - 1] : clearTimeout(timer));
        window.tones = 0;
        const { createOscillator } = AudioContext.prototype;
        AudioContext.prototype.createOscillator = function () {
          window.tones += 1;
          return createOscillator.call(this);
        };
      });
      await shown.goto(`${way.url}/?user=${user}&lang=en-US`);
      await state(shown, "live");
      await shown.bringToFront();
      await shown.click("#sound");
      assert.equal(await shown.evaluate(() => window.tones), 2, "a click shows how it sounds");
      way.cut();
      await state(shown, "reconnecting");
      await state(shown, "live");
      assert.deepEqual(await shown.evaluate(() => window.calls.filter(Boolean).length), 0);
      way.mode = 503;
      way.cut();
      await says(shown, "The server answered 503.");
      // Tones are not made more often than every two seconds.
      await until(shown, () => {
        for (const call of window.calls) call?.();
        return window.tones === 4;
      });
    });

    test("nothing is cut off at 320 pixels, and what is long scrolls in its place", async () => {
      await hub.send({ "en-US": `wide ${"w".repeat(300)}` }, { user });
      await hub.send({ "en-US": "line\n".repeat(500) }, { user });
      const shown = await page();
      await shown.setViewport({ width: 320, height: 640 });
      await state(shown, "live");
      await until(shown, () => document.querySelectorAll(".alarm-row").length === 2);
      const [height, tabIndex] = await shown.$eval(".alarm-message", ({ clientHeight, tabIndex }) => [clientHeight, tabIndex]);
      assert.ok(height > 100 && height < 250, `${height} pixels`);
      assert.equal(tabIndex, 0, "it scrolls by keyboard too");
      const { scrollWidth, clientWidth } = await shown.evaluate(() => {
        const { scrollWidth, clientWidth } = document.documentElement;
        return { scrollWidth, clientWidth };
      });
      assert.ok(scrollWidth <= clientWidth, `${scrollWidth} in ${clientWidth}`);
    });

    test("a page that the browser kept goes on where it was when one comes back to it", async () => {
      const shown = await live();
      await send(1);
      await shows(shown, english(1));
      await shown.evaluate(() => addEventListener("pageshow", (event) => (window.kept = event.persisted)));
      await shown.goto(`${way.url}/healthz`);
      await send(2);
      await back(shown);
      await state(shown, "live");
      await shows(shown, english(2, 1));
      // Firefox keeps no page that has a request under way when it is left, so it loads this one anew.
      const kept = name === "chrome";
      assert.equal((await shown.evaluate(() => window.kept)) === true, kept);
      assert.deepEqual(way.openings.map(({ header }) => !!header), [false, kept]);
    });

    test("a page that the browser kept does not steal the stream", async () => {
      const kept = await live();
      await send(1);
      await shows(kept, english(1));
      await kept.evaluate(() => addEventListener("pageshow", (event) => (window.kept = event.persisted)));
      // Between two tries it has no request under way, and Firefox keeps it too.
      way.mode = 503;
      way.retryAfter = 60;
      way.cut();
      await says(kept, "The server answered 503.");
      await kept.goto(`${hub.url}/healthz`);
      way.mode = "pass";
      const newer = await live("lang=en-US", hub);
      await back(kept);
      assert.equal(await kept.evaluate(() => window.kept), true);
      await press(kept, ".alarm-connect");
      await state(kept, "superseded");
      assert.deepEqual(way.openings.map(({ header }) => !!header), [false, true, true]);
      await send(2);
      await shows(newer, english(2, 1));
    });

    test("a page that was superseded and kept asks for nothing when one comes back to it", async () => {
      const kept = await live();
      await live("lang=en-US", hub);
      await state(kept, "superseded");
      await kept.evaluate(() => addEventListener("pageshow", (event) => (window.kept = event.persisted)));
      await kept.goto(`${hub.url}/healthz`);
      way.seen = [];
      await back(kept);
      assert.equal(await kept.evaluate(() => window.kept), true);
      assert.equal(await kept.$eval("alarm-list", (list) => list.dataset.state), "superseded");
      assert.deepEqual(way.seen, []);
    });

    test("a database that cannot be read is said, and that it can be again", async () => {
      const shown = await live();
      await rename(hub.db, `${hub.db}.aside`);
      await says(shown, "The hub cannot read its database");
      assert.match(await text(shown, ".alarm-why"), /^Alarms may be missing\. Since .*\d/);
      await until(shown, () => document.title.startsWith("⚠ "));
      await until(shown, () => document.querySelector(".alarm-voice").textContent.startsWith("The hub cannot read its database. Alarms may be missing."));
      await rename(`${hub.db}.aside`, hub.db);
      await says(shown, "New alarms arrive here at once.");
      await until(shown, () => !document.title.startsWith("⚠ "));
      await send(1);
      await shows(shown, english(1));
    });

    test("what comes while the list is being fetched is neither lost nor twice, nor told by what was fetched before", async () => {
      const shown = await live();
      const result = await shown.evaluate(async () => {
        const { AlarmModel } = await import("/assets/alarm-model.js");
        const alarm = (id, message = id) => ({ id, message, lang: "en", isn_dt: "", fallback: false });
        const listed = (...ids) => ids.map((id) => ({ ...alarm(id), acknowledged: false, cursor: `f.${id}` }));
        const model = new AlarmModel();
        model.beginRefill();
        model.refill({ alarms: listed("3", "2", "1"), next: null, unread: 3 }, false);
        model.beginRefill();
        model.arrived(alarm("4"), false);
        model.arrived(alarm("5"), false);
        model.updated(alarm("2", "new"));
        model.cleared("1");
        model.acknowledged("3", true);
        // It was read when 4 was there already, and before anything else happened.
        model.refill({ alarms: listed("4", "3", "2", "1"), next: null, unread: 4 }, false);
        return { rows: model.rows.map(({ id, message, acknowledged }) => [id, message, !!acknowledged]), unread: model.unread };
      });
      const rows = [["5", "5", false], ["4", "4", false], ["3", "3", true], ["2", "new", false]];
      // The cleared one is still counted; a fetch that follows puts it right.
      assert.deepEqual(result, { rows, unread: 4 });
    });

    test("without a user it asks for one", async () => {
      const shown = await open(browser, `${way.url}/?lang=ko`);
      assert.equal(await text(shown, "#who h2"), "누구의 알림을 볼까요?");
      await shown.type("#name", "a/b c");
      await Promise.all([shown.waitForNavigation(), shown.keyboard.press("Enter")]);
      await state(shown, "live");
      assert.equal(await text(shown, "#user"), "a/b c");
      assert.deepEqual(way.openings.map(({ path }) => path), ["/connection/a%2Fb%20c"]);
    });
  });
}
