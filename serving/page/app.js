// The page: rate movies or open a known user, and see what is recommended. Plain modules, no build step.
import { request, UnauthorizedError } from "./api.js";

const SHOWN = 10;
const ENOUGH_RATINGS = 3; // Until then some movies are offered to rate.
const OFFERED = 6;
const SEARCH_DELAY_MS = 150;
const RATINGS_KEY = "matinee.ratings";
const MOVIELENS_SCALE = { min: 0.5, max: 5, step: 0.5, liked: 4 }; // Until the service has named its own.
const $ = (id) => document.getElementById(id);

/** What the page knows. `ratings`: movie id -> {title, rating}, latest first. */
const state = {
  tab: "rate", ratings: restored(), starter: [], user: null, refresh: null, search: null, scale: MOVIELENS_SCALE,
};

function restored() {
  try {
    return new Map(JSON.parse(localStorage.getItem(RATINGS_KEY)) ?? []);
  } catch {
    return new Map(); // Storage is off or holds something else: begin without ratings.
  }
}

function remember() {
  try {
    localStorage.setItem(RATINGS_KEY, JSON.stringify([...state.ratings]));
  } catch {
    // Private windows may refuse; the ratings then live as long as the page.
  }
}

// --- Recommendations ------------------------------------------------------------------------------------------

async function refresh() {
  state.refresh?.abort();
  const mine = (state.refresh = new AbortController());
  const list = $("recommendations");
  list.setAttribute("aria-busy", "true");
  $("error").hidden = true;
  if (!list.children.length) $("status").textContent = "Loading …";
  try {
    const answer = await recommendations(mine.signal);
    if (mine.signal.aborted) return;
    list.replaceChildren(...(answer?.recommendations ?? []).map((movie) => card(movie, why(movie))));
    $("status").textContent = summary(answer);
    list.setAttribute("aria-busy", "false");
  } catch (error) {
    if (mine.signal.aborted) return;
    list.setAttribute("aria-busy", "false");
    if (error instanceof UnauthorizedError) return askForKey();
    $("status").textContent = "";
    $("error").querySelector("span").textContent = error.message;
    $("error").hidden = false;
  }
}

function recommendations(signal) {
  const genre = $("genre").value;
  const diversity = Number($("diversity").value);
  if (state.tab === "user") {
    if (state.user === null) return null;
    const query = new URLSearchParams({ n: SHOWN, diversity });
    if (genre) query.set("genres", genre);
    return request(`v1/users/${encodeURIComponent(state.user)}/recommendations?${query}`, { signal });
  }
  const ratings = [...state.ratings].map(([id, { rating }]) => ({ movie_id: id, rating }));
  return request("v1/recommendations", { signal, body: { ratings, n: SHOWN, diversity, genres: genre ? [genre] : [] } });
}

function summary(answer) {
  if (!answer) return "Open a user to see their recommendations.";
  if (!answer.recommendations.length) return "No unseen movie is left for this choice.";
  if (answer.source === "popular") return "Popular movies. Rate a few, and this list becomes yours.";
  return state.tab === "user" ? `For user ${state.user}.` : `From your ${state.ratings.size} rating${state.ratings.size > 1 ? "s" : ""}.`;
}

const why = (movie) => (movie.because ? `because of ${movie.because.title}, ${stars(movie.because.rating)}` : "");
const stars = (value) => `${value.toLocaleString("en", { maximumFractionDigits: 1 })} ★`;

function card(movie, reason) {
  const item = $("card").content.firstElementChild.cloneNode(true);
  const [title, year] = titleAndYear(movie);
  const link = item.querySelector(".link");
  link.textContent = title;
  link.title = "Similar movies";
  link.addEventListener("click", () => showSimilar(movie.movie_id, movie.title));
  item.querySelector(".year").textContent = year;
  item.querySelector(".genres").textContent = movie.genres.join(", ");
  item.querySelector(".why").textContent = reason;
  if (movie.predicted_rating !== undefined) {
    const predicted = item.querySelector(".predicted");
    predicted.textContent = movie.predicted_rating.toFixed(1);
    predicted.setAttribute("aria-label", `predicted ${movie.predicted_rating.toFixed(1)} of ${state.scale.max} stars`);
  }
  item.dataset.movieId = movie.movie_id;
  return item;
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
    const { movies } = await request(`v1/movies/${encodeURIComponent(id)}/similar?n=${SHOWN}`);
    list.replaceChildren(...movies.map((movie) => card(movie, "")));
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

function ratedRow(id, title, rating, onRate, onRemove) {
  const item = $("rated-row").content.firstElementChild.cloneNode(true);
  const link = item.querySelector(".link");
  link.textContent = title;
  link.addEventListener("click", () => showSimilar(id, title));
  const input = item.querySelector("input");
  const { min, max, step } = state.scale;
  Object.assign(input, { min, max, step });
  const show = () => {
    item.querySelector(".value").textContent = input.value;
    input.setAttribute("aria-valuetext", `${input.value} stars`);
    item.querySelector(".stars").style.setProperty("--filled", `${((Number(input.value) - min + step) / (max - min + step)) * 100}%`);
  };
  input.value = rating;
  input.setAttribute("aria-label", `Stars for ${title}`);
  input.disabled = !onRate;
  show();
  input.addEventListener("input", () => {
    show();
    onRate(Number(input.value));
  });
  const remove = item.querySelector(".remove");
  remove.setAttribute("aria-label", `Remove ${title}`);
  if (onRemove) remove.addEventListener("click", onRemove);
  else remove.remove();
  item.dataset.movieId = id;
  return item;
}

function showRated() {
  const rows = [...state.ratings].map(([id, { title, rating }]) =>
    ratedRow(id, title, rating, (value) => rate(id, title, value), () => forget(id)),
  );
  $("rated").replaceChildren(...rows);
  $("rate-empty").hidden = $("clear").hidden = rows.length > 0;
  $("clear").hidden = !rows.length;
  showStarter();
}

/** Offer the movies whose ratings tell most about a new user. */
function showStarter() {
  const unrated = state.starter.filter((movie) => !state.ratings.has(movie.movie_id)).slice(0, OFFERED);
  const items = unrated.map(({ movie_id: id, title }) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.textContent = title;
    button.addEventListener("click", () => add(id, title));
    item.append(button);
    return item;
  });
  $("starter").querySelector("ul").replaceChildren(...items);
  $("starter").hidden = !items.length || state.ratings.size >= ENOUGH_RATINGS;
}

