// Elements, made and changed. Whatever the service tells becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: `h("p", {class: "note"}, "text", child)`. Falsy children are left out. */
export function h(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter(Boolean));
  return made;
}

/** An empty drawing, which says nothing to those who only listen. */
export function drawing(className) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", className);
  svg.setAttribute("aria-hidden", "true");
  return svg;
}

/** An icon of the sheet in index.html. */
export function icon(name) {
  const svg = drawing("icon");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

export function setIcon(svg, name) {
  put(svg.firstElementChild, `#i-${name}`, "href");
}

/** Set the text (or an attribute) of an element, if it is another than before. */
export function put(element, text, attribute = null) {
  const there = attribute === null ? "shown" : `shown-${attribute}`;
  if (element[there] === text) return false;
  element[there] = text;
  if (attribute !== null) element.setAttribute(attribute, text);
  else if (element.firstChild?.nodeType === Node.TEXT_NODE) element.firstChild.nodeValue = text;
  else element.textContent = text;
  return true;
}

/** Clone a template of the page; return it with its parts by name. */
export function stamp(template) {
  const root = document.getElementById(template).content.firstElementChild.cloneNode(true);
  const parts = { root };
  for (const each of root.querySelectorAll("[data-part]")) parts[each.dataset.part] = each;
  return parts;
}
