// What scrolls sideways can be scrolled with the keyboard as well.
"use strict";
function makeScrollableFocusable() {
  for (const part of document.querySelectorAll("article pre, article .table-wrapper, article .output, article .formula")) {
    if (part.scrollWidth > part.clientWidth + 1) {
      part.tabIndex = 0;
      part.setAttribute("role", "group");
      part.setAttribute("aria-label", "wider than the page, scrolls sideways");
    } else {
      part.removeAttribute("tabindex");
      part.removeAttribute("role");
      part.removeAttribute("aria-label");
    }
  }
}
addEventListener("load", () => {
  document.querySelector("aside.sidebar-drawer")?.setAttribute("aria-label", "All pages");
  document.querySelector("aside.toc-drawer")?.setAttribute("aria-label", "This page");
  makeScrollableFocusable();
});
addEventListener("resize", makeScrollableFocusable);
