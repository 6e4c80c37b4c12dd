// The pages of examples/, as they are but for the hub's address, from an origin of their own; and what README.md and
// docs/embedding.md tell to write, as it stands there, behind one proxy with the hub.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import http from "node:http";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { BROWSERS, Hub, ROOT, Way, launch, open, until } from "./harness.mjs";

const KINDS = { ".html": "text/html", ".js": "text/javascript" };
const WRITTEN = "http://127.0.0.1:5000";

/** The blocks of a page of documentation that are about a stream. */
const blocks = async (name) => {
  const text = await readFile(path.join(ROOT, name), "utf8");
  const found = [...text.matchAll(/^```(html|jsx)\n(.*?)^```$/gms)];
  return found.map(([, kind, code]) => ({ name, kind, code })).filter(({ code }) => /\/connection\/|useAlarms/.test(code));
};
const BLOCKS = (await Promise.all(["README.md", "docs/embedding.md"].map(blocks))).flat();
const umd = (name) => readFile(path.join(ROOT, `tests/browser/node_modules/${name}/umd/${name}.production.min.js`), "utf8");

/** A page around a block; what is logged in it is in `window.logged`. */
const around = ({ kind, code }) => `<!doctype html><meta charset="utf-8"><title>A block</title><link rel="icon" href="data:,">
<script>window.logged = []; console.log = (...all) => window.logged.push(all.join(" "));</script>
${kind === "html" ? code : inReact(code)}`;
const inReact = (code) => `<script src="/react.js"></script><script src="/react-dom.js"></script><div></div>
<script type="module">
const { createElement, useEffect, useReducer, useState } = React;
${code}
function Alarms() {
  const [languages, change] = useState("ja");
  window.change = change;
  const alarms = useAlarms("/connection/tiaz", languages);
  return createElement("ul", null, alarms.map(({ id, message }) => createElement("li", { key: id }, message)));
}
ReactDOM.createRoot(document.querySelector("div")).render(createElement(Alarms));
</script>`;

for (const name of BROWSERS) {
  describe(`examples in ${name}`, () => {
    let hub, browser, server, origin;
    before(async () => {
      server = http.createServer(async (request, response) => {
        try {
          const file = path.join(ROOT, path.normalize(new URL(request.url, origin).pathname));
          const content = (await readFile(file, "utf8")).replaceAll(WRITTEN, hub.url);
          response.writeHead(200, { "Content-Type": KINDS[path.extname(file)] ?? "text/plain" }).end(content);
        } catch {
          response.writeHead(404).end();
        }
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      origin = `http://127.0.0.1:${server.address().port}`;
      [hub, browser] = await Promise.all([Hub.start("--cors-origin", origin), launch(name)]);
    });
    after(async () => {
      server?.closeAllConnections();
      server?.close();
      await Promise.all([browser?.close(), hub?.stop()]);
    });

    for (const example of ["event-source", "library", "client", "react"]) {
      test(`examples/${example}.html shows what was and what comes, and asks nobody else`, async () => {
        await hub.send({ ja: `${example} 一` });
        const page = await open(browser);
        const asked = [];
        page.on("request", (request) => asked.push(request.url()));
        await page.goto(`${origin}/examples/${example}.html`);
        const first = (text) => until(page, (text) => document.querySelector("li")?.textContent.includes(text), text);
        await first(`${example} 一`);
        await hub.send({ ja: `${example} 二` });
        await first(`${example} 二`);
        const foreign = asked.filter((url) => !url.startsWith(`${origin}/`) && !url.startsWith(`${hub.url}/`));
        assert.deepEqual(foreign.filter((url) => !url.startsWith("data:")), []);
        await page.close();
      });
    }

    for (const [index, block] of BLOCKS.entries()) {
      const [line] = block.code.trim().split("\n");
      test(`block ${index + 1} of the documentation (${block.name}: ${line}) does what it says`, async () => {
        const way = await Way.to(hub);
        try {
          way.pages = { "/own": around(block), "/react.js": await umd("react"), "/react-dom.js": await umd("react-dom") };
          await hub.send({ ja: `${index} 一`, ko: `${index} 하나` }, { id: `b${index}` });
          const page = await open(browser, `${way.url}/own`);
          const has = (text) =>
            until(page, (text) => [...window.logged, document.querySelector("li")?.textContent ?? ""].join().includes(text), text);
          await has(`${index} 一`);
          await hub.send({ ja: `${index} 二`, ko: `${index} 둘` }, { id: `c${index}` });
          await has(`${index} 二`);
          if (block.kind === "jsx") {
            await page.evaluate(() => window.change("ko"));
            const newest = (wanted) => {
              const [first, second] = [...document.querySelectorAll("li")].map((li) => li.textContent);
              return JSON.stringify([first, second]) === JSON.stringify(wanted);
            };
            await until(page, newest, [`${index} 둘`, `${index} 하나`]);
            await fetch(`${hub.url}/alarms/c${index}`, { method: "DELETE" });
            await until(page, (text) => document.querySelector("li").textContent === text, `${index} 하나`);
          }
          assert.deepEqual(page.errors, []);
          await page.close();
        } finally {
          way.close();
        }
      });
    }
  });
}
