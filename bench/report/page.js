"use strict";
(() => {
  const root = document.documentElement;

  // Theme: the reader's last choice, else the system's.
  const remembered = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
  if (remembered) root.dataset.theme = remembered;
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* a file opened without storage */ }
  });

  // Sorting: within each body of a table, so that floors and controls stay apart; empty cells last.
  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.sort ?? cell.textContent.trim();
    return text === "" || text === "-" ? null : Number.isNaN(Number(text)) ? text.toLowerCase() : Number(text);
  };
  const compare = (a, b) => (typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1);
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        for (const body of table.tBodies) {
          const rows = [...body.rows].filter((row) => !row.classList.contains("head"));
          const keyed = rows.map((row) => [value(row, column), row]);
          keyed.sort(([a], [b]) => (a === null ? (b === null ? 0 : 1) : b === null ? -1 : up ? compare(a, b) : compare(b, a)));
          body.append(...keyed.map(([, row]) => row));
        }
      });
    });
  }

  // Width: the columns that answer the question first, all of them when asked.
  for (const table of document.querySelectorAll(".group table")) {
    const more = table.tHead.querySelectorAll(".more").length;
    if (!more) continue;
    const button = document.createElement("button");
    button.type = "button";
    const show = (few) => {
      table.classList.toggle("few", few);
      button.textContent = few ? `Show ${more} more columns` : "Show fewer columns";
      button.setAttribute("aria-expanded", String(!few));
    };
    button.addEventListener("click", () => show(!table.classList.contains("few")));
    table.closest(".wide").before(button);
    show(true);
  }

  // Filtering: whatever says which data set, backbone or method it is of.
  const form = document.getElementById("filter");
  const things = [...document.querySelectorAll("[data-dataset], [data-label]")];
  const filter = () => {
    const wanted = Object.fromEntries(new FormData(form));
    const text = wanted.text.toLowerCase();
    let rows = 0;
    for (const thing of things) {
      const mine = thing.dataset;
      let on = ["dataset", "backbone", "label"].every((key) => !wanted[key] || !mine[key] || mine[key] === wanted[key]);
      if (on && text && mine.label) on = thing.textContent.toLowerCase().includes(text);
      thing.toggleAttribute("data-off", !on);
      if (on && mine.label && thing.closest(".group:not([data-off]) > .wide")) rows += 1;
    }
    document.getElementById("count").textContent = `${rows} rows`;
  };
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();

  // A number leads to its runs: the link goes to a summary, which the browser focuses; open what it sums up.
  const open = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const details = target?.closest("details");
    if (details) {
      details.removeAttribute("data-off");
      details.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", open);
  open();
})();
