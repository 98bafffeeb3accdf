// The page: rate movies or open a known user, and see what is recommended. Plain modules, no build step.
import { hasKey, request, UnauthorizedError, UnavailableError, UnknownError, useKey } from "./api.js";
import { Ratings } from "./ratings.js";
import { focusOn, number, starControl, starsShown } from "./stars.js";

const STEP = 10;
const MOST = 100; // That the service lists at once.
const ENOUGH_RATINGS = 3; // Until then some movies are offered to rate.
const OFFERED = 12;
const SHORT = 6; // Ratings that are shown until all are asked for.
const SEARCH_DELAY_MS = 150;
const RATE_DELAY_MS = 350; // An arrow key gives several values on its way to the one that is meant.
const RETRY_MS = 3000;
const TOAST_MS = 10_000;
const MOVIELENS_SCALE = { min: 0.5, max: 5, step: 0.5, liked: 4 }; // Until the service has named its own.
const $ = (id) => document.getElementById(id);

const ratings = new Ratings();
/** What the page knows beside them. `user` is the known user's id, `version` the model's. */
const state = {
  tab: "rate", user: null, shown: STEP, allRated: false, starter: [], answer: null, version: null, examples: [],
  scale: MOVIELENS_SCALE, refresh: null, search: null, retry: null, history: null,
};

// --- Recommendations ------------------------------------------------------------------------------------------

async function refresh() {
  state.refresh?.abort();
  const mine = (state.refresh = new AbortController());
  const list = $("recommendations");
  const focused = list.contains(document.activeElement);
  list.setAttribute("aria-busy", "true");
  if (!list.children.length) $("status").textContent = "Loading …";
  try {
    const answer = await recommendations(mine.signal);
    if (mine.signal.aborted) return;
    $("error").hidden = true;
    state.answer = answer;
    showList();
    if (focused) list.querySelector("button, input")?.focus();
    if (answer && answer.model_version !== state.version) await describeModel();
  } catch (error) {
    if (!mine.signal.aborted) fail(error);
  } finally {
    if (!mine.signal.aborted) list.setAttribute("aria-busy", "false");
  }
}

function recommendations(signal) {
  const wanted = { n: state.shown, diversity: Number($("diversity").value) };
  for (const [name, id] of [["year_min", "year-min"], ["year_max", "year-max"]]) {
    if ($(id).value !== "" && $(id).checkValidity()) wanted[name] = Number($(id).value);
  }
  const genre = $("genre").value;
  if (state.tab === "user") {
    if (state.user === null) return null;
    const query = new URLSearchParams(wanted);
    if (genre) query.set("genres", genre);
    return request(`v1/users/${encodeURIComponent(state.user)}/recommendations?${query}`, { signal });
  }
  const body = { ...wanted, ratings: ratings.forService(), genres: genre ? [genre] : [] };
  if (ratings.hidden.size) body.exclude_movie_ids = [...ratings.hidden.keys()];
  return request("v1/recommendations", { signal, body });
}

/** Say what went wrong in place of the list, which is of before; come back to it where that may help. */
function fail(error) {
  state.answer = null;
  $("recommendations").replaceChildren();
  $("more").hidden = $("legend").hidden = true;
  $("status").textContent = "";
  if (error instanceof UnauthorizedError) return askForKey();
  const message = error instanceof UnknownError && state.tab === "user" ? noSuchUser() : error.message;
  $("error").querySelector("span").textContent = message;
  $("error").querySelector("button").hidden = error instanceof UnknownError;
  $("error").hidden = false;
  if (error instanceof UnavailableError) {
    clearTimeout(state.retry);
    state.retry = setTimeout(start, RETRY_MS);
  }
}

const noSuchUser = () => `There is no user ${state.user} in this data. Try ${state.examples.slice(0, 3).join(", ")}.`;

