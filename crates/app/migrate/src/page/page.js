document.documentElement.className = "js";
document.addEventListener("DOMContentLoaded", function () {
  "use strict";
  var table = document.getElementById("images");
  var root = document.documentElement;
  if (!table) { root.className = "js ready"; return; }
  var body = document.getElementById("rows");
  var rows = Array.prototype.slice.call(body.rows);
  var heads = Array.prototype.slice.call(table.tHead.rows[0].cells);
  var SIZE = 100, page = 0, column = -1, down = false, found = rows, texts = null;
  var compare = new Intl.Collator("en", { numeric: true }).compare;

  function element(name, text) {
    var it = document.createElement(name);
    if (text !== undefined) { it.textContent = text; }
    return it;
  }
  function option(select, value, text) {
    var it = element("option", text);
    it.value = value;
    select.appendChild(it);
  }
  var bar = element("div");
  bar.className = "bar";
  var search = element("input");
  search.type = "search";
  search.placeholder = "Search names and digests";
  search.setAttribute("aria-label", "Search names and digests");
  var status = element("select");
  status.setAttribute("aria-label", "Status");
  option(status, "", "every status");
  var seen = {};
  rows.forEach(function (row) {
    var text = row.cells[0].textContent;
    if (!Object.prototype.hasOwnProperty.call(seen, text)) { seen[text] = true; option(status, text, text); }
  });
  var order = element("select");
  order.setAttribute("aria-label", "Order");
  option(order, "-1", "order of the plan");
  heads.forEach(function (head, i) { option(order, String(i), "by " + head.textContent.toLowerCase()); });
  var before = element("button", "‹"), after = element("button", "›"), place = element("span");
  before.setAttribute("aria-label", "Previous page");
  after.setAttribute("aria-label", "Next page");
  [search, status, order, before, place, after].forEach(function (it) { bar.appendChild(it); });
  table.parentNode.insertBefore(bar, table);

  function value(row, i) {
    var cell = row.cells[i];
    return cell.hasAttribute("data-v") ? cell.getAttribute("data-v") : cell.textContent;
  }
  function show() {
    var pages = Math.max(1, Math.ceil(found.length / SIZE));
    page = Math.min(Math.max(page, 0), pages - 1);
    body.textContent = "";
    var part = document.createDocumentFragment();
    found.slice(page * SIZE, page * SIZE + SIZE).forEach(function (row) { part.appendChild(row); });
    body.appendChild(part);
    var first = found.length ? page * SIZE + 1 : 0;
    place.textContent = first + "–" + Math.min(found.length, page * SIZE + SIZE) + " of " + found.length;
    before.disabled = page === 0;
    after.disabled = page === pages - 1;
    root.className = "js ready";
  }
  function find() {
    var word = search.value.trim().toLowerCase();
    if (word && !texts) {
      texts = new Map();
      rows.forEach(function (row) { texts.set(row, row.textContent.toLowerCase()); });
    }
    found = rows.filter(function (row) {
      return (!word || texts.get(row).indexOf(word) >= 0) &&
        (!status.value || row.cells[0].textContent === status.value);
    });
    if (column >= 0) {
      var keyed = found.map(function (row, i) { return { row: row, key: value(row, column), i: i }; });
      keyed.sort(function (a, b) { return (down ? compare(b.key, a.key) : compare(a.key, b.key)) || a.i - b.i; });
      found = keyed.map(function (it) { return it.row; });
    }
    heads.forEach(function (head, i) {
      if (i === column) { head.setAttribute("aria-sort", down ? "descending" : "ascending"); }
      else { head.removeAttribute("aria-sort"); }
    });
    page = 0;
    show();
  }
  heads.forEach(function (head, i) {
    var button = element("button", head.textContent);
    head.textContent = "";
    head.appendChild(button);
    button.addEventListener("click", function () {
      down = column === i ? !down : head.className === "n";
      column = i;
      order.value = String(i);
      find();
    });
  });
  search.addEventListener("input", find);
  status.addEventListener("change", find);
  order.addEventListener("change", function () {
    column = Number(order.value);
    down = column >= 0 && heads[column].className === "n";
    find();
  });
  before.addEventListener("click", function () { page -= 1; show(); });
  after.addEventListener("click", function () { page += 1; show(); });
  show();
});
