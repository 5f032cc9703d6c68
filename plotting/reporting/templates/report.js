"use strict";
// A click on a heading sorts its table by the cells' data-sort values; empty cells stay last.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const table = heading.closest("table");
    const column = [...heading.parentElement.children].indexOf(heading);
    const upwards = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", upwards ? "ascending" : "descending");
    const body = table.tBodies[0];
    const valueOf = (row) => row.cells[column].dataset.sort;
    const compare = (first, second) => {
      const [one, two] = [valueOf(first), valueOf(second)];
      if (one === "" || two === "") return (one === "") - (two === "");
      const numbers = [Number(one), Number(two)];
      const order = numbers.some(Number.isNaN)
        ? one.localeCompare(two, "en", { numeric: true }) : numbers[0] - numbers[1];
      return upwards ? order : -order;
    };
    body.append(...[...body.rows].sort(compare));
  });
}
// On paper nothing can be unfolded.
addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details")) each.open = true;
});
