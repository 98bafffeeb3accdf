// A rating as a row of stars: radio buttons, one for every value of the scale, each over its part of the row.

const MOST_STARS = 10;
const FEW_STARS = 5; // More are drawn smaller.
const MOST_VALUES = 20;
let groups = 0;

/**
 * Make a control for a rating.
 * `label` names it; `rating` is null where there is none yet; `onRate` is called with every value that is chosen.
 * It is a group of radio buttons with arrow keys; a digit gives so many stars. Scales that make no row get a number field.
 */
export function starControl({ label, rating, scale, onRate }) {
  const values = valuesOf(scale);
  if (!values) return numberField({ label, rating, scale, onRate });
  const name = `stars-${++groups}`;
  const control = document.createElement("fieldset");
  control.className = "stars";
  const legend = document.createElement("legend");
  legend.textContent = label;
  const count = Math.ceil(scale.max);
  control.style.setProperty("--count", count);
  control.classList.toggle("many", count > FEW_STARS);
  control.append(legend, row("☆", "off", count), row("★", "on", count));
  const show = (value) => control.style.setProperty("--filled", `${((value ?? 0) / count) * 100}%`);
  const chosen = () => Number(control.querySelector("input:checked")?.value ?? 0);
  let before = 0;
  for (const value of values) {
    const radio = document.createElement("input");
    Object.assign(radio, { type: "radio", name, value, checked: value === rating });
    radio.setAttribute("aria-label", `${value} ${value === 1 ? "star" : "stars"}`);
    radio.title = radio.getAttribute("aria-label");
    radio.style.left = `${(before / count) * 100}%`;
    radio.style.width = `${((value - before) / count) * 100}%`;
    before = value;
    radio.addEventListener("pointerenter", () => show(value)); // What a click would give.
    control.append(radio);
  }
  control.addEventListener("pointerleave", () => show(chosen()));
  control.addEventListener("change", () => {
    show(chosen());
    onRate(chosen());
  });
  control.addEventListener("keydown", (event) => {
    const radio = control.querySelector(`input[value="${CSS.escape(event.key)}"]`);
    if (!/^\d$/.test(event.key) || !radio) return;
    event.preventDefault();
    radio.checked = true;
    radio.focus();
    control.dispatchEvent(new Event("change"));
  });
  show(rating);
  return control;
}

/** A rating that cannot be changed; `text` is the rating as it is written. */
export function starsShown(text, scale) {
  const shown = document.createElement("span");
  shown.className = "shown";
  shown.textContent = `${text} ★`;
  shown.setAttribute("role", "img");
  shown.setAttribute("aria-label", `${text} of ${number(scale.max)} stars`);
  return shown;
}

export const number = (value) => value.toLocaleString("en", { maximumFractionDigits: 1 });

/** Move the focus into a control. */
export function focusOn(control) {
  (control.querySelector("input:checked") ?? control.querySelector("input")).focus();
}

/** The values of a scale, if they make a row of stars. */
function valuesOf({ min, max, step }) {
  const count = Math.round((max - min) / step) + 1;
  if (min <= 0 || max > MOST_STARS || count > MOST_VALUES) return null;
  return Array.from({ length: count }, (_, place) => Math.round((min + place * step) * 1000) / 1000);
}

function row(glyph, className, count) {
  const element = document.createElement("span");
  element.className = `row-of-stars ${className}`;
  element.setAttribute("aria-hidden", "true");
  element.append(
    ...Array.from({ length: count }, () => {
      const star = document.createElement("span");
      star.textContent = glyph;
      return star;
    }),
  );
  return element;
}

function numberField({ label, rating, scale, onRate }) {
  const control = document.createElement("span");
  control.className = "number";
  const input = document.createElement("input");
  Object.assign(input, { type: "number", min: scale.min, max: scale.max, step: scale.step, value: rating ?? "" });
  input.setAttribute("aria-label", label);
  input.addEventListener("change", () => {
    if (input.value !== "" && input.checkValidity()) onRate(Number(input.value));
  });
  control.append(input);
  return control;
}
