import type { History, Options, State, StateDetail } from "./types.js";
/** @type {StateDetail} */
export declare const IDLE: StateDetail;
/** States that lead to a live stream by themselves. */
export declare const OPEN: string[];
/**
 * Its events carry the hub's JSON in `detail`: `alarm`, `updated` (replace it by its id), `cleared`, `acknowledged`,
 * `gap` and `reset` (fetch the list again), `status`, `hello`; and `state` a {@link StateDetail}.
 */
export declare class AlarmClient extends EventTarget {
    #private;
    /**
     * @param {string | URL} url as in `/connection/tiaz`
     * @param {Options} [options]
     */
    constructor(url: string | URL, { languages, history, token }?: Options);
    /** @type {State} */
    get state(): State;
    get detail(): StateDetail;
    get languages(): string;
    /** Opens the stream; one that waits to be reopened does not wait longer. */
    start(): void;
    /** Opens the stream here, whoever has it now. */
    takeOver(): void;
    /**
     * Goes on in other languages, from where it is.
     * @param {string} languages
     */
    setLanguage(languages: string): void;
    close(): void;
    /**
     * A page of what was, in the languages of this client.
     * @param {{ limit?: number, before?: string | null, signal?: AbortSignal }} [page]
     * @returns {Promise<History>}
     */
    history({ limit, before, signal }?: {
        limit?: number;
        before?: string | null;
        signal?: AbortSignal;
    }): Promise<History>;
    /**
     * Acknowledges an alarm, or takes that back.
     * @param {string} id
     * @param {boolean} [acknowledged]
     */
    acknowledge(id: string, acknowledged?: boolean): Promise<void>;
}
