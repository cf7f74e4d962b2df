// One slider moves every recorded image along ε: from right to fooled.
document.querySelectorAll(".watch").forEach(root => {
  const slide = root.querySelector(".slide"), stage = root.querySelector(".stage");
  const input = slide.querySelector("input"), output = slide.querySelector("output");
  const strips = [...root.querySelectorAll(".strip")].map(strip => {
    const frames = [...strip.querySelectorAll("li")];
    const image = document.createElement("img"), predicted = document.createElement("span"), bar = document.createElement("meter");
    const figure = document.createElement("div"), name = document.createElement("span"), id = document.createElement("code");
    name.className = "what";
    name.textContent = `a “${strip.dataset.truth}”`;
    id.textContent = strip.dataset.image;
    predicted.className = "predicted";
    bar.min = 0;
    bar.max = 1;
    bar.setAttribute("aria-label", "confidence");
    figure.className = "seat";
    figure.append(name, image, predicted, bar, id);
    stage.append(figure);
    return { frames, figure, image, predicted, bar };
  });
  const longest = strips.reduce((best, strip) => strip.frames.length > best.length ? strip.frames : best, []);
  const update = () => {
    const here = longest[input.value], eps = here.dataset.eps, text = here.querySelector(".eps").textContent.replace("ε = ", "");
    let wrong = 0;
    for (const { frames, figure, image, predicted, bar } of strips) {
      const frame = frames.reduce((best, one) => Math.abs(one.dataset.eps - eps) < Math.abs(best.dataset.eps - eps) ? one : best);
      const source = frame.querySelector("img"), fooled = frame.className === "wrong";
      image.src = source.src;
      image.alt = source.alt;
      predicted.textContent = `${fooled ? "✗" : "✓"} ${frame.querySelector(".predicted").textContent}`;
      figure.className = fooled ? "seat wrong" : "seat right";
      bar.value = frame.dataset.confidence;
      wrong += fooled;
    }
    const levels = text.includes("/") ? "" : ` (${+(eps * 255).toPrecision(3)}/255)`;
    output.textContent = `${text}${levels}: ${wrong} of ${strips.length} wrong`;
    input.setAttribute("aria-valuetext", `ε = ${output.textContent}`);
  };
  const play = slide.querySelector("button");
  let playing = 0;
  const stop = () => { clearInterval(playing); playing = 0; play.textContent = "▶ play"; };
  play.addEventListener("click", () => {
    if (playing) return stop();
    if (input.value === input.max) { input.value = 0; update(); }
    play.textContent = "■ stop";
    playing = setInterval(() => {
      input.stepUp();
      update();
      if (input.value === input.max) stop();
    }, 700);
  });
  input.addEventListener("input", () => { stop(); update(); });
  slide.hidden = stage.hidden = false;
  root.classList.add("live");
  update();
});
