// What the person has rated and hidden. It is kept in the browser, and belongs to the data set that it was given for.

const STORED = "matinee.ratings";
const HIDDEN = "matinee.hidden";
const FILE_KIND = "matinee-ratings";

/**
 * A person's ratings and what they do not want to see: `rated` maps movie id -> {title, rating}, latest first, `hidden`
 * maps movie id -> title. `aside` are stored entries of movies that the served model does not hold, or calls otherwise:
 * they are of other data, and are kept for when that is served again.
 */
export class Ratings {
  rated = new Map();
  hidden = new Map();
  aside = [];
  #hiddenAside = [];
  /** Stored entries that could not be read. */
  broken = 0;

  constructor() {
    this.#read();
  }

  get size() {
    return this.rated.size;
  }

  has(id) {
    return this.rated.has(id);
  }

  rate(id, title, rating) {
    const known = this.rated.has(id);
    this.rated = new Map(known ? this.rated : [[id, { title, rating }], ...this.rated]);
    this.rated.set(id, { title, rating });
    this.#write();
  }

  hide(id, title) {
    this.hidden.set(id, title);
    this.#write();
  }

  unhide(id) {
    this.hidden.delete(id);
    this.#write();
  }

  remove(id) {
    this.rated.delete(id);
    this.#write();
  }

  clear() {
    this.rated = new Map();
    this.hidden = new Map();
    this.#write();
  }

  /** A copy to come back to. */
  snapshot() {
    return { rated: new Map(this.rated), hidden: new Map(this.hidden) };
  }

  restore({ rated, hidden }) {
    Object.assign(this, { rated: new Map(rated), hidden: new Map(hidden) });
    this.#write();
  }

  /** Take over what another tab of this page has stored. */
  reload() {
    this.#read();
  }

  /** Whether a change of the browser's storage is about these. */
  static concerns(key) {
    return key === null || key === STORED || key === HIDDEN;
  }

  /** Put what the model does not hold under the same title aside: `titleOf` maps ids -> titles. */
  setAside(titleOf) {
    const entries = [...this.rated];
    const isForeign = ([id, { title }]) => titleOf.get(String(id)) !== title;
    this.aside = entries.filter(isForeign);
    this.rated = new Map(entries.filter((entry) => !isForeign(entry)));
    const hidden = [...this.hidden];
    const isElsewhere = ([id, title]) => titleOf.get(String(id)) !== title;
    this.#hiddenAside = hidden.filter(isElsewhere);
    this.hidden = new Map(hidden.filter((entry) => !isElsewhere(entry)));
  }

  /** Forget what was put aside. */
  dropAside() {
    this.aside = [];
    this.#hiddenAside = [];
    this.#write();
  }

  /** For the service, which takes the latest last. */
  forService() {
    return [...this.rated].map(([id, { rating }]) => ({ movie_id: id, rating })).reverse();
  }

  /** As text for a file. */
  toFile() {
    const ratings = [...this.rated].map(([movie_id, { title, rating }]) => ({ movie_id, title, rating }));
    return JSON.stringify({ kind: FILE_KIND, ratings }, null, 1);
  }

  /** Read such a file; returns entries [id, {title, rating}], or throws an Error for a person. */
  static fromFile(text) {
    let found;
    try {
      found = JSON.parse(text);
    } catch {
      found = null;
    }
    const entries = Array.isArray(found?.ratings) ? found.ratings.map((row) => [row?.movie_id, row]) : [];
    const read = entries.filter(isEntry).map(([id, { title, rating }]) => [id, { title, rating }]);
    if (!read.length) throw new Error("This file holds no ratings that this page has saved.");
    return read;
  }

  /** As the part of an address behind #: id:rating, ... */
  toAddress() {
    const pairs = [...this.rated].map(([id, { rating }]) => `${encodeURIComponent(id)}:${rating}`);
    return `ratings=${pairs.join(",")}`;
  }

  /** Read it again: [id, rating] pairs. */
  static fromAddress(text) {
    const pairs = text.split(",").map((pair) => {
      const at = pair.lastIndexOf(":");
      return [decodeURIComponent(pair.slice(0, at)), Number(pair.slice(at + 1))];
    });
    return pairs.filter(([id, rating]) => id && Number.isFinite(rating));
  }

  #read() {
    const stored = parsed(STORED);
    const entries = Array.isArray(stored) ? stored : [];
    const read = entries.filter(isEntry);
    this.broken = stored === undefined ? 1 : entries.length - read.length;
    this.rated = new Map(read);
    const hidden = parsed(HIDDEN);
    this.hidden = new Map(Array.isArray(hidden) ? hidden.filter((entry) => isId(entry?.[0]) && entry[1]) : []);
    this.aside = this.#hiddenAside = [];
  }

  #write() {
    try {
      localStorage.setItem(STORED, JSON.stringify([...this.rated, ...this.aside]));
      localStorage.setItem(HIDDEN, JSON.stringify([...this.hidden, ...this.#hiddenAside]));
    } catch {
      // Private windows may refuse; the ratings then live as long as the page.
    }
  }
}

/** What is stored; null if nothing is, undefined if it cannot be read. */
function parsed(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return undefined;
  }
}

const isId = (id) => typeof id === "number" || (typeof id === "string" && id !== "");

function isEntry(entry) {
  const [id, value] = Array.isArray(entry) ? entry : [];
  return isId(id) && typeof value?.title === "string" && Number.isFinite(value?.rating);
}
