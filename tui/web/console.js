// Keys go to the console from the first picture on, and again after a click beside it.
const focusConsole = () => document.querySelector(".xterm-helper-textarea")?.focus();
document.addEventListener("DOMContentLoaded", () => {
  new MutationObserver(focusConsole).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  document.addEventListener("click", focusConsole);
});
