// The library as files: typed, small, and with its borrowed part as it was published.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { ROOT } from "./harness.mjs";

const run = promisify(execFile);
const here = fileURLToPath(new URL(".", import.meta.url));
const dashboard = path.join(ROOT, "dashboard");
const read = (...names) => readFile(path.join(...names));

/** The compiler's complaints, or nothing. */
const tsc = (...options) =>
  run("npx", ["--no-install", "tsc", ...options], { cwd: here }).then(() => "", ({ stdout, stderr }) => stdout + stderr);

test("every module of the dashboard is typed", async () => {
  assert.equal(await tsc("-p", "tsconfig.json"), "");
});

test("the types that are served are those of the modules", async () => {
  const made = await mkdtemp(path.join(tmpdir(), "alarm-hub-types-"));
  try {
    assert.equal(await tsc("-p", "tsconfig.types.json", "--outDir", made), "");
    const served = await readdir(path.join(dashboard, "types"));
    assert.ok(served.includes("alarm-hub.d.ts"));
    for (const name of served) {
      const same = (await read(made, name)).equals(await read(dashboard, "types", name));
      assert.ok(same, `${name} is out of date: npm run types`);
    }
  } finally {
    await rm(made, { recursive: true });
  }
});

test("a page in TypeScript is checked against the types that are served", async () => {
  const made = await mkdtemp(path.join(tmpdir(), "alarm-hub-page-"));
  const page = `
    import { AlarmClient, AlarmList } from "./types/alarm-hub.js";
    const client = new AlarmClient("/connection/tiaz", { languages: "ja", history: 20, token: async () => "t" });
    client.addEventListener("state", (event) => event instanceof CustomEvent && console.log(event.detail.state));
    const isLive: boolean = client.state === "live";
    const newest: Promise<string | undefined> = client.history({ limit: 5 }).then(({ alarms }) => alarms[0]?.message);
    const list: HTMLElement = Object.assign(new AlarmList(), { token: () => "t" });
    export { isLive, list, newest };
  `;
  const options = ["--ignoreConfig", "--strict", "--noEmit", "--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler"];
  try {
    await cp(path.join(dashboard, "types"), path.join(made, "types"), { recursive: true });
    await writeFile(path.join(made, "right.ts"), page);
    await writeFile(path.join(made, "wrong.ts"), page.replace('"live"', '"alive"'));
    assert.equal(await tsc(...options, path.join(made, "right.ts")), "");
    assert.match(await tsc(...options, path.join(made, "wrong.ts")), /wrong\.ts.*"alive"/);
  } finally {
    await rm(made, { recursive: true });
  }
});

test("all that a page loads of the library is under 15 KB gzipped", async () => {
  const names = ["alarm-hub.js"];
  for (const name of names) {
    const source = (await read(dashboard, name)).toString();
    for (const [, imported] of source.matchAll(/^(?:import|export) .* from "\.\/(.+)";$/gm)) {
      if (!names.includes(imported)) names.push(imported);
    }
  }
  const sizes = await Promise.all(names.map(async (name) => gzipSync(await read(dashboard, name), { level: 9 }).length));
  const sum = sizes.reduce((sum, size) => sum + size, 0);
  assert.ok(names.includes("eventsource-parser.js") && names.length > 2, String(names));
  assert.ok(sum < 15_000, `${sum} bytes: ${names.map((name, i) => `${name} ${sizes[i]}`).join(", ")}`);
});

test("eventsource-parser is as it was published, with its licence", async () => {
  const published = path.join(here, "node_modules/eventsource-parser");
  for (const [ours, theirs] of [
    ["eventsource-parser.js", "dist/index.js"],
    ["eventsource-parser.d.ts", "dist/index.d.ts"],
    ["eventsource-parser.LICENSE", "LICENSE"],
  ]) {
    assert.ok((await read(dashboard, ours)).equals(await read(published, theirs)), `${ours} differs`);
  }
});