async function loadStarter() {
  try {
    state.starter = (await request(`v1/movies/starter?n=${OFFERED + ENOUGH_RATINGS}`)).movies;
  } catch (error) {
    if (error instanceof UnauthorizedError) return askForKey();
    state.starter = []; // The list of recommendations says what is wrong.
  }
  showStarter();
}

function add(id, title) {
  if (!state.ratings.has(id)) rate(id, title, state.scale.liked);
  document.querySelector(`#rated [data-movie-id="${CSS.escape(id)}"] input`).focus();
}

function rate(id, title, rating) {
  const known = state.ratings.has(id);
  state.ratings = new Map(known ? state.ratings : [[id, { title, rating }], ...state.ratings]);
  state.ratings.set(id, { title, rating });
  remember();
  if (!known) showRated(); // Otherwise the row is under the hand that moves it.
  refresh();
}

function forget(id) {
  state.ratings.delete(id);
  remember();
  showRated();
  refresh();
  $("query").focus();
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
    none.textContent = message;
    options.push(none);
  }
  $("matches").replaceChildren(...options);
  $("matches").hidden = false;
  $("query").setAttribute("aria-expanded", "true");
  if (movies.length) highlight(options[0]);
}

function onSearchKey(event) {
  const options = [...$("matches").querySelectorAll("[role=option]")];
  const at = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
  if (event.key === "Escape") closeMatches();
  else if (!options.length || $("matches").hidden) return;
  else if (event.key === "Enter") choose(options[Math.max(at, 0)]);
  else if (event.key === "ArrowDown") highlight(options[(at + 1) % options.length]);
  else if (event.key === "ArrowUp") highlight(options[(at - 1 + options.length) % options.length]);
  else return;
  event.preventDefault();
}

// --- Known users, tabs, the key, the model --------------------------------------------------------------------

async function openUser(id) {
  state.user = id;
  $("history").replaceChildren();
  $("history-title").hidden = true;
  refresh();
  try {
    const { total, ratings } = await request(`v1/users/${encodeURIComponent(id)}/ratings?n=50`);
    if (state.user !== id) return;
    $("history-title").textContent = `${total} ratings, the best first`;
    $("history-title").hidden = false;
    $("history").replaceChildren(...ratings.map((row) => ratedRow(row.movie_id, row.title, row.rating, null, null)));
  } catch (error) {
    if (error instanceof UnauthorizedError) return askForKey();
    $("history-title").textContent = error.message;
    $("history-title").hidden = false;
  }
}

function selectTab(name) {
  state.tab = name;
  for (const each of ["rate", "user"]) {
    const on = each === name;
    $(`tab-${each}`).setAttribute("aria-selected", String(on));
    $(`tab-${each}`).tabIndex = on ? 0 : -1;
    $(`panel-${each}`).hidden = !on;
  }
  $("recommendations").replaceChildren();
  refresh();
}

function askForKey() {
  if (!$("key").open) $("key").showModal();
}

async function describeModel() {
  try {
    const model = await request("v1/model");
    const day = new Date(model.created_s * 1000).toISOString().slice(0, 10);
    const number = (value) => value.toLocaleString("en");
    $("model").textContent = `Version ${model.model_version} of ${day}: ${number(model.movies)} movies, ${number(model.ratings)} ratings by ${number(model.users)} users.`;
    state.scale = model.scale;
    $("genre").parentElement.hidden = model.genres.length < 2;
    $("genre").append(...model.genres.map((name) => new Option(name)));
    $("user-examples").replaceChildren(...model.example_user_ids.map((id) => new Option(id)));
    $("user-id").placeholder = `such as ${model.example_user_ids[0]}`;
  } catch (error) {
    if (error instanceof UnauthorizedError) return askForKey();
    $("model").textContent = ""; // The list of recommendations says what is wrong.
  }
}

let pause;
$("query").addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(search, SEARCH_DELAY_MS);
});
$("query").addEventListener("keydown", onSearchKey);
$("query").addEventListener("blur", closeMatches);
$("clear").addEventListener("click", () => {
  state.ratings.clear();
  remember();
  showRated();
  refresh();
});
$("genre").addEventListener("change", refresh);
$("diversity").addEventListener("change", refresh);
$("error").querySelector("button").addEventListener("click", refresh);
$("user-form").addEventListener("submit", (event) => {
  event.preventDefault();
  openUser($("user-id").value.trim());
});
for (const name of ["rate", "user"]) {
  const tab = $(`tab-${name}`);
  tab.addEventListener("click", () => selectTab(name));
  tab.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = name === "rate" ? "user" : "rate";
    selectTab(other);
    $(`tab-${other}`).focus();
  });
}
$("key").addEventListener("close", () => {
  sessionStorage.setItem("matinee.key", $("key-input").value);
  describeModel();
  loadStarter();
  refresh();
});

await describeModel(); // It names the scale of the stars.
showRated();
loadStarter();
refresh();
