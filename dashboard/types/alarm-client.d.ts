import type { History, Options, State, StateDetail } from "./types.js";
/**
 * A user's stream. Events (all `CustomEvent`, `detail` is the hub's JSON): `alarm`, `updated` (replace it by its id),
 * `cleared`, `acknowledged`; `gap` and `reset` (fetch the list again), `status` (whether the hub can read its
 * database), `hello`; and `state` with a {@link StateDetail}.
 */
export declare class AlarmClient extends EventTarget {
    #private;
    /**
     * @param {string | URL} url of the stream, as in `/connection/tiaz`
     * @param {Options} [options]
     */
    constructor(url: string | URL, { languages, history, token }?: Options);
    /** @returns {State} */
    get state(): State;
    /** What the last `state` event carried. @returns {StateDetail} */
    get detail(): StateDetail;
    get languages(): string;
    /** Opens the stream; where it is being reopened, tries at once. */
    start(): void;
    /** Opens the stream here, whoever has it now; nothing is missed. */
    takeOver(): void;
    /**
     * Goes on in other languages, from where it is. A stream that is not open stays so.
     * @param {string} languages as in an `Accept-Language` header; `""`: what the browser says
     */
    setLanguage(languages: string): void;
    /** Ends the stream; `start()` opens it again. */
    close(): void;
    /**
     * Fetches a page of the history in the languages of this client.
     * @param {{ limit?: number, before?: string | null, signal?: AbortSignal }} [page]
     * @returns {Promise<History>}
     */
    history({ limit, before, signal }?: {
        limit?: number;
        before?: string | null;
        signal?: AbortSignal;
    }): Promise<History>;
    /**
     * Acknowledges an alarm, or takes that back; every window of the user is told.
     * @param {string} id
     * @param {boolean} [acknowledged]
     */
    acknowledge(id: string, acknowledged?: boolean): Promise<void>;
}
