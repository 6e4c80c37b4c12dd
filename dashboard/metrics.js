// From two readings of /metrics to what happened between them.

/** Counters of one reading, by name and label. @typedef {{ at: number, values: Map<string, number> }} Numbers */
/**
 * @typedef {object} Rate
 * @property {number} read changes of alarms a second
 * @property {Record<string, number>} delivered a second, by language
 * @property {Record<string, number>} missing a second, by language
 * @property {number} lag milliseconds since the database was last looked at with success
 * @property {number} delay milliseconds from a change to the write to a connection, on average
 */

/**
 * Prometheus's text format.
 * @param {string} text
 */
export function parse(text) {
  /** @type {Map<string, number>} */
  const values = new Map();
  for (const [, name = "", label = "", value] of text.matchAll(/^(\w+)(?:\{\w+="((?:[^"\\]|\\.)*)"\})? (\S+)$/gm)) {
    values.set(label ? `${name} ${label}` : name, Number(value));
  }
  return values;
}

/**
 * @param {Numbers | undefined} before
 * @param {{ at: number, text: string }} now `at` in milliseconds
 * @returns {{ rate: Rate | undefined, previous: Numbers }}
 */
export function rates(before, { at, text }) {
  const previous = { at, values: parse(text) };
  if (!before) return { rate: undefined, previous };
  const { values } = previous;
  const seconds = (at - before.at) / 1000;
  // A hub that was started again counts from nothing.
  const grown = (/** @type {string} */ name) => Math.max(0, (values.get(name) ?? 0) - (before.values.get(name) ?? 0));
  /** @param {string} name */
  const byLanguage = (name) => {
    const own = [...values.keys()].filter((key) => key.startsWith(`${name} `) && values.get(key));
    return Object.fromEntries(own.map((key) => [key.slice(name.length + 1), grown(key) / seconds]));
  };
  const delays = grown("alarm_hub_delivery_delay_seconds_count");
  const rate = {
    read: grown("alarm_hub_alarms_read_total") / seconds,
    delivered: byLanguage("alarm_hub_alarms_delivered_total"),
    missing: byLanguage("alarm_hub_missing_translations_total"),
    lag: (values.get("alarm_hub_poll_lag_seconds") ?? 0) * 1000,
    delay: delays ? (grown("alarm_hub_delivery_delay_seconds_sum") / delays) * 1000 : 0,
  };
  return { rate, previous };
}
