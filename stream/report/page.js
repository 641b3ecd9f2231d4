"use strict";
// Sorts a table by the column whose name is clicked; a second click turns the order round.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const column = head.cellIndex;
    const falling = head.getAttribute("aria-sort") !== "descending" && head.matches(".number")
      || head.getAttribute("aria-sort") === "ascending";
    const order = (a, b) => {
      const [left, right] = [a.cells[column], b.cells[column]];
      if ("key" in left.dataset && "key" in right.dataset) {
        const [one, other] = [Number(left.dataset.key), Number(right.dataset.key)];
        return one < other ? -1 : one > other ? 1 : 0;
      }
      return left.textContent.localeCompare(right.textContent);
    };
    const rows = Array.from(body.rows).sort((a, b) => (falling ? order(b, a) : order(a, b)));
    for (const other of head.parentElement.cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    body.append(...rows);
  });
}
