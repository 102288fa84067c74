"use strict";
const PERIOD = 2000, WIDE = matchMedia("(min-width: 60rem)");
const $ = id => document.getElementById(id), main = document.querySelector("main");
let seen = 0, head = null, order = [], runs = {}, cards = {};
let chosen = "", data = null, axis = "steps", late = 0, lost = false;  // data: of the run that is chosen

// What comes from files becomes text nodes alone: nothing of it can be markup.
function put(node, ...parts) { node.append(...parts.filter(part => part !== null && part !== undefined)); return node; }
function el(tag, classes = "", ...parts) { const node = document.createElement(tag); if (classes) node.className = classes; return put(node, ...parts); }
function draw(tag, attributes, ...parts) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const name in attributes) node.setAttribute(name, attributes[name]);
  return put(node, ...parts);
}
const plain = (value, most) => value.toLocaleString("en-US", {maximumFractionDigits: most}).replace("-", "\u2212");
function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e9)) return value.toExponential(2).replace("-", "\u2212");
  return plain(value, size >= 1000 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 4);
}
function short(value) {
  for (const [unit, name] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (Math.abs(value) >= unit) return plain(value / unit, 2) + name;
  return Math.abs(value) < 1e-4 && value !== 0 ? value.toExponential(0) : plain(value, 5);
}
const megabytes = bytes => plain(bytes / 1e6, 1);
function duration(seconds) {
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60);
  return hours ? `${hours} h ${String(minutes % 60).padStart(2, "0")} min` : minutes ? `${minutes} min` : `${Math.floor(seconds)} s`;
}
function left(run) {
  if (run.state !== "running") return "";
  if (!run.ends_at) return run.steps ? "time left not known yet" : "";
  const seconds = run.ends_at - (Date.now() / 1000 + late);
  return seconds > 0 ? `${duration(seconds)} left` : "due now";
}
const share = run => run.steps ? Math.min(1, run.step / run.steps) : 0;
function track(part) { const bar = el("i"); bar.style.width = `${100 * Math.max(0, Math.min(1, part))}%`; return el("span", "track", bar); }
const returnOf = run => run.best !== null ? "evaluation" : "training, mean of the last episodes";

