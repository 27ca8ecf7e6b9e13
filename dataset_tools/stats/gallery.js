"use strict";
// The gallery and the switch between light and dark. Foreign words only ever become text nodes.
(() => {
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;

  const schemes = ["automatic", "light", "dark"];
  const theme = byId("theme");
  theme.addEventListener("click", () => {
    const next = schemes[(schemes.indexOf(root.dataset.theme || "automatic") + 1) % schemes.length];
    if (next === "automatic") delete root.dataset.theme;
    else root.dataset.theme = next;
    theme.textContent = `Colours: ${next}`;
  });
  theme.hidden = false;

  const source = byId("gallery-data");
  if (!source) return;
  const {facets, orders, rows} = JSON.parse(source.textContent);
  const blocks = [...document.querySelectorAll("script.pictures")];
  const PER_BLOCK = 50, PAGE = 60;
  const opened = new Map();
  rows.forEach((row, index) => { row.index = index; });
  const byDoubt = [...rows].sort((a, b) => (b.doubt ?? -1) - (a.doubt ?? -1) || a.index - b.index);

  const controls = byId("controls"), cards = byId("cards"), shown = byId("shown"), more = byId("more");
  const search = byId("search"), order = byId("order"), detail = byId("detail");
  const selects = facets.map((_, number) => controls.querySelector(`select[data-facet="${number}"]`));
  let matching = [], built = 0, current = -1;

  function make(tag, properties = {}, ...children) {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  }

  function jpeg(index) {
    const number = Math.floor(index / PER_BLOCK);
    if (!opened.has(number)) opened.set(number, blocks[number].textContent.split("\n"));
    return opened.get(number)[index % PER_BLOCK];
  }

  // Run lengths in rows as one path of bars; runs that go over the end of a row are cut there.
  function outline(code, width) {
    let at = 0, path = "";
    code.split(".").forEach((digits, turn) => {
      let left = parseInt(digits, 36);
      if (turn % 2) {
        let from = at;
        while (left > 0) {
          const x = from % width, run = Math.min(left, width - x);
          path += `M${x} ${(from - x) / width}h${run}v1h-${run}z`;
          from += run;
          left -= run;
        }
      }
      at += parseInt(digits, 36);
    });
    return path;
  }

  function drawing(row, isPlain = false) {
    const [width, height] = row.size;
    const frame = make("span", {className: "frame"});
    frame.style.aspectRatio = `${width} / ${height}`;
    frame.style.width = `${100 * Math.min(1, width / height)}%`;
    if (row.fault) {
      frame.append(make("span", {className: "fault", textContent: row.fault}));
      return frame;
    }
    frame.append(make("img", {
      alt: said(row), width, height, decoding: "async", src: `data:image/jpeg;base64,${jpeg(row.index)}`,
    }));
    if (isPlain) return frame;
    const SVG = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("aria-hidden", "true");
    for (const layer of ["face", "strap", "face_mask", "occluder", "guess"]) {
      if (!row.on[layer]) continue;
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", `layer l-${layer}`);
      path.setAttribute("d", outline(row.on[layer], width));
      svg.append(path);
    }
    frame.append(svg);
    return frame;
  }

  const value = (row, key) => row.in[facets.findIndex(([name]) => name === key)].join(", ");

  function said(row) {
    const labels = Object.keys(row.on).map((name) => name === "guess" ? "a model's opinion" : name.replace("_", " "));
    return `${value(row, "kind")} picture, mask type ${value(row, "mask_type")}, `
      + (labels.length ? `labelled: ${labels.join(", ")}` : "no labels");
  }

  function card(row) {
    const button = make("button", {type: "button"}, drawing(row));
    button.setAttribute("aria-label", `Details of picture ${row.id.slice(0, 12)}: ${said(row)}`);
    button.addEventListener("click", () => open(matching.indexOf(row)));
    const lines = [
      make("b", {textContent: value(row, "mask_type")}),
      make("span", {textContent: `${value(row, "wearing_state")} · ${value(row, "split")}`}),
      make("span", {textContent: `${value(row, "kind")} · labels: ${value(row, "origin")}`}),
    ];
    if (row.doubt !== undefined)
      lines.push(make("span", {className: "doubt", textContent: `suspicion ${(100 * row.doubt).toFixed(1)}%`}));
    const item = make("li", {}, button, make("div", {className: "caption"}, ...lines));
    item.dataset.id = row.id;
    return item;
  }

  function fits(row, skipped) {
    const words = search.value.trim().toLowerCase();
    if (words && !row.id.includes(words) && !row.key.toLowerCase().includes(words)) return false;
    return selects.every((select, number) =>
      number === skipped || !select.value || row.in[number].includes(select.value.slice(1)));
  }

  // Each filter counts what the other filters leave.
  function fill(select, number) {
    const counts = new Map();
    let total = 0;
    for (const row of rows) for (const name of row.in[number]) if (!counts.has(name)) counts.set(name, 0);
    for (const row of rows) {
      if (!fits(row, number)) continue;
      total += 1;
      for (const name of row.in[number]) counts.set(name, counts.get(name) + 1);
    }
    const chosen = select.value;
    const fixed = orders[facets[number][0]];
    const names = fixed ? fixed.filter((name) => counts.has(name)) : [...counts.keys()].sort();
    select.replaceChildren(
      make("option", {value: "", textContent: `any (${total})`}),
      ...names.map((name) => make("option", {value: `=${name}`, textContent: `${name} (${counts.get(name)})`})),
    );
    select.value = chosen;
  }

  function grow() {
    const next = matching.slice(built, built + PAGE);
    cards.append(...next.map(card));
    built += next.length;
    more.hidden = built >= matching.length;
  }

  function update() {
    selects.forEach(fill);
    matching = (order.value === "doubt" ? byDoubt : rows).filter((row) => fits(row, -1));
    built = 0;
    cards.replaceChildren();
    grow();
    shown.textContent = `${matching.length} of ${rows.length} pictures match`;
  }

  function open(index) {
    current = index;
    const row = matching[index];
    byId("detail-title").textContent = row.key || row.id;
    detail.querySelector(".enlarged").replaceChildren(drawing(row, true), drawing(row));
    const lines = [["Id", row.id], ...facets.map(([, title], number) => [title, row.in[number].join(", ")])];
    if (row.doubt !== undefined) lines.push(["Suspicion of the face masks", `${(100 * row.doubt).toFixed(1)}%`]);
    lines.push(...row.more);
    detail.querySelector("tbody").replaceChildren(...lines.map(([name, words]) => {
      const head = make("th", {textContent: name});
      head.scope = "row";
      return make("tr", {}, head, make("td", {textContent: words}));
    }));
    byId("previous").disabled = index === 0;
    byId("next").disabled = index === matching.length - 1;
    if (!detail.open) detail.showModal();
  }

  function step(by) {
    if (current + by >= 0 && current + by < matching.length) open(current + by);
  }

  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => detail.close());
  detail.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });

  function paint() {
    for (const box of controls.querySelectorAll("input[data-layer]"))
      root.style.setProperty(`--show-${box.dataset.layer}`, box.checked ? "inline" : "none");
    root.style.setProperty("--overlay", byId("opacity").value / 100);
  }

  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("reset", () => setTimeout(() => { paint(); update(); }));
  controls.addEventListener("change", (event) => {
    paint();
    if (event.target.matches("select")) update();
  });
  byId("opacity").addEventListener("input", paint);
  search.addEventListener("input", update);
  more.addEventListener("click", grow);
  new IntersectionObserver((seen) => {
    if (seen.some((one) => one.isIntersecting) && !more.hidden) grow();
  }, {rootMargin: "600px"}).observe(more.parentElement);

  paint();
  update();
})();
