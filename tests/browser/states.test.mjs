// Every state of the pages: axe-core finds nothing in it, nothing comes from another host, and the sign-in counts.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile, rename } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, afterEach, before, describe, test } from "node:test";
import { ANOTHER_HOST, BROWSERS, Hub, PATIENCE, Way, keyFile, launch, open, shows, state, text, until } from "./harness.mjs";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const LANGUAGES = ["en", "ko", "ja"];
const READ = { en: "en-US", ko: "ko", ja: "ja" };

/** What axe-core finds in the page as it is. */
async function findings(page) {
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(axe);
  return page.evaluate(async () => {
    const { violations } = await axe.run();
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join("  ").slice(0, 400)}`);
  });
}

// Chromium changes from light to dark while it runs, Firefox is started for each.
const LOOKS = { chrome: [["light", "dark"]], firefox: [["light"], ["dark"]] };

for (const [name, schemes] of BROWSERS.flatMap((name) => LOOKS[name].map((schemes) => [name, schemes]))) {
  describe(`states in ${name}, ${schemes.join(" and ")}`, () => {
    let browser;
    const hubs = [];
    const ways = [];
    before(async () => {
      browser = await launch(name, schemes[0]);
    });
    afterEach(async () => {
      const pages = await browser.pages();
      await Promise.all(pages.slice(1).map((page) => page.close()));
    });
    after(async () => {
      for (const way of ways) way.close();
      await Promise.all([browser?.close(), ...hubs.map((hub) => hub.stop())]);
    });
    const hub = async (...options) => {
      const started = await Hub.start(...options);
      hubs.push(started);
      return started;
    };
    const way = async (hub) => {
      const made = await Way.to(hub);
      ways.push(made);
      return made;
    };

    /** Looks at a page in all languages, light and dark. */
    async function isFlawless(page, what) {
      for (const language of LANGUAGES) {
        await page.select("#language", (await page.$(`#language option[value="${READ[language]}"]`)) ? READ[language] : language);
        await until(page, (language) => document.documentElement.lang === language, language);
        for (const scheme of schemes) {
          if (name === "chrome") await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
          assert.equal(await page.evaluate(() => matchMedia("(prefers-color-scheme: dark)").matches), scheme === "dark");
          assert.deepEqual(await findings(page), [], `${what}, ${language}, ${scheme}`);
        }
      }
    }

    test("axe-core finds nothing in any state, light and dark, in three languages", async () => {
      const server = await hub("--heartbeat", "2s");
      const path = await way(server);
      for (const n of [1, 2, 3]) await server.sendNumber(n);
      await server.send({ ko: "한국어만" });
      const page = await open(browser, `${path.url}/?user=tiaz&lang=en-US`);
      await state(page, "live");
      await until(page, () => document.querySelectorAll(".alarm-row").length === 4);
      await page.$eval(".alarm-row .alarm-ack", (button) => button.click());
      await isFlawless(page, "live");
      await page.$eval("#sound", (button) => button.click());
      await page.type("#filter", "nothing has this");
      await until(page, () => !document.querySelector(".alarm-empty").hidden);
      await isFlawless(page, "live, with sound and a filter that nothing matches");
      await page.$eval("#filter", (filter) => {
        filter.value = "";
        filter.dispatchEvent(new Event("input"));
      });
      await rename(server.db, `${server.db}.aside`);
      await until(page, () => document.querySelector(".alarm-state").dataset.state === "down");
      await isFlawless(page, "live, without a database");
      await rename(`${server.db}.aside`, server.db);
      await until(page, () => document.querySelector(".alarm-state").dataset.state === "live");
      await server.send({ "en-US": "long ".repeat(500) });
      await until(page, () => document.querySelectorAll(".alarm-row").length === 5);
      await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
      await page.setViewport({ width: 390, height: 300 });
      await page.evaluate(() => scrollTo(0, 400));
      await server.sendNumber(4);
      await until(page, () => !document.querySelector(".alarm-pill").hidden);
      await isFlawless(page, "live, on a phone, with a long message, read further down");
      await page.setViewport({ width: 800, height: 600 });
      path.mode = 503;
      path.cut();
      await state(page, "reconnecting");
      await isFlawless(page, "reconnecting");
      path.mode = "pass";
      await state(page, "live");
      const newer = await open(browser, `${server.url}/?user=tiaz`);
      await state(page, "superseded");
      await isFlawless(page, "superseded");
      await newer.close();
      await page.$eval(".alarm-connect", (button) => button.click());
      await state(page, "live");
      await server.run("kick", "tiaz", "--url", server.url);
      await state(page, "stopped");
      await isFlawless(page, "stopped");
      path.mode = "stall";
      await page.$eval(".alarm-connect", (button) => button.click());
      await state(page, "connecting");
      await isFlawless(page, "connecting");
      path.mode = "pass";
      const form = await open(browser, `${server.url}/`);
      await isFlawless(form, "without a user");
      const nobody = await open(browser, `${server.url}/?user=nobody-else&lang=ko`);
      await state(nobody, "live");
    });

    test("a sign-in says whose page it is, and its end is said", async () => {
      const file = await keyFile(randomBytes(48).toString("hex"));
      const server = await hub("--auth", "jwt", "--jwt-key-file", file);
      const token = async (...options) => (await server.run("token", "--key-file", file, ...options)).trim();
      const page = await open(browser, `${server.url}/?lang=en-US`);
      assert.equal(await text(page, "#sign-in"), "You are not signed in.");
      assert.equal(await page.$eval("#who", (form) => form.hidden), true);
      await isFlawless(page, "signed out");
      const signIn = (value) => page.evaluate((value) => (document.cookie = `alarm_hub_token=${value}; path=/`), value);
      await signIn(await token("--user", "\"><b>ann", "--ttl", "12s"));
      await server.send({ "en-US": "for ann" }, { user: "\"><b>ann" });
      await page.goto(`${server.url}/?user=somebody-else&lang=en-US`);
      await state(page, "live");
      assert.equal(await text(page, "#user"), "\"><b>ann");
      await shows(page, ["for ann"]);
      await state(page, "unauthorized");
      assert.equal(await text(page, ".alarm-why"), "The sign-in has expired. New alarms no longer arrive here.");
      await isFlawless(page, "unauthorized");
      await page.$eval(".alarm-connect", (button) => button.click());
      await until(page, () => document.querySelector(".alarm-why").textContent.includes("401"));
      await signIn(await token("--user", "\"><b>ann"));
      await page.$eval(".alarm-connect", (button) => button.click());
      await state(page, "live");
      const operator = await open(browser, `${server.url}/operator?lang=en`);
      await until(operator, () => document.querySelector("#trouble").textContent.startsWith("Not allowed"));
      await isFlawless(operator, "an operator's page that may not");
    });

    test("the operator sees who is connected and how the hub is doing, and can disconnect", async () => {
      const server = await hub();
      const page = await open(browser, `${server.url}/?user=tiaz&lang=ja`);
      await state(page, "live");
      const operator = await open(browser, `${server.url}/operator?lang=en`);
      await until(operator, () => document.querySelector("#sessions th")?.textContent === "tiaz");
      assert.match(await text(operator, "#sessions tr"), /ja/);
      assert.equal(await text(operator, "#count"), "1 connected");
      const lastAlarm = (number) => text(operator, `#sessions td:nth-child(${number})`);
      assert.equal(await text(operator, "th[data-word=last]"), "Last alarm");
      assert.equal(await lastAlarm(4), "-");
      /** How high a line of a chart has been, and waits until that is more than so much. */
      const peak = (caption, line) =>
        operator.evaluate(
          (caption, line) => {
            const charts = [...document.querySelectorAll("#charts figure")];
            const chart = charts.find((chart) => chart.querySelector("figcaption").textContent.startsWith(caption));
            const entry = [...chart.querySelectorAll("li")].find((li) => li.textContent.startsWith(line));
            const drawn = entry && chart.querySelector(`polyline.${entry.className}`);
            if (!drawn) return 0;
            const depths = drawn.getAttribute("points").split(" ").map((point) => Number(point.split(",")[1]));
            return ((78 - Math.min(...depths)) / 76) * Number(chart.querySelector(".top").textContent);
          },
          caption,
          line,
        );
      const rises = async (caption, line, least = 0) => {
        for (const end = Date.now() + PATIENCE; (await peak(caption, line)) <= least; ) {
          if (Date.now() > end) throw new Error(`${caption} stays at ${await peak(caption, line)}`);
          await new Promise((later) => setTimeout(later, 50));
        }
      };
      await rises("Since the last poll", "");
      assert.equal(await peak("Missing translations", "ja"), 0);
      await server.sendNumber(1);
      await rises("Deliveries", "ja");
      await rises("Changes", "");
      await rises("From change to connection", "");
      assert.equal(await peak("Missing translations", "ja"), 0);
      await until(operator, (year) => document.querySelector("#sessions td:nth-child(4)").textContent.includes(year), String(new Date().getFullYear()));
      assert.equal(await lastAlarm(5), "1");
      await server.send({ ko: "한국어만" });
      await rises("Missing translations", "ja");
      await rename(server.db, `${server.db}.aside`);
      await until(operator, () => /^database: .+/m.test(document.querySelector("#trouble").textContent));
      await rises("Since the last poll", "", 1_000);
      await isFlawless(operator, "the operator's page, without a database");
      await rename(`${server.db}.aside`, server.db);
      await until(operator, () => document.querySelector("#trouble").hidden);
      await isFlawless(operator, "the operator's page");
      await operator.select("#language", "en");
      const press = () => operator.$eval("#sessions button", (button) => button.click());
      await press();
      assert.equal(await text(operator, "#sessions button"), "Really?");
      await press();
      await state(page, "stopped");
      await until(operator, () => !document.querySelector("#nobody").hidden);
      // A browser takes down that the hub was not ready.
      assert.deepEqual(operator.errors.filter((error) => !error.includes("503")), []);
    });

    test("over plain HTTP from another machine the page says why there are no notifications", async () => {
      const server = await hub("--host", ANOTHER_HOST);
      const page = await open(browser, `http://${ANOTHER_HOST}:${server.host.split(":")[1]}/?user=tiaz&lang=en-US`);
      await state(page, "live");
      assert.equal(await page.evaluate(() => isSecureContext), false);
      assert.equal(await page.$eval("#notify", (button) => button.disabled), true);
      assert.match(await text(page, "#why"), /^Desktop notifications need HTTPS/);
      await server.sendNumber(1);
      await shows(page, ["Alarm 1"]);
      await isFlawless(page, "without notifications");
    });

    if (!schemes.includes("light")) return; // what follows does not depend on it

    test("nothing is asked of another host, and nothing is refused by the policy", async () => {
      const server = await hub();
      const asked = [];
      const page = await open(browser);
      page.on("request", (request) => asked.push(request.url()));
      for (const path of ["/?user=tiaz&lang=ko", "/", "/operator"]) {
        await page.goto(server.url + path);
        await until(page, () => document.readyState === "complete" && document.documentElement.lang !== "");
      }
      const foreign = asked.filter((url) => !url.startsWith(`${server.url}/`) && !url.startsWith("data:"));
      assert.ok(asked.length > 10, String(asked));
      assert.deepEqual(foreign, []);
      assert.deepEqual(page.errors, []);
      const { headers } = await fetch(`${server.url}/`);
      assert.match(headers.get("content-security-policy"), /^default-src 'none'; script-src 'self'; style-src 'self';/);
      assert.equal(headers.get("x-content-type-options"), "nosniff");
      for (const asset of ["alarm-hub.js", "alarm-hub.d.ts", "eventsource-parser.LICENSE"]) {
        assert.equal((await fetch(`${server.url}/assets/${asset}`)).status, 200, asset);
      }
    });

    test("under a base path everything is found", async () => {
      const server = await hub("--base-path", "/a/b");
      const page = await open(browser, `${server.url}/a/b?user=tiaz&lang=ko`);
      await state(page, "live");
      await server.sendNumber(1);
      await shows(page, ["알림 1"]);
      await page.$eval(".alarm-ack", (button) => button.click());
      await until(page, () => !document.querySelector(".alarm-row.unread"));
      const operator = await open(browser, `${server.url}/a/b/operator`);
      await until(operator, () => document.querySelector("#sessions th")?.textContent === "tiaz");
      assert.deepEqual([page.errors, operator.errors], [[], []]);
    });
  });
}
