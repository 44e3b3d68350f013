// Small comforts; every page works without them: copy buttons, keys, parts that refresh themselves.

document.documentElement.classList.add("js");

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1200);
});

// "/" goes to the search, j and k move through a list, Enter opens the chosen row.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select")) return;
  const search = document.querySelector("[data-search]");
  if (event.key === "/" && search) {
    event.preventDefault();
    search.focus();
  }
  const rows = [...document.querySelectorAll("[data-rows] tbody tr")];
  const at = rows.findIndex((row) => row.classList.contains("chosen"));
  if ((event.key === "j" || event.key === "k") && rows.length) {
    const next = Math.min(Math.max(at + (event.key === "j" ? 1 : -1), 0), rows.length - 1);
    rows.forEach((row, i) => row.classList.toggle("chosen", i === next));
    rows[next].scrollIntoView({ block: "nearest" });
  }
  if (event.key === "Enter" && at >= 0) rows[at].querySelector("a")?.click();
});

// [data-live="3000"] asks for its own page again and swaps in the part with the same id.
for (const part of document.querySelectorAll("[data-live]")) {
  const wait = Number(part.dataset.live);
  const again = async () => {
    const current = document.getElementById(part.id);
    if (!current?.dataset.live) return;
    if (!document.hidden) {
      try {
        const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
        if (answer.redirected) return location.assign(answer.url);
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById(part.id);
        if (fresh && fresh.innerHTML !== current.innerHTML) current.replaceWith(fresh);
      } catch {
        // The desk is being restarted; the next round finds it.
      }
    }
    setTimeout(again, wait);
  };
  setTimeout(again, wait);
}
