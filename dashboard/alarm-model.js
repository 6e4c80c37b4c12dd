// What a list of alarms shows. No DOM and no network in here.

/** @import { Alarm, History } from "./types.js" */

/** Rows that are kept at most. */
export const ROWS = 500;

/**
 * What the hub adopted is older than the rest, and not unread though nobody acknowledged it.
 * @param {History} history
 * @param {number} [above] unread ones before it
 */
const marked = ({ alarms, unread, unread_more }, above = 0) => {
  let left = unread_more ? Infinity : unread - above;
  return alarms.map((alarm) => ({ ...alarm, unread: !alarm.acknowledged && left-- > 0 }));
};

export class AlarmModel {
  /** Newest first. @type {(Alarm & { unread?: boolean })[]} */
  rows = [];
  /** Not shown yet: the list must not jump. @type {Set<string>} */
  held = new Set();
  /** What older ones follow after. @type {string | null} */
  next = null;
  /** Not acknowledged, also beyond the rows. */
  unread = 0;
  unreadMore = false;
  /** Whether newer rows were dropped for older ones. */
  behind = false;
  /** Told while a refill is on its way. @type {Map<string, Alarm | null> | undefined} */
  #meanwhile;
  /** New ones among them. @type {Set<string>} */
  #new = new Set();
  /** @type {Map<string, boolean>} */
  #acknowledged = new Map();
  /** Unread ones that were dropped. */
  #above = 0;

  /** @param {string} id */
  find(id) {
    return this.rows.find((row) => row.id === id);
  }

  /** What is told from now on may be newer than what is being fetched. */
  beginRefill() {
    this.#meanwhile = new Map();
    this.#new.clear();
    this.#acknowledged.clear();
  }

  /**
   * @param {History} history
   * @param {boolean} hold whether what is new is held
   */
  refill(history, hold) {
    const { next, unread, unread_more = false } = history;
    const alarms = marked(history);
    const known = new Set(this.rows.map((row) => row.id));
    const told = this.#meanwhile ?? new Map();
    this.#meanwhile = undefined;
    const listed = new Set(alarms.map((alarm) => alarm.id));
    const newer = this.rows.filter((row) => this.#new.has(row.id) && !listed.has(row.id));
    const rows = alarms.filter((alarm) => told.get(alarm.id) !== null);
    this.rows = [...newer, ...rows.map((alarm) => ({ ...alarm, ...told.get(alarm.id) }))];
    this.next = next;
    this.unread = unread + newer.filter((row) => row.unread).length;
    this.unreadMore = unread_more;
    this.behind = false;
    this.#above = 0;
    for (const [id, acknowledged] of this.#acknowledged) this.acknowledged(id, acknowledged);
    const isHeld = (/** @type {string} */ id) => this.held.has(id) || (hold && known.size > 0 && !known.has(id));
    this.held = new Set(this.rows.map((row) => row.id).filter(isHeld));
    this.#trim();
  }

  /** @param {History} history */
  older(history) {
    const known = new Set(this.rows.map((row) => row.id));
    const above = this.#above + this.rows.filter((row) => row.unread).length;
    this.rows.push(...marked(history, above).filter((alarm) => !known.has(alarm.id)));
    this.next = history.next;
    if (this.rows.length > ROWS) {
      for (const dropped of this.rows.splice(0, this.rows.length - ROWS)) {
        this.held.delete(dropped.id);
        this.#above += Number(dropped.unread);
      }
      this.behind = true;
    }
  }

  /**
   * @param {Alarm} alarm
   * @param {boolean} hold
   */
  arrived(alarm, hold) {
    if (this.find(alarm.id)) return this.updated(alarm);
    this.#meanwhile?.set(alarm.id, alarm);
    if (this.#meanwhile) this.#new.add(alarm.id);
    this.unread += 1;
    if (this.behind || hold) this.held.add(alarm.id);
    if (this.behind) return void (this.#above += 1);
    this.rows.unshift({ ...alarm, unread: true });
    this.#trim();
  }

  /** @param {Alarm} alarm */
  updated(alarm) {
    this.#meanwhile?.set(alarm.id, alarm);
    Object.assign(this.find(alarm.id) ?? {}, alarm);
  }

  /**
   * @param {string} id
   * @returns {boolean} whether `unread` is certain
   */
  cleared(id) {
    const row = this.find(id);
    this.held.delete(id);
    this.rows = this.rows.filter((other) => other !== row);
    this.unread -= Number(!!row?.unread);
    if (!this.#meanwhile) return !!row;
    this.#meanwhile.set(id, null);
    return false;
  }

  /**
   * @param {string} id
   * @param {boolean} acknowledged
   * @returns {boolean} whether `unread` is certain
   */
  acknowledged(id, acknowledged) {
    if (this.#meanwhile) this.#acknowledged.set(id, acknowledged);
    const row = this.find(id);
    if (!row) return false;
    this.unread += Number(!acknowledged) - Number(!!row.unread);
    row.acknowledged = acknowledged;
    row.unread = !acknowledged;
    return acknowledged;
  }

  #trim() {
    if (this.rows.length <= ROWS) return;
    this.rows.length = ROWS;
    this.next = this.rows[ROWS - 1]?.cursor ?? this.next;
  }
}
