// Prints what a client library makes of an event stream, one JSON object an event. Usage: client.mjs LIBRARY URL

const [library, url] = process.argv.slice(2);
const names = ["hello", "alarm", "updated", "cleared", "acknowledged", "gap", "reset", "status", "bye"];

function tell(event, data, id) {
  process.stdout.write(JSON.stringify({ event, data, id }) + "\n");
}

const libraries = {
  async eventsource() {
    const { EventSource } = await import("eventsource");
    const source = new EventSource(url);
    for (const name of names) source.addEventListener(name, (event) => tell(name, event.data, event.lastEventId));
  },
  async "eventsource-client"() {
    const { createEventSource } = await import("eventsource-client");
    createEventSource({ url, onMessage: ({ event, data, id }) => event !== "ping" && tell(event, data, id) });
    setInterval(() => {}, 1000); // it does not keep the process alive while it waits
  },
  async "fetch-event-source"() {
    // It was written for pages and asks for their globals.
    globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
    globalThis.window = globalThis;
    // Its ES modules name each other without an ending, which only a bundler reads.
    const { createRequire } = await import("node:module");
    const { fetchEventSource } = createRequire(import.meta.url)("@microsoft/fetch-event-source");
    await fetchEventSource(url, { onmessage: ({ event, data, id }) => event && event !== "ping" && tell(event, data, id) });
  },
};

await libraries[library]();
