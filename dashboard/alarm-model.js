// What a list of alarms shows: newest first, and no more rows than a page can bear. No DOM and no network in here.

/** @import { Alarm, History } from "./types.js" */

/** Rows that are kept at most. */
export const ROWS = 500;

export class AlarmModel {
  /** Newest first. @type {Alarm[]} */
  rows = [];
  /** Arrived, but not to be shown yet: who reads further down must not have the list jump. @type {Set<string>} */
  held = new Set();
  /** What older alarms follow after; null: none do. @type {string | null} */
  next = null;
  /** Not acknowledged, also beyond the rows. */
  unread = 0;
  /** Whether there are more than that. */
  unreadMore = false;
  /** Whether rows newer than the first were dropped, because so many older ones were asked for. */
  behind = false;
  /** What the stream told while a refill was on its way. @type {Map<string, Alarm | null> | undefined} */
  #meanwhile;
  /** New ones among them. @type {Set<string>} */
  #new = new Set();
  /** @type {Map<string, boolean>} */
  #acknowledged = new Map();

  /** @param {string} id */
  find(id) {
    return this.rows.find((row) => row.id === id);
  }

  /** The list is about to be fetched: what the stream tells from now on is newer than what the fetch brings. */
  beginRefill() {
    this.#meanwhile = new Map();
    this.#new.clear();
    this.#acknowledged.clear();
  }

  /**
   * Takes the list as it was fetched, and what the stream told since.
   * @param {History} history
   * @param {boolean} hold whether what is new is held
   */
  refill({ alarms, next, unread, unread_more = false }, hold) {
    const known = new Set(this.rows.map((row) => row.id));
    const first = this.rows.length === 0;
    const told = this.#meanwhile ?? new Map();
    const listed = new Set(alarms.map((alarm) => alarm.id));
    const newer = this.rows.filter((row) => this.#new.has(row.id) && !listed.has(row.id));
    const rows = alarms.filter((alarm) => told.get(alarm.id) !== null);
    this.rows = [...newer, ...rows.map((alarm) => ({ ...alarm, ...told.get(alarm.id) }))];
    this.next = next;
    this.unread = unread + newer.filter((row) => !row.acknowledged).length;
    this.unreadMore = unread_more;
    this.behind = false;
    for (const [id, acknowledged] of this.#acknowledged) this.#mark(id, acknowledged);
    this.held = new Set(
      this.rows.map((row) => row.id).filter((id) => this.held.has(id) || (hold && !first && !known.has(id))),
    );
    this.#meanwhile = undefined;
    this.#trim();
  }

  /** @param {History} history the page that follows after `next` */
  older({ alarms, next }) {
    const known = new Set(this.rows.map((row) => row.id));
    this.rows.push(...alarms.filter((alarm) => !known.has(alarm.id)));
    this.next = next;
    if (this.rows.length > ROWS) {
      for (const dropped of this.rows.splice(0, this.rows.length - ROWS)) this.held.delete(dropped.id);
      this.behind = true;
    }
  }

  /**
   * A new alarm.
   * @param {Alarm} alarm
   * @param {boolean} hold
   */
  arrived(alarm, hold) {
    this.#meanwhile?.set(alarm.id, alarm);
    if (this.find(alarm.id)) return this.#replace(alarm);
    if (this.#meanwhile) this.#new.add(alarm.id);
    this.unread += 1;
    if (this.behind || hold) this.held.add(alarm.id);
    if (this.behind) return;
    this.rows.unshift({ ...alarm, acknowledged: false });
    this.#trim();
  }

  /** A better translation, or other text. @param {Alarm} alarm */
  updated(alarm) {
    this.#meanwhile?.set(alarm.id, alarm);
    this.#replace(alarm);
  }

  /**
   * @param {string} id
   * @returns {boolean} whether the count is still known for certain
   */
  cleared(id) {
    this.#meanwhile?.set(id, null);
    const row = this.find(id);
    this.held.delete(id);
    if (!row) return false;
    this.rows.splice(this.rows.indexOf(row), 1);
    if (!row.acknowledged) this.unread = Math.max(0, this.unread - 1);
    return true;
  }

  /**
   * @param {string} id
   * @param {boolean} acknowledged
   * @returns {boolean} whether the count is still known for certain
   */
  acknowledged(id, acknowledged) {
    if (this.#meanwhile) this.#acknowledged.set(id, acknowledged);
    return this.#mark(id, acknowledged);
  }

  /** Shows what is held. */
  release() {
    this.held.clear();
  }

  /**
   * @param {string} id
   * @param {boolean} acknowledged
   */
  #mark(id, acknowledged) {
    const row = this.find(id);
    if (!row) return false;
    if (!!row.acknowledged === acknowledged) return true;
    row.acknowledged = acknowledged;
    this.unread = Math.max(0, this.unread + (acknowledged ? -1 : 1));
    return true;
  }

  /** @param {Alarm} alarm */
  #replace(alarm) {
    const row = this.find(alarm.id);
    if (row) Object.assign(row, alarm);
  }

  #trim() {
    if (this.rows.length <= ROWS) return;
    this.rows.length = ROWS;
    this.next = this.rows[ROWS - 1]?.cursor ?? this.next;
  }
}
