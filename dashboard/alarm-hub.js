// The client library of alarm-hub: `import { AlarmClient } from "/assets/alarm-hub.js"`, and the element <alarm-list>.
export { AlarmClient } from "./alarm-client.js";
export { AlarmList } from "./alarm-list.js";
