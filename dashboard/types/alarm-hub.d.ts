export { AlarmClient } from "./alarm-client.js";
export { AlarmList } from "./alarm-list.js";
