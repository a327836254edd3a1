// Sets the chosen theme before the first paint; this is why it is no module.
"use strict";

(() => {
  try {
    const theme = localStorage.getItem("meshhook.theme");
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage is switched off: the page follows the system.
  }
})();
