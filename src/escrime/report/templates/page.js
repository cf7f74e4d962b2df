// Where the chart answers, the still figures fold away; on paper everything that is folded opens.
document.querySelectorAll("details.stills").forEach(stills => {
  stills.open = !stills.parentElement.querySelector(".chart:not([hidden])");
});
const reveal = () => {
  let target = null;
  try { target = document.getElementById(decodeURIComponent(location.hash.slice(1))); } catch { /* a broken link leads nowhere */ }
  const folded = target?.closest("details:not([open])");
  if (folded) { folded.open = true; target.scrollIntoView(); }
};
addEventListener("hashchange", reveal);
reveal();
// What passed, folded twice, stands on paper in one paragraph of its own.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(d => { d.dataset.was = d.open; d.open ||= !d.parentElement.closest("details"); }));
addEventListener("afterprint", () => document.querySelectorAll("details").forEach(d => { d.open = d.dataset.was === "true"; }));
