// The first page: lists alarms, switches the language, and says when another window took over.
const query = new URLSearchParams(location.search);
const user = query.get("user") ?? "guest";
const picker = document.getElementById("lang");
const list = document.getElementById("alarms");
const state = document.getElementById("state");
let source, position;

function show(event) {
  position = event.lastEventId;
  const alarm = JSON.parse(event.data);
  let item = [...list.children].find((item) => item.dataset.id === alarm.id);
  if (!item) {
    item = document.createElement("li");
    item.dataset.id = alarm.id;
    list.prepend(item);
  }
  item.lang = alarm.lang;
  item.textContent = `${alarm.isn_dt ?? ""} ${alarm.message}`;
}

function open() {
  source?.close();
  const resume = position ? `&last_event_id=${encodeURIComponent(position)}` : "&history=50";
  const url = `connection/${encodeURIComponent(user)}?lang=${encodeURIComponent(picker.value)}${resume}`;
  source = new EventSource(url);
  source.addEventListener("hello", (event) => {
    position = event.lastEventId;
    state.textContent = "live";
  });
  source.addEventListener("alarm", show);
  source.addEventListener("updated", show);
  source.addEventListener("cleared", (event) => {
    position = event.lastEventId;
    const { id } = JSON.parse(event.data);
    [...list.children].find((item) => item.dataset.id === id)?.remove();
  });
  source.addEventListener("bye", (event) => {
    const { reason, reconnect } = JSON.parse(event.data);
    if (reconnect) return;
    source.close();
    state.textContent =
      reason === "superseded" ? "opened in another window: new alarms no longer arrive here" : `ended: ${reason}`;
  });
  source.onerror = () => (state.textContent = "reconnecting");
}

picker.value = query.get("lang") ?? "en-US";
picker.addEventListener("change", open);
open();
