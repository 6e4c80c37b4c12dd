// Every state, light and dark, on a phone and on a desktop, as pictures: npm run screenshots -- FOLDER
// With --keep the four of the README are made anew in docs/screenshots/.

import { mkdir, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { ANOTHER_HOST, Hub, ROOT, Way, keyFile, launch, open, state, until } from "./harness.mjs";

const keep = process.argv.includes("--keep");
const folder = process.argv.slice(2).find((argument) => !argument.startsWith("--")) ?? "screenshots";
const SIZES = { desktop: { width: 1000, height: 720 }, phone: { width: 390, height: 780 } };
const KEPT = ["live-ko-light-desktop", "superseded-ja-dark-phone", "reconnecting-en-light-phone", "operator-en-dark-desktop"];
const READ = { en: "en-US", ko: "ko", ja: "ja" };

const ALARMS = [
  ["서버 점검이 02:00에 시작됩니다.", "Server maintenance starts at 02:00.", "サーバーのメンテナンスは 02:00 に始まります。"],
  ["예약에 성공했습니다!", "I have successfully made a reservation.", "予約に成功しました"],
  ["3번 창고의 온도가 8 °C를 넘었습니다.", "The temperature in warehouse 3 is above 8 °C.", "第 3 倉庫の温度が 8 °C を超えました。"],
  ["A라인의 2번 펌프가 멈췄습니다.", "Pump 2 of line A has stopped.", "A ラインの 2 号ポンプが停止しました。"],
  ["새 결재 문서가 도착했습니다.", "A new document is waiting for your approval.", "新しい決裁書類が届きました。"],
];

const hub = await Hub.start("--heartbeat", "2s", "--host", ANOTHER_HOST);
const guarded = await Hub.start("--auth", "jwt", "--jwt-key-file", await keyFile("a key of more than thirty-two bytes"));
const way = await Way.to(hub);
const browser = await launch("chrome");
try {
  await mkdir(folder, { recursive: true });
  for (const [ko, en, ja] of ALARMS) await hub.send({ ko, "en-US": en, ja });
  await hub.send({ ko: "한국어로만 등록된 알림입니다. 다른 언어의 독자에게는 그렇게 표시됩니다." });
  const odd = (messages) => hub.send(messages, { user: "odd" });
  await odd({ "en-US": Array.from({ length: 12 }, (_, i) => `line ${i + 1} of a report of twelve`).join("\n") });
  await odd({ ar: "توقفت المضخة رقم 2 في الخط A عند الساعة 02:00." });
  await odd({ he: "המשאבה נעצרה (קו A)!" });
  await odd({ "en-US": `One word without a break: ${"x".repeat(200)}` });
  await odd({ "en-US": "A text of many sentences that somebody's monitoring wrote without thinking of a reader. ".repeat(20) });
  const { alarms } = await (await fetch(`${hub.url}/users/tiaz/alarms`)).json();
  for (const { id } of alarms.slice(3)) await fetch(`${hub.url}/users/tiaz/alarms/${id}/ack`, { method: "PUT" });

  const shoot = async (page, name, language) => {
    for (const scheme of ["light", "dark"]) {
      for (const [size, viewport] of Object.entries(SIZES)) {
        await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
        await page.setViewport(viewport);
        await page.bringToFront();
        const shot = `${name}-${language}-${scheme}-${size}`;
        const picture = await page.screenshot();
        await writeFile(path.join(folder, `${shot}.png`), picture);
        if (keep && KEPT.includes(shot)) await writeFile(path.join(ROOT, "docs/screenshots", `${name}.png`), picture);
      }
    }
  };
  for (const language of ["en", "ko", "ja"]) {
    way.mode = "pass";
    const page = await open(browser, `${way.url}/?user=tiaz&lang=${READ[language]}`);
    await state(page, "live");
    await until(page, () => document.querySelectorAll(".alarm-row").length > 5);
    await shoot(page, "live", language);
    await rename(hub.db, `${hub.db}.aside`);
    await until(page, () => document.querySelector(".alarm-state").dataset.state === "down");
    await shoot(page, "no-database", language);
    await rename(`${hub.db}.aside`, hub.db);
    await until(page, () => document.querySelector(".alarm-state").dataset.state === "live");
    way.mode = 503;
    way.cut();
    await until(page, () => /[1-9]/.test(document.querySelector(".alarm-why").textContent));
    await shoot(page, "reconnecting", language);
    way.mode = "pass";
    await state(page, "live");
    const newer = await open(browser, `${hub.url}/?user=tiaz`);
    await state(page, "superseded");
    await shoot(page, "superseded", language);
    await newer.close();
    await page.$eval(".alarm-connect", (button) => button.click());
    await state(page, "live");
    const users = ["kim", "park", "tanaka"].map((user) => open(browser, `${hub.url}/?user=${user}&lang=${user === "tanaka" ? "ja" : "ko"}`));
    const others = await Promise.all(users);
    const operator = await open(browser, `${hub.url}/operator?lang=${language}`);
    await until(operator, () => document.querySelectorAll("#sessions tr").length === 4);
    for (const n of [1, 2, 3, 4, 5]) {
      for (let i = 0; i <= (n * 7) % 4; i++) await hub.send(i % 2 ? { ja: `試験 ${n}` } : { ko: `시험 ${n}`, ja: `試験 ${n}` }, { user: "kim" });
      const points = await operator.$eval("polyline", (line) => line.getAttribute("points").split(" ").length).catch(() => 0);
      await until(operator, (points) => document.querySelector("polyline")?.getAttribute("points").split(" ").length > points, points);
    }
    await shoot(operator, "operator", language);
    await hub.run("kick", "tiaz", "--url", hub.url);
    await state(page, "stopped");
    await shoot(page, "stopped", language);
    way.mode = 401;
    await page.$eval(".alarm-connect", (button) => button.click());
    await state(page, "unauthorized");
    await shoot(page, "unauthorized", language);
    way.mode = "stall";
    await page.$eval(".alarm-connect", (button) => button.click());
    await state(page, "connecting");
    await shoot(page, "connecting", language);
    const form = await open(browser, `${hub.url}/?lang=${READ[language]}`);
    await shoot(form, "form", language);
    const empty = await open(browser, `${hub.url}/?user=empty&lang=${READ[language]}`);
    await until(empty, () => !!document.querySelector(".alarm-row"));
    await empty.type("#filter", "nothing has this");
    await until(empty, () => !document.querySelector(".alarm-empty").hidden);
    await shoot(empty, "empty", language);
    const odd = await open(browser, `${hub.url}/?user=odd&lang=${READ[language]}`);
    await until(odd, () => document.querySelectorAll(".alarm-row").length > 3);
    await shoot(odd, "odd", language);
    const port = new URL(hub.url).port;
    const insecure = await open(browser, `http://${ANOTHER_HOST}:${port}/?user=odd&lang=${READ[language]}`);
    await state(insecure, "live");
    await shoot(insecure, "insecure", language);
    const signedOut = await open(browser, `${guarded.url}/?lang=${READ[language]}`);
    await shoot(signedOut, "signed-out", language);
    for (const opened of [page, operator, form, empty, odd, insecure, signedOut, ...others]) await opened.close();
  }
} finally {
  await browser.close();
  way.close();
  await Promise.all([hub.stop(), guarded.stop()]);
}