function showList() {
  const answer = state.answer;
  const movies = [...(answer?.recommendations ?? [])];
  if ($("order").value === "stars") movies.sort((a, b) => b.predicted_rating - a.predicted_rating);
  $("recommendations").replaceChildren(...movies.map((movie) => card(movie, state.tab === "rate")));
  $("status").textContent = summary(answer);
  $("more").hidden = movies.length < state.shown || state.shown >= MOST;
  $("legend").textContent = legend(answer);
  $("legend").hidden = !movies.length;
}

function summary(answer) {
  if (!answer) return "Open a user to see their recommendations.";
  if (!answer.recommendations.length) return "No unseen movie is left for this choice.";
  if (state.tab === "user") return `For user ${state.user}.`;
  const count = ratings.size;
  if (!count) return "Popular movies. Rate three or more, and this list becomes yours.";
  const from = `${count} rating${count > 1 ? "s" : ""}`;
  return count < ENOUGH_RATINGS ? `Popular movies, with a little of your taste: ${from} so far.` : `From your ${from}.`;
}

function legend(answer) {
  const stars = answer?.source === "popular" ? "★ is the average rating" : "★ is the rating predicted for you";
  const order = $("order").value === "stars" ? "most stars first" : answer?.source === "popular" ? "most rated first" : "best match first";
  return `${state.tab === "user" ? stars.replace("you", "them") : stars}; ${order}.`;
}

function card(movie, own) {
  const item = $("card").content.firstElementChild.cloneNode(true);
  const [title, year] = titleAndYear(movie);
  item.querySelector(".name").textContent = title;
  item.querySelector(".year").textContent = year;
  item.querySelector(".genres").textContent = movie.genres.join(", ");
  if (movie.because) {
    item.querySelector(".why").textContent = `because of ${movie.because.title}, ${number(movie.because.rating)} ★`;
  }
  if (movie.predicted_rating !== undefined) {
    item.querySelector(".predicted").append(starsShown(movie.predicted_rating.toFixed(1), state.scale));
  }
  item.querySelector(".actions").append(...actions(movie, own));
  item.dataset.movieId = movie.movie_id;
  return item;
}

/** What can be done with a movie: in one's own list rate it, or have it out of the way. */
function actions({ movie_id: id, title, links }, own) {
  const found = [];
  if (own && !ratings.has(id)) {
    found.push(starControl({ label: `Rate ${title}`, rating: null, scale: state.scale, onRate: (value) => rate(id, title, value) }));
  }
  found.push(button("Similar", `Movies like ${title}`, () => showSimilar(id, title)));
  if (own) {
    found.push(button("Seen it", `I have seen ${title}`, () => hide(id, title, `${title}: seen`)));
    found.push(button("Not for me", `${title} is not for me`, () => hide(id, title, `${title}: not for you`)));
  }
  for (const [name, url] of Object.entries(links)) {
    const link = document.createElement("a");
    Object.assign(link, { href: url, textContent: name, target: "_blank", rel: "noopener noreferrer" });
    link.setAttribute("aria-label", `${title} at ${name}`);
    found.push(link);
  }
  return found;
}

function button(text, label, onClick) {
  const element = document.createElement("button");
  element.textContent = text;
  element.setAttribute("aria-label", label);
  element.addEventListener("click", onClick);
  return element;
}

const titleAndYear = ({ title, year }) => (year ? [title.replace(/\s*\([^()]*\)\s*$/, ""), `(${year})`] : [title, ""]);

async function showSimilar(id, title) {
  const dialog = $("similar");
  $("similar-title").textContent = `Like ${title}`;
  const list = dialog.querySelector(".cards");
  list.replaceChildren();
  list.setAttribute("aria-busy", "true");
  if (!dialog.open) dialog.showModal();
  try {
    const { movies } = await request(`v1/movies/${encodeURIComponent(id)}/similar?n=${STEP}`);
    list.replaceChildren(...movies.map((movie) => card(movie, state.tab === "rate")));
  } catch (error) {
    if (error instanceof UnauthorizedError) return askForKey();
    const item = document.createElement("li");
    item.className = "error";
    item.textContent = error.message;
    list.replaceChildren(item);
  } finally {
    list.setAttribute("aria-busy", "false");
  }
}

