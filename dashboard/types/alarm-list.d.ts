import { AlarmClient } from "./alarm-client.js";
import type { Options } from "./types.js";
/**
 * `src`: the stream. `lang`: the language of its words, and of the alarms unless `languages` has another list.
 * Events: `change`: what it shows; `arrive`: `detail.alarms` are new; `state`: a {@link StateDetail}.
 */
export declare class AlarmList extends HTMLElement {
    #private;
    static observedAttributes: string[];
    /** @type {Options["token"]} */
    token: Options["token"];
    constructor();
    get client(): AlarmClient | undefined;
    /** How many are not acknowledged, also beyond the rows; `+`: and more. */
    get unread(): string;
    get loaded(): number;
    /** @param {string} text only alarms with it are shown */
    set filter(text: string);
    /** @param {boolean} only */
    set unreadOnly(only: boolean);
    connectedCallback(): void;
    disconnectedCallback(): void;
    /** @param {string} name */
    attributeChangedCallback(name: string): void;
    /**
     * Acknowledges an alarm, or takes that back.
     * @param {string} id
     */
    acknowledge(id: string): Promise<void>;
}
