// The client library of alarm-hub: a client of the event stream, and an element that shows what comes over it.
//
//   import { AlarmClient } from "/assets/alarm-hub.js";
//   <alarm-list src="/connection/tiaz"></alarm-list>

export { AlarmClient } from "./alarm-client.js";
export { AlarmList } from "./alarm-list.js";
