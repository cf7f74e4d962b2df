// The board answers: column heads sort their own table, and the words in the box choose rows and curves.
const form = document.getElementById("filter"), count = document.getElementById("count");

function sortBy(head, table) {
  const down = head.hasAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : head.dataset.kind === "number";
  const at = [...head.parentElement.children].indexOf(head), body = table.tBodies[0];
  const number = head.dataset.kind === "number";
  const value = row => { const text = row.cells[at].dataset.sort; return number ? +text : text; };
  const order = (a, b) => number ? a - b : a.localeCompare(b, undefined, { numeric: true });
  const rows = [...body.rows].sort((a, b) => (down ? -1 : 1) * order(value(a), value(b)));
  body.append(...rows);
  table.querySelectorAll("[aria-sort]").forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
}

document.querySelectorAll(".group table").forEach(table => {
  table.querySelectorAll("th[data-key]").forEach(head => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sortBy(head, table));
    head.replaceChildren(button);
  });
});

function filter() {
  const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const holds = text => words.every(word => text.toLowerCase().includes(word));
  let shown = 0, all = 0;
  document.querySelectorAll(".group").forEach(group => {
    const about = group.querySelector("h2").textContent;
    const cells = row => [...row.cells].map(cell => cell.textContent).join(" ") + [...row.querySelectorAll("[title]")].map(e => e.title).join(" ");
    group.querySelectorAll("tbody tr").forEach(row => {
      const left = ["believe", "newest"].some(name => form.elements[name]?.checked && row.dataset[name] === "no");
      row.hidden = left || !holds(about + " " + cells(row));
      shown += !row.hidden;
      all += 1;
    });
    group.querySelectorAll(".curve").forEach(curve => { curve.hidden = !holds(about + " " + curve.textContent + " " + curve.querySelector("[title]").title); });
    group.hidden = ![...group.querySelectorAll("tbody tr, .curve")].some(part => !part.hidden);
  });
  count.textContent = shown === all ? "" : `${shown} of ${all} rows`;
}

if (form) {
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", event => event.preventDefault());
}
