// Glue: DataTables sorts and searches the page's tables, Vega-Lite draws its figures, and one choice filters both.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const root = document.documentElement;
  const chosen = data.factors.map(() => new Set()); // places of the labels to show; none chosen: all
  const MARKED = ["supported", "equivalent"];
  const MANY = 1500; // from so many dots on a canvas is quicker than SVG

  const allows = (factor, label) => chosen[factor].size === 0 || chosen[factor].has(label);
  const shows = (combo) => data.combos[combo].every((label, factor) => allows(factor, label));
  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

  // Tables
  const tables = [];
  DataTable.ext.errMode = "throw";
  DataTable.ext.search.push((settings, _texts, index) => {
    const combo = settings.aoData[index]?.nTr?.dataset.combo;
    return combo === undefined || shows(Number(combo));
  });
  for (const table of document.querySelectorAll("table.data")) {
    const rows = table.tBodies[0].rows.length;
    const long = rows > 12;
    tables.push(
      new DataTable(table, {
        order: [], autoWidth: false, paging: rows > 20, pageLength: 15, info: long, searching: rows > 1,
        layout: { topStart: null, topEnd: long ? "search" : null, bottomStart: long ? "info" : null,
                  bottomEnd: rows > 20 ? "paging" : null },
        language: { search: "search", emptyTable: "none", zeroRecords: "no row fits the filter" },
      }),
    );
  }

  // Figures
  const views = new Map();
  const config = () => ({
    background: null,
    font: "system-ui, sans-serif",
    view: { stroke: colour("line") },
    axis: { labelColor: colour("soft"), titleColor: colour("soft"), gridColor: colour("line"), domainColor: colour("line"),
            tickColor: colour("line"), gridOpacity: 0.5, titleFontWeight: "normal", labelLimit: 150, titleLimit: 420 },
    legend: { labelColor: colour("ink"), titleColor: colour("soft"), labelLimit: 240, titleFontWeight: "normal",
              orient: "bottom", columns: root.clientWidth < 640 ? 1 : 4 },
    header: { labelColor: colour("ink"), titleColor: colour("soft"), labelFontWeight: "bold" },
    range: { category: isDark() ? ["#6cb0ff", "#ffb454", "#57c98a", "#ff8a7a", "#c7a0ff", "#d9b38c", "#ff9ed2", "#b5bec8", "#e8e06a", "#7fe3ef"]
                                : ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#9467bd", "#ca9161", "#d45fa0", "#7a7a7a", "#b3a800", "#2f9ec4"] },
  });
  const width = (place) => Math.max(220, place.clientWidth - 8);

  async function draw(place, spec, dots) {
    views.get(place)?.finalize();
    const shown = await vegaEmbed(place, { $schema: "https://vega.github.io/schema/vega-lite/v6.json", ...spec }, {
      actions: { export: true, source: false, compiled: false, editor: false }, ast: true, config: config(),
      renderer: dots > MANY ? "canvas" : "svg", tooltip: { theme: isDark() ? "dark" : "light" }, logLevel: 1, // errors alone
    });
    views.set(place, shown);
    place.view = shown.view;
  }
  const option = (select, names, value) => {
    select.replaceChildren(...names.map(([key, name]) => Object.assign(document.createElement("option"), { value: key, textContent: name })));
    select.value = value;
  };

  const factorTip = data.factors.map((factor, i) => ({ field: `f${i}`, type: "nominal", title: factor.name }));
  const labelsOf = (combo) =>
    Object.fromEntries(data.combos[combo].map((label, i) => [`f${i}`, data.factors[i].labels[label]]));

  function scoreSpec(place) {
    const y = Number(at("y").value), xKey = at("x").value, byCost = xKey.startsWith("v");
    const x = Number(xKey.slice(1)), paint = at("colour").value, facet = at("facet").value;
    const cells = data.cells
      .filter((row) => shows(row[1]) && row[3 + y] !== null && (!byCost || row[3 + x] !== null))
      .map((row) => ({ cell: row[0], seed: row[2], y: row[3 + y], ...(byCost ? { x: row[3 + x] } : {}), line: data.lines[row[1]], ...labelsOf(row[1]) }));
    const means = [];
    data.combos.forEach((_, combo) => {
      const [mean, low, high] = data.means[y][combo];
      const across = byCost ? data.means[x][combo][0] : 0;
      if (shows(combo) && mean !== null && across !== null)
        means.push({ y: mean, low, high, ...(byCost ? { x: across } : {}), line: data.lines[combo], floor: data.values[y].floor[combo] ?? null, ...labelsOf(combo) });
    });
    const all = means.flatMap((row) => [row.y, row.floor]).concat(cells.map((row) => row.y)).filter((v) => v !== null);
    const positive = all.every((v) => v > 0);
    const log = positive && Math.max(...all) > 4 * Math.min(...all);
    const spread = means.map((row) => row.x), logX = byCost && Math.min(...spread) > 0 && Math.max(...spread) > 4 * Math.min(...spread);
    const factor = (key) => data.factors[Number(key.slice(1))];
    const order = (key) => factor(key).labels;
    const panels = facet ? new Set(means.map((row) => row[facet])).size || 1 : 1;
    const across = facet ? Math.max(1, Math.min(panels, Math.floor(width(place) / 300))) : 1;
    const xs = byCost
      ? { field: "x", type: "quantitative", title: data.values[x].name, scale: { ...(logX ? { type: "log" } : { zero: false }), nice: false, padding: 12 }, axis: { grid: false, tickCount: 5 } }
      : { field: xKey, type: "nominal", title: factor(xKey).name, sort: order(xKey), axis: { labelAngle: -30 } };
    const ys = { field: "y", type: "quantitative", title: data.values[y].name, scale: log ? { type: "log", nice: false, padding: 12 } : { zero: false }, axis: { tickCount: 6 } };
    const hue = paint ? { color: { field: paint, type: "nominal", title: factor(paint).name, sort: order(paint), scale: { domain: order(paint).filter((_, i) => allows(Number(paint.slice(1)), i)) } } } : { color: { value: colour("accent") } };
    const offset = !byCost && paint && paint !== xKey ? { xOffset: { field: paint, type: "nominal", sort: order(paint) } } : {};
    const share = { x: xs, y: ys, ...hue, ...offset };
    const value = { field: "y", type: "quantitative", title: data.values[y].name, format: ".4~g" };
    const spent = byCost ? [{ field: "x", type: "quantitative", title: data.values[x].name, format: ".4~g" }] : [];
    const layer = [
      ...(byCost ? [{ data: { values: means }, mark: { type: "line", opacity: 0.55, strokeWidth: 1.2 }, encoding: { ...share, detail: { field: "line", type: "nominal" } } }] : []),
      { data: { values: means }, mark: { type: "rule", strokeDash: [5, 4], strokeWidth: 1 }, transform: [{ filter: "isValid(datum.floor)" }, { aggregate: [{ op: "mean", field: "floor", as: "floor" }], groupby: facet ? [facet] : [] }],
        encoding: { y: { field: "floor", type: "quantitative" }, color: { value: colour("soft") }, tooltip: [{ field: "floor", type: "quantitative", title: "floor", format: ".4~g" }] } },
      { data: { values: means }, mark: { type: "rule", strokeWidth: 1.6, clip: true }, transform: [{ filter: "isValid(datum.low)" + (log ? " && datum.low > 0" : "") }], encoding: { ...share, y: { ...ys, field: "low" }, y2: { field: "high" } } },
      { name: "means", data: { values: means }, mark: { type: "point", filled: true, size: 60, opacity: 1 }, encoding: { ...share, tooltip: [{ field: "y", type: "quantitative", title: "mean", format: ".4~g" }, { field: "low", type: "quantitative", title: "from", format: ".4~g" }, { field: "high", type: "quantitative", title: "to", format: ".4~g" }, ...spent, ...factorTip] } },
      { name: "seeds", data: { values: cells }, mark: { type: "point", filled: true, size: 26, opacity: 0.55 }, encoding: { ...share, tooltip: [{ field: "cell", type: "quantitative" }, { field: "seed", type: "quantitative" }, value, ...spent, ...factorTip] } },
    ];
    const size = { width: Math.floor((width(place) - 70 * across) / across), height: 320 };
    if (!facet) return [{ ...size, layer }, cells.length];
    // Each layer of a faceted figure reads one table, so rows say which of the two they are of.
    const rows = [...means.map((row) => ({ ...row, of: "mean" })), ...cells.map((row) => ({ ...row, of: "seed" }))];
    const faceted = layer.map(({ data: _own, transform = [], ...rest }) => ({
      ...rest, transform: [{ filter: `datum.of === "${rest.name === "seeds" ? "seed" : "mean"}"` }, ...transform],
    }));
    return [{
      data: { values: rows }, columns: across, resolve: { scale: { y: facet === `f${data.facet}` ? "independent" : "shared" } },
      facet: { field: facet, type: "nominal", title: factor(facet).name, sort: order(facet) },
      spec: { ...size, height: across > 1 ? 280 : 240, layer: faceted },
    }, cells.length];
  }

  function claimSpec(place) {
    const claim = Number(place.dataset.claim), about = data.verdicts[claim];
    const facet = data.facet;
    const label = (name) => name || "all";
    const keep = (name) => name === "" || facet === null || allows(facet, data.factors[facet].labels.indexOf(name));
    const seeds = data.claims.filter((row) => row[0] === claim && keep(row[1])).map((row) => ({ on: label(row[1]), seed: row[2], value: row[3] }));
    const means = about.rows.filter((row) => keep(row[0])).map((row) => ({ on: label(row[0]), mean: row[1], low: row[2], high: row[3] }));
    const names = means.map((row) => row.on);
    const paint = { value: colour(MARKED.includes(about.verdict) ? "good" : about.verdict === "refuted" ? "bad" : about.verdict === "undecided" ? "open" : "none") };
    const y = { field: "on", type: "nominal", title: null, sort: names, axis: names.length > 1 ? { grid: true, ticks: false, domain: false } : null };
    const x = (field) => ({ field, type: "quantitative", title: about.title, scale: { zero: true, nice: true }, axis: { tickCount: 6 } });
    const tip = { format: ".3~g", type: "quantitative" };
    const band = about.margin ? [{ data: { values: [{ a: -about.margin, b: about.margin }] }, mark: { type: "rect", opacity: 0.12 }, encoding: { x: { ...x("a") }, x2: { field: "b" }, color: { value: colour("ink") }, tooltip: [{ field: "b", title: "margin ±", ...tip }] } }] : [];
    return [{
      width: width(place) - (names.length > 1 ? 150 : 60), height: 26 * Math.max(names.length, 1) + 14,
      layer: [
        ...band,
        { data: { values: [{ zero: 0 }] }, mark: { type: "rule" }, encoding: { x: x("zero"), color: { value: colour("ink") } } },
        { data: { values: seeds }, mark: { type: "point", filled: true, size: 55, opacity: 0.5 }, encoding: { x: x("value"), y, color: paint, tooltip: [{ field: "seed", type: "quantitative" }, { field: "on", type: "nominal", title: "data set" }, { field: "value", title: "difference", ...tip }] } },
        { data: { values: means }, mark: { type: "rule", strokeWidth: 2 }, encoding: { x: x("low"), x2: { field: "high" }, y, color: paint } },
        { data: { values: means }, mark: { type: "point", shape: "diamond", filled: true, size: 130, opacity: 1 }, encoding: { x: x("mean"), y, color: paint, tooltip: [{ field: "mean", ...tip }, { field: "low", title: "from", ...tip }, { field: "high", title: "to", ...tip }] } },
      ],
    }, seeds.length];
  }

  function effectSpec(place) {
    const metric = data.values.find((value) => data.effects.some((row) => row[0] === value.key))?.key;
    const chosenScore = at("y") ? data.values[Number(at("y").value)].key : metric;
    const wanted = data.effects.some((row) => row[0] === chosenScore) ? chosenScore : metric;
    const rows = data.effects
      .filter((row) => row[0] === wanted && allows(row[1], data.factors[row[1]].labels.indexOf(row[2])))
      .map(([, factor, level, effect, low, high]) => ({ factor: data.factors[factor].name, level, effect, low, high }));
    const x = (field) => ({ field, type: "quantitative", title: `effect on ${data.values.find((value) => value.key === wanted)?.name ?? ""}`, axis: { tickCount: 5 } });
    const y = { field: "level", type: "nominal", title: null, sort: null, axis: { labelLimit: 130 } };
    const tip = [{ field: "factor", type: "nominal" }, { field: "level", type: "nominal" }, ...["effect", "low", "high"].map((field) => ({ field, type: "quantitative", format: ".3~g" }))];
    return [{
      data: { values: rows }, resolve: { scale: { y: "independent" } }, spacing: 8,
      facet: { row: { field: "factor", type: "nominal", title: null, sort: null, header: { labelAngle: 0, labelAlign: "left", labelOrient: "top", labelAnchor: "start" } } },
      spec: {
        width: Math.min(width(place), 640) - 150, height: { step: 18 },
        layer: [
          { mark: { type: "rule" }, encoding: { x: { datum: 0 }, color: { value: colour("soft") } } },
          { mark: { type: "rule", strokeWidth: 1.6 }, encoding: { x: x("low"), x2: { field: "high" }, y, color: { value: colour("accent") } } },
          { mark: { type: "point", filled: true, size: 60, opacity: 1 }, encoding: { x: x("effect"), y, color: { value: colour("accent") }, tooltip: tip } },
        ],
      },
    }, rows.length];
  }

  async function drawAll() {
    for (const place of document.querySelectorAll(".claim-chart")) await draw(place, ...claimSpec(place));
    if (at("scores")) await draw(at("scores"), ...scoreSpec(at("scores")));
    if (at("effect-chart") && data.effects.length) await draw(at("effect-chart"), ...effectSpec(at("effect-chart")));
    root.dataset.drawn = String(Number(root.dataset.drawn ?? 0) + 1);
  }
  // One drawing at a time; of several calls meanwhile the last one counts.
  let drawing = false, again = false;
  async function redraw() {
    if (drawing) { again = true; return; }
    drawing = true;
    do { again = false; await drawAll(); } while (again);
    drawing = false;
  }

  function filter() {
    for (const table of tables) table.draw();
    const shown = data.combos.filter((_, combo) => shows(combo)).length;
    const words = data.factors.flatMap((factor, i) => chosen[i].size ? [`${factor.name}: ${[...chosen[i]].map((j) => factor.labels[j]).join(", ")}`] : []);
    at("chosen").textContent = words.length ? `${words.join("; ")} (${shown} of ${data.combos.length} combinations)` : `tables and figures by factor (${data.combos.length} combinations)`;
    redraw();
  }

  // Controls
  if (data.factors.length) {
    data.factors.forEach((factor, i) => {
      const field = document.createElement("fieldset");
      field.append(Object.assign(document.createElement("legend"), { textContent: factor.name }));
      factor.labels.forEach((label, j) => {
        const chip = Object.assign(document.createElement("label"), { className: "chip" });
        const box = Object.assign(document.createElement("input"), { type: "checkbox" });
        box.addEventListener("change", () => { chosen[i][box.checked ? "add" : "delete"](j); filter(); });
        chip.append(box, label);
        field.append(chip);
      });
      at("factors").append(field);
    });
    at("reset").addEventListener("click", () => {
      chosen.forEach((places) => places.clear());
      for (const box of document.querySelectorAll("#factors input")) box.checked = false;
      filter();
    });
    at("filters").hidden = false;
  }
  if (at("scores")) {
    const factors = data.factors.map((factor, i) => [`f${i}`, factor.name]);
    const scores = data.values.flatMap((value, i) => value.kind === "score" ? [[String(i), value.name]] : []);
    const costs = data.values.flatMap((value, i) => value.kind === "cost" && new Set(data.means[i].map((row) => row[0])).size > 1 ? [[`v${i}`, value.name]] : []);
    const xs = [...costs.filter(([, name]) => name.includes("NFE")), ...factors, ...costs.filter(([, name]) => !name.includes("NFE"))];
    if (scores.length && xs.length) {
      const facet = data.facet === null ? "" : `f${data.facet}`;
      const free = factors.map(([key]) => key).filter((key) => key !== facet && !data.factors[Number(key.slice(1))].solver);
      option(at("y"), scores, scores[0][0]);
      const x = xs[0][0].startsWith("v") ? xs[0][0] : free[0] ?? xs[0][0];
      option(at("x"), xs, x);
      option(at("colour"), [["", "one"], ...factors], free.find((key) => key !== x) ?? factors.find(([key]) => key !== x && key !== facet)?.[0] ?? "");
      option(at("facet"), [["", "one figure"], ...factors], facet);
      for (const id of ["y", "x", "colour", "facet"]) at(id).addEventListener("change", redraw);
      document.querySelector(".controls").hidden = false;
    } else at("figures").remove();
  }
  at("theme").hidden = false;
  const theme = () => root.classList.toggle("dark", isDark());
  at("theme").addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; theme(); redraw(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { theme(); redraw(); });
  addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details")) one.open ||= one.id !== "all"; });
  let before = root.clientWidth, waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { if (root.clientWidth !== before) { before = root.clientWidth; redraw(); } }, 150);
  });
  theme();
  if (data.factors.length) filter(); else redraw();
})();
