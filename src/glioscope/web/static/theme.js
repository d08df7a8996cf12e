// Light or dark, as chosen here before, else as the system has it. Runs before the page is drawn.
const dark = matchMedia("(prefers-color-scheme: dark)");

function chosen() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null; // a browser that keeps nothing
  }
}

function paint() {
  document.documentElement.dataset.theme = chosen() || (dark.matches ? "dark" : "light");
}

paint();
dark.addEventListener("change", paint);
document.addEventListener("DOMContentLoaded", () => {
  document.getElementById("theme").addEventListener("click", () => {
    try {
      localStorage.setItem("theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    } catch {
      return;
    }
    paint();
  });
});
