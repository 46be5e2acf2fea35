// Keeps the page live: the whole of it comes every two seconds as a server-sent event, and what has changed is put in
// its place. Without a stream, because there are too many, it reloads; while it is hidden it requests nothing.

let live = null;
let last = Date.now(); // when the sidecar was heard last

const lost = (yes) => {
  document.getElementById("lost").hidden = !yes;
};

const put = (id, next) => {
  const now = document.getElementById(id);
  const then = next.getElementById(id);
  if (now.innerHTML !== then.innerHTML || now.className !== then.className) now.replaceWith(then);
};

const show = (text) => {
  last = Date.now();
  lost(false);
  if (getSelection().type === "Range") return; // somebody is about to copy
  const next = new DOMParser().parseFromString(text, "text/html");
  put("sentence", next);
  put("rest", next);
  document.title = next.title;
};

const load = async () => {
  try {
    const answer = await fetch(location.href, { signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw 0;
    show(await answer.text());
  } catch {
    lost(true);
  }
};

const leave = () => {
  if (live) live.close();
  live = null;
};

const listen = () => {
  leave();
  last = Date.now();
  live = new EventSource("/_sidecar/status/live");
  live.onmessage = (event) => show(event.data);
  live.onerror = () => {
    if (live.readyState === EventSource.CLOSED) {
      leave();
      load();
    } else {
      lost(true);
    }
  };
};

const look = () => {
  if (document.hidden) {
    leave();
  } else if (!live || Date.now() - last > 8000) {
    if (live) lost(true);
    listen();
  }
};

document.addEventListener("visibilitychange", look);
setInterval(look, 5000);
look();
