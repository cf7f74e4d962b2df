// Filters of the pictures, by class and by outcome; the first few are shown until more are asked for.
const FIRST = 6;
document.querySelectorAll(".gallery").forEach(root => {
  const form = root.querySelector(".controls"), cards = [...root.querySelectorAll(".card")], all = root.querySelector(".all");
  const choice = name => form.elements.namedItem(name)?.value || "";
  let most = FIRST;
  const update = () => {
    const fits = cards.filter(card => ["truth", "fooled"].every(name => !choice(name) || card.dataset[name] === choice(name)));
    const shown = new Set(fits.slice(0, most));
    for (const card of cards) card.classList.toggle("away", !shown.has(card));
    all.hidden = shown.size === fits.length;
    all.textContent = `Show all ${fits.length}`;
    const count = form.querySelector(".count");
    count.textContent = fits.length ? `${shown.size} of ${fits.length} images` : "No image is both; choose “all” in one of the two.";
  };
  all.addEventListener("click", () => { most = Infinity; update(); });
  form.addEventListener("change", update);
  form.addEventListener("submit", event => event.preventDefault());
  form.hidden = !form.querySelector("select");
  update();
});
