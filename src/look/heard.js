// Shows the frame that belongs to what is heard, and lets one sound play at a time.
for (const clip of document.querySelectorAll(".heard")) {
  const sprite = clip.querySelector(".film img");
  const sounds = [...clip.querySelectorAll("audio")];
  const show = (sound) => {
    if (!sprite) return;
    const { frames, columns, rows, rate } = sprite.dataset;
    const k = Math.max(0, Math.min(frames - 1, Math.floor(sound.currentTime * rate + 0.001)));
    const x = (k % columns) / columns, y = Math.floor(k / columns) / rows;
    sprite.style.transform = `translate(${-100 * x}%, ${-100 * y}%)`;
  };
  const follow = (sound) => {
    show(sound);
    if (!sound.paused) requestAnimationFrame(() => follow(sound));
  };
  for (const sound of sounds) {
    sound.addEventListener("play", () => {
      for (const other of document.querySelectorAll("audio")) if (other !== sound) other.pause();
      follow(sound);
    });
    sound.addEventListener("seeked", () => show(sound));
  }
}