// --- Rating ---------------------------------------------------------------------------------------------------

let pending;
function refreshSoon() {
  clearTimeout(pending);
  pending = setTimeout(refresh, RATE_DELAY_MS);
}

/** Do something to the ratings that can be undone. */
function undoably(said, change) {
  const before = ratings.snapshot();
  change();
  changed();
  toast(said, () => {
    ratings.restore(before);
    changed();
  });
}

function changed() {
  showRated();
  refresh();
}

function rate(id, title, rating) {
  const known = ratings.has(id);
  const before = ratings.snapshot();
  ratings.rate(id, title, rating);
  if (!known) {
    showRated(); // Otherwise the row is under the hand that changes it.
    toast(`${title}: ${number(rating)} ★`, () => {
      ratings.restore(before);
      changed();
    });
  }
  refreshSoon();
}

const hide = (id, title, said) => undoably(said, () => ratings.hide(id, title));
const remove = (id, title) => undoably(`${title} removed`, () => ratings.remove(id));

function ratedRow(id, title, control, onRemove) {
  const item = $("rated-row").content.firstElementChild.cloneNode(true);
  const link = item.querySelector(".link");
  link.textContent = title;
  link.title = "Similar movies";
  link.addEventListener("click", () => showSimilar(id, title));
  item.querySelector(".control").append(control);
  const removal = item.querySelector(".remove");
  removal.setAttribute("aria-label", `Remove ${title}`);
  if (onRemove) removal.addEventListener("click", onRemove);
  else removal.remove();
  item.dataset.movieId = id;
  return item;
}

function showRated() {
  const entries = [...ratings.rated];
  const rows = (state.allRated ? entries : entries.slice(0, SHORT)).map(([id, { title, rating }]) => {
    const onRate = (value) => rate(id, title, value);
    const control = starControl({ label: `Stars for ${title}`, rating, scale: state.scale, onRate });
    return ratedRow(id, title, control, () => {
      remove(id, title);
      $("query").focus();
    });
  });
  $("rated").replaceChildren(...rows);
  $("rated-all").hidden = entries.length <= SHORT;
  $("rated-all").textContent = state.allRated ? "Show fewer" : `Show all ${entries.length}`;
  $("clear").hidden = !entries.length;
  $("hint").textContent = hint(entries.length);
  $("hint").hidden = !$("hint").textContent;
  showHidden();
  showStarter();
}

function hint(count) {
  const more = ENOUGH_RATINGS - count;
  if (!count) return "Nothing rated yet. Until then the list shows what most people watch.";
  return more > 0 ? `${more} more, and the list is about you rather than about what everybody watches.` : "";
}

function showHidden() {
  const items = [...ratings.hidden].map(([id, title]) => {
    const again = button("Show again", `Show ${title} again`, () => undoably(`${title} is back`, () => ratings.unhide(id)));
    return ratedRow(id, title, again, null);
  });
  $("hidden").hidden = !items.length;
  $("hidden").querySelector("summary").textContent = `${items.length} out of the way`;
  $("hidden").querySelector("ul").replaceChildren(...items);
}

/** Offer the movies whose ratings tell most about a new user. */
function showStarter() {
  const known = (movie) => ratings.has(movie.movie_id) || ratings.hidden.has(movie.movie_id);
  const unrated = state.starter.filter((movie) => !known(movie)).slice(0, OFFERED);
  const items = unrated.map(({ movie_id: id, title }) => {
    const item = document.createElement("li");
    const name = document.createElement("span");
    name.textContent = title;
    const onRate = (value) => rate(id, title, value);
    item.append(name, starControl({ label: `Rate ${title}`, rating: null, scale: state.scale, onRate }));
    item.dataset.movieId = id;
    return item;
  });
  $("starter").querySelector("ul").replaceChildren(...items);
  $("starter").hidden = !items.length || ratings.size >= ENOUGH_RATINGS;
}

