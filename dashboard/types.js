// What the library speaks of. Nothing but types: no browser ever loads this file.

/**
 * - `idle`: not started yet.
 * - `connecting`: a deliberate opening, or a change of language, is under way.
 * - `live`: new alarms arrive.
 * - `reconnecting`: the connection was lost; it comes back by itself.
 * - `superseded`: another window of the same user took over. `takeOver()` takes it back.
 * - `unauthorized`: the sign-in is missing, wrong or over. `start()` tries again.
 * - `stopped`: the hub asked not to come back. `start()` tries again.
 * - `closed`: `close()` was called.
 * @typedef {"idle" | "connecting" | "live" | "reconnecting" | "superseded" | "unauthorized" | "stopped" | "closed"} State
 */

/**
 * Why a state is what it is: what the hub said in its `bye` (`superseded kicked expired lagging busy shutdown`), or
 * - `language`: the language is being changed,
 * - `network`: the hub cannot be reached, `offline`: the browser says that there is no network,
 * - `ended`: the connection was closed, `silent`: nothing came for too long,
 * - `status`: an answer that is no stream; its HTTP status is in `status`.
 * @typedef {string} Cause
 */

/**
 * What a `state` event carries.
 * @typedef {object} StateDetail
 * @property {State} state
 * @property {Cause} cause `""` where the state says it all
 * @property {number} status the HTTP status behind `cause`, or 0
 * @property {number} retryAt when it tries again, in milliseconds since 1970; 0: it is not waiting
 */

/**
 * One alarm, in one language. Fields that are not listed here are to be ignored.
 * @typedef {object} Alarm
 * @property {string} id
 * @property {string} lang the language of the message, as a BCP 47 tag
 * @property {string} message
 * @property {string | null} isn_dt when it was issued, as it was written
 * @property {boolean} fallback true: none of the reader's own languages was there
 * @property {boolean} [truncated] true: the text was longer than the hub sends
 * @property {boolean} [acknowledged] in a history only
 * @property {string} [cursor] in a history only
 */

/**
 * A page of the history, newest first.
 * @typedef {object} History
 * @property {Alarm[]} alarms
 * @property {string | null} next what `before` is for the page after this one; null: there is none
 * @property {number} unread alarms that are not acknowledged
 * @property {boolean} [unread_more] true: there are more than `unread` says
 */

/**
 * @typedef {object} Options
 * @property {string} [languages] what to read, as in an `Accept-Language` header; by default what the browser says
 * @property {number} [history] how many of the newest alarms to send first, at most 1000; none by default
 * @property {() => string | Promise<string>} [token] gives the token for `Authorization: Bearer`; asked at each
 *   request, so that it may be a new one.
 */

export {};
