// The pages of examples/, as they are but for the hub's address, from an origin of their own.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import http from "node:http";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { BROWSERS, Hub, ROOT, launch, open, until } from "./harness.mjs";

const KINDS = { ".html": "text/html", ".js": "text/javascript" };
const WRITTEN = "http://127.0.0.1:5000";

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

    for (const example of ["event-source", "library", "react"]) {
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
  });
}