/** Add a movie that was searched for, and put the focus on its stars. */
function add(id, title) {
  if (!ratings.has(id)) rate(id, title, state.scale.liked);
  state.allRated ||= ![...ratings.rated.keys()].slice(0, SHORT).includes(id);
  showRated();
  focusOn(document.querySelector(`#rated [data-movie-id="${CSS.escape(id)}"] .control`));
}

let toastEnds;
function toast(said, undo) {
  $("toast").querySelector("span").textContent = said;
  const back = $("toast").querySelector("button");
  back.hidden = !undo;
  back.onclick = () => {
    $("toast").hidden = true;
    undo();
  };
  $("toast").hidden = false;
  clearTimeout(toastEnds);
  toastEnds = setTimeout(() => ($("toast").hidden = true), TOAST_MS);
}

// --- What is stored, shared and loaded ------------------------------------------------------------------------

/** Titles of movies by their ids as text; of those that the model does not hold there is none. */
async function titlesOf(ids) {
  const found = new Map();
  for (let begin = 0; begin < ids.length; begin += MOST) {
    const query = new URLSearchParams(ids.slice(begin, begin + MOST).map((id) => ["ids", id]));
    for (const movie of (await request(`v1/movies?${query}`)).movies) found.set(String(movie.movie_id), movie);
  }
  return found;
}

/** What was rated belongs to a data set, not to an address: put aside what this model does not know as the same. */
async function checkStored() {
  const movies = await titlesOf([...ratings.rated.keys(), ...ratings.hidden.keys()]);
  ratings.setAside(new Map([...movies].map(([id, { title }]) => [id, title])));
  const said = [];
  if (ratings.aside.length) {
    const titles = ratings.aside.slice(0, 3).map(([, { title }]) => title).join(", ");
    const rest = ratings.aside.length > 3 ? " …" : "";
    said.push(`${ratings.aside.length} of your ratings are of movies that are not in this data: ${titles}${rest}. They are kept.`);
  }
  if (ratings.broken) said.push("Something stored by this page could not be read and was left out.");
  $("aside").querySelector("span").textContent = said.join(" ");
  $("aside").querySelector("button").hidden = !ratings.aside.length;
  $("aside").hidden = !said.length;
}

/** Take over ratings from elsewhere, as far as the model knows the movies: [id, rating] pairs. */
async function takeOver(pairs, from) {
  const movies = await titlesOf(pairs.map(([id]) => id));
  const { min, max } = state.scale;
  const known = pairs.filter(([id, rating]) => movies.has(String(id)) && rating >= min && rating <= max);
  const left = pairs.length - known.length;
  const said = `${known.length} ratings from ${from}${left ? `; ${left} are not of this data and were left out` : ""}`;
  undoably(said, () => {
    for (const [id, rating] of known.reverse()) {
      const movie = movies.get(String(id));
      ratings.rate(movie.movie_id, movie.title, rating);
    }
  });
}

async function share() {
  const address = `${location.origin}${location.pathname}#${ratings.toAddress()}`;
  try {
    await navigator.clipboard.writeText(address);
    toast("The link is copied. Whoever opens it adds your ratings to theirs.");
  } catch {
    location.hash = ratings.toAddress();
    toast("The address of this page has your ratings now: copy it.");
  }
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([ratings.toFile()], { type: "application/json" }));
  link.download = "matinee-ratings.json";
  link.click();
  URL.revokeObjectURL(link.href);
}

async function loadFile(input) {
  try {
    const entries = Ratings.fromFile(await input.files[0].text());
    await takeOver(entries.map(([id, { rating }]) => [id, rating]), "the file");
  } catch (error) {
    toast(error.message);
  }
  input.value = "";
}

// --- Search: a combobox after the ARIA Authoring Practices -----------------------------------------------------

function closeMatches() {
  $("matches").hidden = true;
  $("query").setAttribute("aria-expanded", "false");
  $("query").removeAttribute("aria-activedescendant");
}

function highlight(option) {
  for (const each of $("matches").children) each.setAttribute("aria-selected", String(each === option));
  $("query").setAttribute("aria-activedescendant", option.id);
  option.scrollIntoView({ block: "nearest" });
}

