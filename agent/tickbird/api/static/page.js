"use strict";

// Everything is set as text, never as HTML: route names and log lines come from elsewhere.

const STALL_SECONDS = 0.1;
const $ = (id) => document.getElementById(id);

function make(tag, text, style) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (style) element.className = style;
  return element;
}

function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.001) return `${Math.round(value * 1e6)} µs`;
  if (value < 1) return `${(value * 1e3).toFixed(value < 0.01 ? 1 : 0)} ms`;
  return `${value.toFixed(value < 10 ? 1 : 0)} s`;
}

function share(value) {
  if (value === null || value === undefined) return "–";
  const percent = value * 100;
  return `${percent.toFixed(percent === 0 || percent >= 10 ? 0 : percent >= 1 ? 1 : 2)} %`;
}

const bytes = (value) => (value === null ? "–" : `${Math.round(value / 1e6)} MB`);
const count = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en"));

function sparkline(windows) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  const known = windows.filter((w) => w.delay_max_seconds !== null);
  if (known.length < 2) return svg;
  const from = known[0].start;
  const span = known[known.length - 1].start - from || 1;
  const top = Math.max(STALL_SECONDS, ...known.map((w) => w.delay_max_seconds));
  const x = (w) => (((w.start - from) / span) * 200).toFixed(1);
  const y = (w) => (30 - (w.delay_max_seconds / top) * 28).toFixed(1);
  svg.setAttribute("viewBox", "0 0 200 32");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `worst delay per second, highest ${seconds(top)}`);
  const path = document.createElementNS(namespace, "path");
  path.setAttribute("d", known.map((w, i) => `${i ? "L" : "M"}${x(w)} ${y(w)}`).join(""));
  svg.append(path);
  for (const w of known.filter((one) => one.delay_max_seconds >= STALL_SECONDS)) {
    const mark = document.createElementNS(namespace, "line");
    for (const [name, value] of Object.entries({ x1: x(w), x2: x(w), y1: 31, y2: y(w) })) mark.setAttribute(name, value);
    svg.append(mark);
  }
  return svg;
}

function row(target, isWorker) {
  const line = make("tr", undefined, isWorker ? "worker" : "");
  const name = make("td", target.key + " ");
  name.append(make("small", `${target.runtime} ${target.pid ?? ""}`));
  const lag = make("td");
  if (target.loop) lag.append(sparkline(target.loop.windows));
  const delay = target.loop?.delay_seconds;
  const cells = [share(target.cpu.utilization), bytes(target.memory.rss_bytes), seconds(delay?.p99), seconds(delay?.max)];
  const more = [
    count(target.http?.requests),
    share(target.http?.error_ratio),
    seconds(target.http?.duration_seconds.p99),
    count(target.logs?.read),
  ];
  line.append(name, ...cells.map((text) => make("td", text)), lag, ...more.map((text) => make("td", text)));
  return line;
}

function article(finding) {
  const box = make("article", undefined, finding.status);
  const title = make("p");
  title.append(make("strong", finding.status.toUpperCase(), finding.status), ` ${finding.title}`);
  box.append(title);
  if (finding.advice) box.append(make("p", finding.advice));
  return box;
}

function show(report) {
  const order = ["fail", "warn", "unknown"];
  const rows = report.targets.flatMap((t) => [row(t, false), ...t.workers.map((w) => row(w, true))]);
  const found = [...report.targets.flatMap((t) => [t, ...t.workers]), report]
    .flatMap((one) => one.findings)
    .filter((finding) => order.includes(finding.status))
    .sort((a, b) => order.indexOf(a.status) - order.indexOf(b.status));
  $("instance").textContent = report.instance;
  $("targets").replaceChildren(...rows);
  $("findings").replaceChildren(...(found.length ? found.map(article) : [make("p", "Nothing to report.")]));
  setStatus(report.status, report.status);
}

function setStatus(text, style) {
  $("status").textContent = text;
  $("status").className = `badge ${style}`;
}

async function refresh() {
  try {
    const answer = await fetch(`/api/v1/health?since=${$("since").value}`, { cache: "no-store" });
    if (!answer.ok) throw new Error((await answer.json()).error);
    show(await answer.json());
  } catch (error) {
    setStatus(`the agent does not answer: ${error.message}`, "fail");
  }
}

async function watch() {
  await refresh();
  setTimeout(watch, document.hidden ? 10000 : 2000);
}

$("since").addEventListener("change", refresh);
watch();
