"use strict";
// Shows what the place of a figure that is pointed at says. A figure's places
// are [x, y, width, height, text] in the units of its SVG, centres first.
const tip = document.getElementById("tip");
const FAR = 24, MOST = 6; // units; texts of places that lie on each other

function hide(figure) {
  tip.hidden = true;
  figure.querySelector(".mark")?.remove();
}

function distance([x, y, width, height], at) {
  const dx = Math.max(0, Math.abs(at.x - x) - width / 2);
  const dy = Math.max(0, Math.abs(at.y - y) - height / 2);
  return Math.hypot(dx, dy);
}

function show(figure, svg, places, index) {
  const [x, y, width, height] = places[index];
  hide(figure);
  const mark = document.createElementNS(svg.namespaceURI, "rect");
  const w = width || 10, h = height || 10;
  const shape = { x: x - w / 2, y: y - h / 2, width: w, height: h,
    rx: width ? 1 : 5, class: "mark" };
  for (const name in shape) mark.setAttribute(name, shape[name]);
  svg.append(mark);
  const same = places.filter((own) => own[0] === x && own[1] === y);
  const texts = [...new Set(same.map((own) => own[4]))];
  const more = texts.length - MOST;
  tip.textContent = texts.slice(0, MOST).join("\n") +
    (more > 0 ? `\n and ${more} more` : "");
  tip.hidden = false;
  const spot = mark.getBoundingClientRect(), own = tip.getBoundingClientRect();
  const left = spot.left + spot.width / 2 - own.width / 2;
  const above = spot.top - own.height - 6;
  const top = above > 0 ? above : spot.bottom + 6;
  const room = document.documentElement.clientWidth - own.width - 4;
  tip.style.transform =
    `translate(${Math.max(4, Math.min(room, left))}px, ${top}px)`;
}

for (const figure of document.querySelectorAll("figure.chart")) {
  const svg = figure.querySelector("svg");
  const places = JSON.parse(figure.dataset.tips);
  let current = -1;
  const point = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY)
      .matrixTransform(svg.getScreenCTM().inverse());
    let near = FAR;
    current = -1;
    places.forEach((place, index) => {
      const far = distance(place, at);
      if (far < near) [near, current] = [far, index];
    });
    if (current < 0) hide(figure);
    else show(figure, svg, places, current);
  };
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointerleave", () => hide(figure));
  figure.addEventListener("blur", () => hide(figure));
  figure.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") hide(figure);
    if (!step || !places.length) return;
    event.preventDefault();
    current = (current + step + places.length) % places.length;
    show(figure, svg, places, current);
  });
}