function choose(option) {
  const { movie_id: id, title } = option.movie;
  $("query").value = "";
  closeMatches();
  add(id, title);
}

async function search() {
  state.search?.abort();
  const query = $("query").value.trim();
  if (!query) return closeMatches();
  const mine = (state.search = new AbortController());
  try {
    const { movies } = await request(`v1/movies?${new URLSearchParams({ query, n: 8 })}`, { signal: mine.signal });
    if (!mine.signal.aborted) showMatches(movies);
  } catch (error) {
    if (mine.signal.aborted) return;
    if (error instanceof UnauthorizedError) return askForKey();
    showMatches([], error.message);
  }
}

function showMatches(movies, message = "No movie has this title.") {
  const options = movies.map((movie, place) => {
    const option = document.createElement("li");
    option.id = `match-${place}`;
    option.setAttribute("role", "option");
    option.movie = movie;
    option.dataset.movieId = movie.movie_id;
    option.textContent = movie.title;
    option.addEventListener("mousedown", (event) => event.preventDefault()); // Keep the focus until the click.
    option.addEventListener("click", () => choose(option));
    return option;
  });
  if (!options.length) {
    const none = document.createElement("li");
    none.className = "none";
    none.setAttribute("role", "option");
    none.setAttribute("aria-disabled", "true");
    none.textContent = message;
    options.push(none);
  }
  $("matches").replaceChildren(...options);
  $("matches").hidden = false;
  $("query").setAttribute("aria-expanded", "true");
  if (movies.length) highlight(options[0]);
}

function onSearchKey(event) {
  const options = [...$("matches").querySelectorAll("[role=option]:not([aria-disabled])")];
  const at = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
  if (event.key === "Escape") closeMatches();
  else if (!options.length || $("matches").hidden) return;
  else if (event.key === "Enter") choose(options[Math.max(at, 0)]);
  else if (event.key === "ArrowDown") highlight(options[(at + 1) % options.length]);
  else if (event.key === "ArrowUp") highlight(options[(at - 1 + options.length) % options.length]);
  else return;
  event.preventDefault();
}

// --- Known users, tabs, the address, the key, the model --------------------------------------------------------

function openUser(id) {
  Object.assign(state, { user: id, shown: STEP, history: null, answer: null });
  $("user-id").value = id ?? "";
  $("recommendations").replaceChildren();
  $("history").replaceChildren();
  $("history-panel").hidden = true;
  refresh();
  if (id !== null) showHistory();
}

/** Show the next ratings of a known user. What is wrong, the list says. */
async function showHistory() {
  const id = state.user;
  const query = new URLSearchParams({ n: 20, ...(state.history ? { cursor: state.history } : {}) });
  try {
    const { total, ratings: rows, next_cursor: next } = await request(`v1/users/${encodeURIComponent(id)}/ratings?${query}`);
    if (state.user !== id || state.tab !== "user") return;
    $("history-title").textContent = `${number(total)} rating${total > 1 ? "s" : ""}, the best first`;
    $("history").append(...rows.map((row) => ratedRow(row.movie_id, row.title, starsShown(number(row.rating), state.scale), null)));
    state.history = next;
    $("history-more").hidden = !next;
    $("history-panel").hidden = false;
  } catch {
    $("history-panel").hidden = true;
  }
}

function selectTab(name) {
  state.tab = name;
  state.shown = STEP;
  for (const each of ["rate", "user"]) {
    const on = each === name;
    $(`tab-${each}`).setAttribute("aria-selected", String(on));
    $(`tab-${each}`).tabIndex = on ? 0 : -1;
    $(`panel-${each}`).hidden = !on;
  }
  $("error").hidden = true;
  $("recommendations").replaceChildren();
  if (name === "user") return openUser(state.user);
  $("history-panel").hidden = true;
  refresh();
}

/** Put what is shown into the address. */
function go(hash) {
  if (location.hash === `#${hash}`) follow();
  else location.hash = hash; // `hashchange` follows.
}

