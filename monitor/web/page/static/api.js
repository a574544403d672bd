// What the page asks of the monitor. Every fault becomes an Error with a sentence for people.

const PATIENCE_MS = 10_000;

/** The document at `path`. */
export function read(path) {
  return ask("GET", path);
}

/** Change something. */
export function change(method, path, body) {
  return ask(method, path, body ?? {});
}

async function ask(method, path, body) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  const sent = body === undefined ? undefined : JSON.stringify(body);
  let answer;
  try {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    answer = await fetch(path, { method, headers, body: sent, signal, redirect: "error", cache: "no-store" });
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw new Error(late ? `no answer within ${PATIENCE_MS / 1000} seconds` : "the connection failed");
  }
  const found = await answer.json().catch(() => undefined);
  if (answer.ok) return found;
  if (answer.status === 401) throw new Error("the monitor asks for its token: load this page again to give it");
  throw new Error(found?.error ?? `the monitor answered with status ${answer.status}`);
}
