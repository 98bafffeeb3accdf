// Requests to the service that this page comes from.

/** The service wants an API key, or another one. */
export class UnauthorizedError extends Error {}

/**
 * Send a request; with a body it is a POST.
 * Returns the answer; throws an Error whose message can be shown to a person.
 */
export async function request(path, { body, signal } = {}) {
  const key = sessionStorage.getItem("matinee.key");
  const headers = { Accept: "application/json" };
  if (key) headers["X-API-Key"] = key;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body) });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Error("The service cannot be reached. Is it running?");
  }
  if (response.status === 401) throw new UnauthorizedError("The service wants an API key.");
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(sentence(answer.detail ?? `The service answered ${response.status}.`));
  return answer;
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (text.endsWith(".") ? "" : ".");
