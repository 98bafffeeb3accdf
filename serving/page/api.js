// Requests to the service that this page comes from.

/** The service wants an API key, or another one. */
export class UnauthorizedError extends Error {}

/** The service is away, or has no model yet: the same request may work later. */
export class UnavailableError extends Error {}

/** The model does not hold what was asked for. */
export class UnknownError extends Error {}

const KEY = "matinee.key";
const HEADERS = { Accept: "application/json" };

/** Keep the API key until the window is closed. */
export function useKey(key) {
  sessionStorage.setItem(KEY, key);
}

/** Whether a key has been given. */
export const hasKey = () => Boolean(sessionStorage.getItem(KEY));

/**
 * Send a request; with a body it is a POST.
 * Returns the answer; throws an Error whose message can be shown to a person.
 */
export async function request(path, { body, signal } = {}) {
  const headers = { ...HEADERS };
  if (hasKey()) headers["X-API-Key"] = sessionStorage.getItem(KEY);
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body) });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new UnavailableError("The service cannot be reached. This page tries again by itself.");
  }
  if (response.status === 401) throw new UnauthorizedError("The service wants an API key.");
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const said = sentence(answer.detail ?? `The service answered ${response.status}`);
  if (response.status === 404) throw new UnknownError(said);
  if (response.status === 503) {
    const next = /no model is published/i.test(said) ? " Train one with “matinee run”." : "";
    throw new UnavailableError(`${said}${next} This page tries again by itself.`);
  }
  throw new Error(said);
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (text.endsWith(".") ? "" : ".");