// At most two points a pixel: the least and the greatest of those that fall on it, in their order.
function thin(points, x) {
  const kept = [];
  let column = null, low, high;
  const close = () => { if (column !== null) kept.push(...(low === high ? [low] : low[0] < high[0] ? [low, high] : [high, low])); };
  for (const point of points) {
    const at = Math.round(x(point[0]));
    if (at !== column) { close(); column = at; low = high = point; }
    else { if (point[1] < low[1]) low = point; if (point[1] >= high[1]) high = point; }
  }
  close();
  return kept;
}
function ticks(low, high, most) {
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(value => value >= rough * 0.999), found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) found.push(n * step + 0);  // + 0: no -0
  return found;
}
const path = (points, x, y) => points.map(([a, b], n) => `${n ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
function chart(host, title, layers, {unit = "", height = 130, zero = false, limit = null, note = "", classes = ""} = {}) {
  layers = layers.map(layer => ({...layer, points: layer.points.filter(([x, y]) => x !== null && y !== null)})).filter(layer => layer.points.length);
  if (!layers.length) return;
  const figure = el("figure", classes), saying = el("span", "", note);
  host.append(put(figure, put(el("figcaption", "", unit ? `${title}, ${unit}` : title), saying)));
  const room = {left: 46, right: 8, top: 8, bottom: 20}, width = figure.clientWidth;
  const ys = layers.flatMap(layer => layer.points.flatMap(point => point.slice(1)));
  let low = ys.reduce((a, b) => Math.min(a, b)), high = ys.reduce((a, b) => Math.max(a, b));
  if (zero) { low = Math.min(0, low); high = Math.max(0, high); }
  if (limit) high = Math.max(high, limit);
  if (low === high) { const spread = Math.abs(low) * 0.1 || 1; if (!(zero && low === 0)) low -= spread; high += spread; }
  const end = layers.reduce((most, layer) => Math.max(most, layer.points[layer.points.length - 1][0]), 0) || 1;
  const x = value => room.left + value / end * (width - room.left - room.right);
  const y = value => height - room.bottom - (value - low) / (high - low) * (height - room.top - room.bottom);
  const svg = draw("svg", {width: width, height, role: "img", "aria-label": `${title}: ${note || number(ys[ys.length - 1])}`});
  for (const value of ticks(low, high, height > 200 ? 5 : 3)) put(svg,
    draw("line", {class: value === 0 ? "axis" : "grid", x1: room.left, x2: width - room.right, y1: y(value), y2: y(value)}),
    draw("text", {x: room.left - 6, y: y(value) + 4, "text-anchor": "end"}, short(value)));
  const marks = ticks(0, end, width > 500 ? 6 : 3);
  marks.forEach((value, n) => put(svg, draw("text", {x: x(value), y: height - 4, "text-anchor": x(value) > width - 30 ? "end" : "middle"},
    n === marks.length - 1 ? `${short(value)} ${axis === "steps" ? "steps" : "min"}` : short(value))));
  if (limit) put(svg, draw("line", {class: "limit", x1: room.left, x2: width - room.right, y1: y(limit), y2: y(limit)}));
  for (const {kind, colour, points} of layers) {
    if (kind === "band") {
      const upper = thin(points.map(point => [point[0], point[2]]), x), lower = thin(points.map(point => [point[0], point[1]]), x).reverse();
      put(svg, draw("path", {class: `band ${colour}`, d: path(upper, x, y) + path(lower, x, y).replace("M", "L") + "Z"}));
      continue;
    }
    const kept = thin(points, x), dots = kind === "dots" || kept.length === 1;
    put(svg, draw("path", {class: `${dots ? "dots" : "line"} ${colour}`,
      d: dots ? kept.map(([a, b]) => `M${x(a).toFixed(1)} ${y(b).toFixed(1)}h0`).join("") : path(kept, x, y)}));
  }
  const cross = draw("line", {class: "cross", y1: room.top, y2: height - room.bottom, visibility: "hidden"}), asked = layers[layers.length - 1].points;
  const leave = () => { cross.setAttribute("visibility", "hidden"); saying.textContent = note; };
  svg.addEventListener("pointermove", event => {
    const at = event.clientX - svg.getBoundingClientRect().left;
    const near = asked.reduce((best, point) => Math.abs(x(point[0]) - at) < Math.abs(x(best[0]) - at) ? point : best);
    for (const name of ["x1", "x2"]) cross.setAttribute(name, x(near[0]));
    cross.setAttribute("visibility", "visible");
    saying.textContent = `${number(near[1])} at ${axis === "steps" ? "step " + plain(near[0], 0) : plain(near[0], 1) + " min"}`;
  });
  svg.addEventListener("pointerleave", leave);
  put(figure, put(svg, cross));
}
function spark(values) {
  const width = 110, height = 34, low = Math.min(...values), high = Math.max(...values);
  const x = n => values.length < 2 ? width : n / (values.length - 1) * width, y = value => high === low ? height / 2 : 2 + (high - value) / (high - low) * (height - 4);
  const points = values.map((value, n) => [n, value]);
  return draw("svg", {width, height, "aria-hidden": "true"}, draw("path", {class: `c0 ${points.length > 1 ? "line" : "dots"}`, d: points.length > 1 ? path(points, x, y) : points.length ? `M${width} ${height / 2}h0` : ""}));
}

function showCard(id) {
  const run = runs[id], card = cards[id] ??= el("button", "card"), missed = run.missed_periods;
  card.replaceChildren(el("strong", "", run.env), el("span", `state ${run.state}`, run.state),
    el("span", "soft all", [run.method, run.seed === null ? null : `seed ${run.seed}`, run.name.split("/").pop()].filter(Boolean).join(" · ")),
    el("span", "value", run.return === null ? "–" : number(run.return)), spark(run.spark),
    put(el("span", `all ${run.state}`), track(share(run))),
    el("span", "soft all", `${plain(run.step, 0)}${run.steps ? " of " + plain(run.steps, 0) : ""} steps`, el("span", "left"), missed ? el("span", "warn", ` · ${plain(missed, 0)} periods missed`) : null));
  card.onclick = () => { location.hash = new URLSearchParams({run: id}); };
}
function showList() {
  for (const id in cards) if (!runs[id]) { cards[id].remove(); delete cards[id]; }
  order.forEach((id, n) => { if ($("runs").children[n] !== cards[id]) $("runs").insertBefore(cards[id], $("runs").children[n] ?? null); });
  for (const id of order) {
    cards[id].setAttribute("aria-current", id === chosen);
    const rest = left(runs[id]);
    cards[id].querySelector(".left").textContent = rest && ` · ${rest}`;
  }
  main.className = `${order.length > 1 ? "several" : ""} ${runs[chosen] ? "chosen" : ""}`;
}
function showHead() {
  const running = order.filter(id => runs[id].state === "running").length, failed = order.filter(id => runs[id].state === "failed").length;
  const counts = `${order.length} run${order.length === 1 ? "" : "s"} · ${running} running${failed ? ` · ${failed} failed` : ""}`;
  $("head").replaceChildren(el("h1", "", head.folder), el("p", "soft", counts, head.celsius === null ? null : ` · board ${plain(head.celsius, 0)} °C`), ...head.studies.map(line => el("p", "soft", line)));
  if (!order.length) put($("head"), put(el("p", "", "Nothing has been trained here yet. Begin with "), el("code", "", "edgedst train"), "; it appears here by itself."));
  if (lost) put($("head"), el("p", "note", "No answer: is edgedst watch still running? What stands here is as it was."));
  document.title = order.length === 1 && runs[chosen] ? `${number(runs[chosen].return)} · ${runs[chosen].env}` : `${running} running · edgedst watch`;
}
function tile(title, value, unit, notes, {bad = false, part = null} = {}) {
  return put(el("section", `tile${bad ? " bad" : ""}`, el("h3", "", title), el("b", "", value, unit ? el("span", "unit", ` ${unit}`) : null)), part === null ? null : track(part), ...notes.filter(Boolean).map(note => el("p", "", note)));
}
function tiles(run) {
  const found = [tile("Return", run.return === null ? "–" : number(run.return), "",
    [`${returnOf(run)}${run.newest.evaluation_sd ? `, ± ${number(run.newest.evaluation_sd)}` : ""}`, run.best && `best ${number(run.best[0])} at step ${plain(run.best[1], 0)}`])];
  if (run.missed_periods !== null) found.push(tile("Missed periods", plain(run.missed_periods, 0), "", [
    `${number(run.newest.missed_periods)} in the last episode, at ${number(run.newest.rate_kept_hz)} Hz`,
    run.newest.jitter_p99_ms === undefined ? "" : `jitter p99 ${number(run.newest.jitter_p99_ms)} ms`], {bad: run.missed_periods > 0}));
  if (run.budget_bytes) {
    const used = run.peak_bytes, now = run.newest.rss_bytes;
    found.push(tile("Memory, peak", used === null ? "–" : megabytes(used), `of ${megabytes(run.budget_bytes)} MB`,
      [used === null ? "told with the first evaluation, or at the end" : now === undefined ? "" : `${megabytes(now)} at the last evaluation`], {bad: used > run.budget_bytes, part: used / run.budget_bytes}));
  }
  if (head.celsius !== null && run.state === "running") found.push(tile("Temperature", plain(head.celsius, 0), "°C", ["of this board, its hottest zone"]));
  if (run.watts !== null) found.push(tile("Power", number(run.watts), "W", [run.watts_modelled ? "modelled, not measured" : ""]));
  found.push(tile("Speed", number(run.steps_per_second), "steps/s", [run.newest.updates_per_step === undefined ? "" : `${number(run.newest.updates_per_step)} updates a step`]));
  const loss = name => number(run.newest[name]);
  if (run.best === null && run.newest.critic_loss !== undefined) found.push(tile("Critic loss", loss("critic_loss"), "", [`actor loss ${loss("actor_loss")}, mean Q ${loss("mean_q")}`, "at the last checkpoint"]));
  found.push(tile("Progress", run.steps ? `${plain(100 * share(run), 1)}` : plain(run.step, 0), run.steps ? "%" : "steps",
    [`${plain(run.step, 0)}${run.steps ? " of " + plain(run.steps, 0) : ""} steps`, left(run), run.clock && `${duration(run.clock[1])} trained`], {part: share(run)}));
  return found;
}
// Seconds at a step: told with evaluations and the checkpoint, in between and behind the last one in proportion.
function clock(run) {
  const known = [[0, 0], ...column("evaluations", "seconds"), ...(run.clock ? [run.clock] : [])].filter(([step, seconds]) => step !== null && seconds !== null);
  const anchors = known.filter(([step], n) => !n || step > known[n - 1][0]);
  let n = 1;
  return step => {
    if (anchors.length < 2) return null;
    if (n >= anchors.length || step < anchors[n - 1][0]) n = 1;
    while (n < anchors.length - 1 && step > anchors[n][0]) n++;
    const [[a, s], [b, t]] = [anchors[n - 1], anchors[n]];
    return (s + (step - a) / (b - a) * (t - s)) / 60;
  };
}
const value = (line, name) => typeof line[name] === "number" && Math.abs(line[name]) < 1e100 ? line[name] : null;
const column = (kind, ...names) => data[kind].map(line => [line.step, ...names.map(name => value(line, name))]);
// What metrics.jsonl has beyond the lines that are here; all of it where a resumed run had cut them off.
function take(news) {
  if (news.began !== data?.began) data = {evaluations: [], episodes: []};
  let line;
  for (const text of news.lines) {
    try { line = JSON.parse(text); } catch { continue; }
    if (!Number.isInteger(line?.step)) continue;
    if (value(line, "evaluation_return") !== null) data.evaluations.push(line);
    else if (value(line, "episode_return") !== null) data.episodes.push(line);
  }
  Object.assign(data, news);
}
// Over at most 300 stretches: seconds are told in tenths, which may be few between two evaluations.
function slope(rows) {
  const points = rows.filter((_, n) => n % Math.ceil(rows.length / 300) === 0);
  return points.slice(1).map((point, n) => [point[0], point[1] !== null && point[2] > points[n][2] && points[n][1] !== null ? (point[1] - points[n][1]) / (point[2] - points[n][2]) : null]);
}
function showRun() {
  const run = runs[chosen], article = $("run");
  if (!run) { article.replaceChildren(); return; }
  if (article.dataset.id !== chosen || !article.firstChild) {
    article.dataset.id = chosen;
    const back = el("button", "", "‹ All runs"), bar = el("div", "bar", el("span", "soft", "over"));
    back.id = "back";
    back.onclick = () => { location.hash = ""; };
    for (const name of ["steps", "minutes"]) { const button = el("button", "axis-choice", name); button.onclick = () => { axis = name; showRun(); }; put(bar, button); }
    article.replaceChildren(back, el("div", "about"), bar, el("div", "charts"), el("div", "lists"));
  }
  for (const button of article.querySelectorAll(".axis-choice")) button.setAttribute("aria-pressed", button.textContent === axis);
  const [about, charts, lists] = ["about", "charts", "lists"].map(name => article.querySelector(`.${name}`));
  about.replaceChildren(el("div", "title", el("h2", "", run.env), el("span", `state ${run.state}`, run.state), el("span", "soft", `${run.method}${run.seed === null ? "" : ` · seed ${run.seed}`}`)), el("p", "soft", run.name),
    ...(run.why ? [el("p", run.state === "failed" ? "note" : "note plain", run.why)] : []), ...run.notes.map(note => el("p", "note", note)), put(el("div", "tiles"), ...tiles(run)));
  if (!data) { charts.replaceChildren(); lists.replaceChildren(); return; }
  const minutes = clock(run), over = points => axis === "steps" ? points : points.map(([step, ...rest]) => [minutes(step), ...rest]);
  const line = (kind, name, factor = 1) => over(column(kind, name)).map(([x, value]) => [x, value === null ? null : value * factor]);
  charts.replaceChildren();
  const band = over(column("evaluations", "evaluation_return", "evaluation_sd")).filter(row => row[1] !== null && row[2]).map(([x, mean, sd]) => [x, mean - sd, mean + sd]);
  const evaluations = line("evaluations", "evaluation_return"), training = line("episodes", "episode_return");
  chart(charts, "Return", evaluations.length ? [{kind: "dots", colour: "c2", points: training}, {kind: "band", colour: "c0", points: band}, {kind: "line", colour: "c0", points: evaluations}] : [{kind: "line", colour: "c0", points: training}],
    {height: 250, classes: "first", note: evaluations.length ? `line: evaluations${band.length ? " ± sd" : ""}${training.length ? "; dots: training" : ""}` : "training episodes"});
  const one = (title, kind, name, options = {}, colour = "c0") => chart(charts, title, [{kind: options.kind ?? "line", colour, points: line(kind, name, options.factor)}], options);
  one("Missed periods an episode", "episodes", "missed_periods", {zero: true}, "c1");
  one("Jitter p99", "episodes", "jitter_p99_ms", {zero: true, unit: "ms"}, "c1");
  one("Updates a step", "episodes", "updates_per_step", {zero: true});
  chart(charts, "Steps a second", [{kind: "line", colour: "c0", points: over(slope(column("evaluations", "step", "seconds")))}], {zero: true});
  one("Memory", "evaluations", "rss_bytes", {zero: true, unit: "MB", factor: 1e-6, limit: run.budget_bytes && run.budget_bytes / 1e6, note: "dashed: budget"});
  chart(charts, "Power", [{kind: "line", colour: "c1", points: over(slope(column("evaluations", "energy_joules", "seconds")))}], {zero: true, unit: "W", note: run.watts_modelled ? "modelled" : ""});
  for (const [title, name] of [["Critic loss", "critic_loss"], ["Actor loss", "actor_loss"], ["Mean Q", "mean_q"], ["Alpha", "alpha"], ["Entropy", "entropy"]])
    one(title, "evaluations", name, {note: `now ${number(run.newest[name])}`}, "c3");
  if (data.topology.layers.some(([, from, to, there]) => there < from * to)) one("Connections moved", "evaluations", "connections_moved", {zero: true, note: "by the last evolution"}, "c4");
  lists.replaceChildren();
  const list = (title, note, rows) => { if (rows.length) put(lists, put(el("section", "", el("h3", "", title), el("p", "soft", note)), put(el("ul"), ...rows.map(([name, part, text]) => el("li", "", el("span", "", name), track(part), el("span", "", text)))))); };
  const planned = data.ledger.reduce((sum, [, size]) => sum + size, 0), free = (run.budget_bytes ?? planned) - planned;
  list("What the budget is for", "as it was planned, in MB", [...data.ledger, ...(free > 0 ? [["not used", free]] : [])].map(([name, size]) => [name, size / (run.budget_bytes ?? planned), plain(size / 1e6, 2)]));
  const {step, since, layers} = data.topology;
  list("Connections, layer by layer", step === null ? "" : `at step ${plain(step, 0)}${step > since ? `; moved: not there at step ${plain(since, 0)}` : ""}`,
    layers.map(([name, from, to, there, fresh]) => [`${name}: ${from} → ${to}`, there / from / to,
      `${plain(100 * there / from / to, 1)} %${step > since ? `, ${plain(fresh, 0)} moved` : ""}`]));
}
function choose() {
  const wanted = new URLSearchParams(location.hash.slice(1)).get("run");
  const usual = order.length === 1 || WIDE.matches ? runs[chosen] ? chosen : order.find(id => runs[id].state === "running") ?? order[0] ?? "" : "";
  const next = runs[wanted] ? wanted : usual;
  if (next !== chosen) { chosen = next; data = null; if (!WIDE.matches) scrollTo(0, 0); return true; }
  return false;
}
async function poll() {
  const name = chosen, before = data, answer = await fetch("news?" + new URLSearchParams({seen, name, began: data?.began ?? 0, at: data?.at ?? 0}), {cache: "no-store"});
  if (!answer.ok) throw new TypeError("no answer");
  const news = await answer.json(), warmer = news.head.celsius !== head?.celsius;
  ({count: seen, head, order} = news); late = news.now - Date.now() / 1000;
  Object.assign(runs, news.runs);
  for (const id in runs) if (!order.includes(id)) delete runs[id];
  for (const id in news.runs) showCard(id);
  const changed = choose() || warmer || chosen in news.runs || news.run?.lines.length > 1 || !runs[chosen];
  if (news.run && name === chosen && data === before) take(news.run);
  showHead(); showList();
  if (changed) showRun();
}
let timer = 0, busy = false;
async function turn() {
  if (busy) return;
  clearTimeout(timer); busy = true;
  try { await poll(); lost = false; }
  catch (error) { if (!(error instanceof TypeError)) console.error(error); lost = true; if (head) showHead(); else $("head").replaceChildren(el("p", "note", "No answer yet.")); }
  busy = false;
  if (!document.hidden) timer = setTimeout(turn, !lost && runs[chosen] && (!data || data.more) ? PERIOD / 8 : PERIOD);
}
addEventListener("hashchange", () => { if (choose()) { showList(); showRun(); turn(); } });
addEventListener("visibilitychange", () => { if (!document.hidden) turn(); });
let shownWidth = innerWidth;
addEventListener("resize", () => { if (innerWidth !== shownWidth) { shownWidth = innerWidth; showRun(); } });
turn();
