// What somebody can do about an alert: say that they have it, or keep it from receivers for a while.

import { change } from "./api.js";

const KEPT = "ood-monitor.author";

/** The forms of the page; `after` is called once something has changed. */
export class Actions {
  constructor(after, speaker) {
    this.after = after;
    this.speaker = speaker;
    this.dialog = document.getElementById("action");
    this.form = this.dialog.querySelector("form");
    this.trouble = document.getElementById("action-trouble");
    this.form.addEventListener("submit", (event) => this.submit(event));
    document.getElementById("action-cancel").addEventListener("click", () => this.dialog.close());
  }

  /** Ask who takes an alert on, and why. */
  acknowledge(alert, title) {
    this.open(`Acknowledge: ${title}`, "Everybody who looks, and every receiver, sees that you take care of it.", false, false);
    this.send = (body) => change("POST", `/api/v1/alerts/${encodeURIComponent(alert.fingerprint)}/acknowledge`, body);
    this.done = "Acknowledged.";
  }

  /** Ask what to keep from receivers, for how long, and why. */
  mute(alert, title) {
    const ofStream = alert.stream_id !== "";
    this.open(`Mute: ${title}`, "Receivers are not notified of it until the mute ends. It is still counted, judged and shown here.", true, ofStream);
    this.send = ({ minutes, scope, ...body }) =>
      change("POST", "/api/v1/mutes", { ...body, ...target(alert, scope), minutes: Number(minutes) });
    this.done = "Muted.";
  }

  /** Take an acknowledgement back. */
  async undo(alert) {
    await this.at_once(() => change("DELETE", `/api/v1/alerts/${encodeURIComponent(alert.fingerprint)}/acknowledge`), "Not acknowledged any more.");
  }

  /** End a mute. */
  async unmute(mute) {
    await this.at_once(() => change("DELETE", `/api/v1/mutes/${encodeURIComponent(mute.id)}`), "The mute has ended.");
  }

  async at_once(send, words) {
    const failed = document.getElementById("failed");
    try {
      await send();
      failed.hidden = true;
      this.tell(words);
      await this.after();
    } catch (error) {
      failed.textContent = `This was not done: ${error.message}`;
      failed.hidden = false;
    }
  }

  tell(words) {
    const done = document.getElementById("done");
    done.textContent = words;
    done.hidden = false;
    this.speaker.textContent = words;
    clearTimeout(this.telling);
    this.telling = setTimeout(() => { done.hidden = true; }, 4000);
  }

  open(title, words, withTime, withScope) {
    this.form.reset();
    this.form.elements.author.value = remembered();
    document.getElementById("action-title").textContent = title;
    document.getElementById("action-words").textContent = words;
    for (const [name, used] of [["mute-time", withTime], ["mute-scope", withScope]]) {
      const part = document.getElementById(name);
      part.hidden = !used;
      part.disabled = !used;
    }
    document.getElementById("action-send").textContent = withTime ? "Mute" : "Acknowledge";
    this.trouble.hidden = true;
    this.dialog.showModal();
    (this.form.elements.author.value ? this.form.elements.reason : this.form.elements.author).focus();
  }

  async submit(event) {
    event.preventDefault();
    const button = document.getElementById("action-send");
    const body = Object.fromEntries(new FormData(this.form));
    button.disabled = true;
    try {
      await this.send(body);
      remember(body.author);
      this.dialog.close();
      this.tell(this.done);
      await this.after();
    } catch (error) {
      this.trouble.textContent = `This was not done: ${error.message}`;
      this.trouble.hidden = false;
    } finally {
      button.disabled = false;
    }
  }
}

/** What a mute is about. The monitor's own troubles are muted by their kind, too: nobody should do that in passing. */
function target(alert, scope) {
  if (scope === "stream") return { stream: alert.about };
  return alert.stream_id === "" && alert.kind !== "ood" && alert.kind !== "silence"
    ? { alert: alert.fingerprint, kind: alert.kind }
    : { alert: alert.fingerprint };
}

function remembered() {
  try {
    return localStorage.getItem(KEPT) ?? "";
  } catch {
    return "";
  }
}

function remember(author) {
  try {
    localStorage.setItem(KEPT, author);
  } catch {
    // A browser that keeps nothing asks again.
  }
}
