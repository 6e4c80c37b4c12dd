import { AlarmClient } from "./alarm-client.js";
/**
 * - `src`: the stream. `lang`: the language of its words (ko, en, ja), and of the alarms unless `languages` says
 *   otherwise (a list as in an `Accept-Language` header). Without either, what the browser says.
 * - Events: `change` when what it shows changed, `arrive` with `detail.alarms` for new alarms, `state` with a
 *   {@link StateDetail}.
 */
export declare class AlarmList extends HTMLElement {
    #private;
    static observedAttributes: string[];
    /** Set before it is connected: gives the token for `Authorization: Bearer`. @type {(() => string | Promise<string>) | undefined} */
    token: (() => string | Promise<string>) | undefined;
    /** The client behind it; none before it is in a document. */
    get client(): AlarmClient | undefined;
    /** How many alarms are not acknowledged, also beyond the rows. */
    get unread(): number;
    /** Whether there are more than {@link unread} says. */
    get unreadMore(): boolean;
    /** How many alarms are loaded, and how many of them are shown. */
    get counts(): {
        loaded: number;
        shown: number;
    };
    /** Text that an alarm must have in it to be shown. */
    get filter(): string;
    set filter(text: string);
    /** Whether only alarms that are not acknowledged are shown. */
    get unreadOnly(): boolean;
    set unreadOnly(only: boolean);
    connectedCallback(): void;
    disconnectedCallback(): void;
    /** @param {string} name */
    attributeChangedCallback(name: string): void;
    /**
     * Moves the focus to the next alarm, or to one before.
     * @param {1 | -1} step
     */
    move(step: 1 | -1): void;
    /**
     * Acknowledges an alarm, or takes that back.
     * @param {string} id
     * @param {boolean} acknowledged
     */
    acknowledge(id: string, acknowledged: boolean): Promise<void>;
    /** Acknowledges every alarm of this user, also those that are not loaded. */
    acknowledgeAll(): Promise<void>;
}