/** Show what the address names. */
function follow() {
  const hash = location.hash.slice(1);
  if (hash.startsWith("user=")) {
    state.user = decodeURIComponent(hash.slice("user=".length));
    selectTab("user");
  } else if (hash.startsWith("ratings=")) {
    const pairs = Ratings.fromAddress(hash.slice("ratings=".length));
    history.replaceState(null, "", "#you");
    selectTab("rate");
    takeOver(pairs, "the link").catch(fail);
  } else {
    selectTab(hash === "user" ? "user" : "rate");
  }
}

function askForKey() {
  $("key-wrong").hidden = !hasKey();
  if (!$("key").open) $("key").showModal();
}

async function describeModel() {
  const model = await request("v1/model");
  const day = new Date(model.created_s * 1000).toISOString().slice(0, 10);
  $("model").textContent = `Version ${model.model_version} of ${day}: ${number(model.movies)} movies, ${number(model.ratings)} ratings by ${number(model.users)} users.`;
  Object.assign(state, { scale: model.scale, version: model.model_version, examples: model.example_user_ids });
  const genre = $("genre").value;
  $("genre").parentElement.hidden = model.genres.length < 2;
  $("genre").replaceChildren(new Option("any", ""), ...model.genres.map((name) => new Option(name)));
  $("genre").value = model.genres.includes(genre) ? genre : "";
  $("user-examples").replaceChildren(...model.example_user_ids.map((id) => new Option(id)));
  $("user-id").placeholder = `such as ${model.example_user_ids[0]}`;
  await checkStored();
  state.starter = (await request(`v1/movies/starter?n=${OFFERED + ENOUGH_RATINGS}`)).movies;
  showRated();
}

/** Begin, and again when the service is back. */
async function start() {
  clearTimeout(state.retry);
  try {
    await describeModel();
  } catch (error) {
    return fail(error);
  }
  $("error").hidden = true;
  follow();
}

let pause;
$("query").addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(search, SEARCH_DELAY_MS);
});
$("query").addEventListener("keydown", onSearchKey);
$("query").addEventListener("blur", closeMatches);
$("clear").addEventListener("click", () => undoably("All your ratings are forgotten", () => ratings.clear()));
$("rated-all").addEventListener("click", () => {
  state.allRated = !state.allRated;
  showRated();
});
$("aside").querySelector("button").addEventListener("click", () => {
  ratings.dropAside();
  $("aside").hidden = true;
});
for (const id of ["genre", "diversity", "year-min", "year-max"]) {
  $(id).addEventListener("change", () => {
    state.shown = STEP;
    refresh();
  });
}
$("order").addEventListener("change", showList);
$("more").addEventListener("click", async () => {
  const at = $("recommendations").children.length;
  state.shown = Math.min(state.shown + STEP, MOST);
  await refresh();
  $("recommendations").children[at]?.querySelector("button, input")?.focus();
});
$("history-more").addEventListener("click", showHistory);
$("error").querySelector("button").addEventListener("click", start);
$("share").addEventListener("click", share);
$("export").addEventListener("click", save);
$("import").addEventListener("change", (event) => loadFile(event.target));
$("user-form").addEventListener("submit", (event) => {
  event.preventDefault();
  go(`user=${encodeURIComponent($("user-id").value.trim())}`);
});
const addressOf = { rate: () => "you", user: () => (state.user === null ? "user" : `user=${encodeURIComponent(state.user)}`) };
for (const name of ["rate", "user"]) {
  const tab = $(`tab-${name}`);
  tab.addEventListener("click", () => go(addressOf[name]()));
  tab.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = name === "rate" ? "user" : "rate";
    go(addressOf[other]());
    $(`tab-${other}`).focus();
  });
}
$("key").addEventListener("close", () => {
  if (!$("key-input").value) return;
  useKey($("key-input").value);
  $("key-input").value = "";
  start();
});
window.addEventListener("hashchange", follow);
window.addEventListener("storage", async (event) => {
  if (!Ratings.concerns(event.key)) return;
  ratings.reload(); // Another tab has rated.
  await checkStored().catch(() => {});
  changed();
});

showRated();
start();
