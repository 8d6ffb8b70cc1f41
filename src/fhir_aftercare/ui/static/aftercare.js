// What the pages do more with a script than without: nothing of it is needed. No patient data is kept in the browser.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const two = (number) => String(number).padStart(2, "0");
  const changed = new Set();

  // --- times that count down: <time data-until="2026-09-16T13:35:00-04:00">, by the server's clock and not this one's
  const ahead = (Date.parse(document.body.dataset.now) || Date.now()) - Date.now();
  const count = () => {
    const now = Date.now() + ahead;
    for (const each of all("[data-until]")) {
      const left = Math.round((Date.parse(each.dataset.until) - now) / 1000);
      const minutes = Math.floor(Math.abs(left) / 60);
      const clock = `${two(minutes)}:${two(Math.abs(left) % 60)}`;
      each.textContent = left >= 0 ? `in ${clock}` : `${clock} late`;
      each.classList.toggle("late", left < 0);
    }
    // A time field that says "now" (<input data-clock="America/New_York">) goes on until something is typed in its form.
    for (const each of all("[data-clock]")) {
      const touched = each.value !== each.defaultValue || changed.has(each.form) || each === document.activeElement;
      if (touched || /[A-Z]/.test(each.defaultValue)) continue; // a clock that comes twice has its zone's name
      const there = new Intl.DateTimeFormat("en-GB", { timeZone: each.dataset.clock, hour: "2-digit", minute: "2-digit" });
      each.defaultValue = each.value = there.format(now);
    }
  };
  setInterval(count, 1000);

  // --- leaving with something typed and not saved: <form data-guard>
  const left = (form) => changed.delete(form);
  document.addEventListener("input", (event) => {
    const form = event.target.closest("form[data-guard]");
    if (form) changed.add(form);
  });
  document.addEventListener("submit", (event) => left(event.target));
  addEventListener("beforeunload", (event) => {
    const living = [...changed].filter((form) => form.isConnected);
    if (living.length || document.querySelector(".unsaved")) event.preventDefault();
  });

  // --- what could not be sent stays on the page, marked
  const unsaved = (form, text) => {
    if (!form) return;
    form.classList.add("unsaved");
    changed.add(form);
    let told = form.querySelector(".not-saved");
    if (!told) {
      told = document.createElement("p");
      told.className = "not-saved";
      told.setAttribute("role", "alert");
      form.prepend(told);
    }
    told.textContent = text;
  };
  const formOf = (event) => event.detail.elt.closest("form");
  document.addEventListener("htmx:sendError", (event) =>
    unsaved(formOf(event), "Not saved. The server could not be reached. What you typed is still here. Try again."));
  document.addEventListener("htmx:timeout", (event) =>
    unsaved(formOf(event), "Not saved, as far as is known. No answer came in time. Try again: nothing is written twice."));
  document.addEventListener("htmx:responseError", (event) => {
    const page = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
    const words = all("main h1, main p", page).map((each) => each.textContent.trim()).join(" ");
    unsaved(formOf(event), `Not saved. ${words || "The server answered with an error."}`);
  });
  document.addEventListener("htmx:afterSwap", () => arrive());

  // --- where the eye and the keyboard go after something was done
  const arrive = () => {
    count();
    for (const each of all(".scripted")) each.hidden = false;
    const target = document.querySelector(".faults") || document.querySelector("[data-next]") || null;
    if (target) target.focus();
  };
  document.addEventListener("DOMContentLoaded", arrive);
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-print]")) print();
  });

  // --- signed out after a time without use, with a warning before (WCAG 2.2.1)
  const idle = Number(document.body.dataset.idle || 0);
  if (idle) {
    const box = document.getElementById("idle");
    const form = document.getElementById("sign-out");
    const warnAt = Math.max(idle - 120, idle / 2);
    let since = Date.now();
    const used = () => { since = Date.now(); box.hidden = true; };
    document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) used(); });
    document.getElementById("stay").addEventListener("click", async () => {
      const answer = await fetch(document.body.dataset.alive, { method: "POST", body: new URLSearchParams(new FormData(form)) })
        .catch(() => null);
      if (answer && answer.ok) used();
    });
    setInterval(() => {
      const seconds = (Date.now() - since) / 1000;
      if (seconds > idle) {
        changed.clear();
        for (const each of all(".unsaved")) each.classList.remove("unsaved");
        form.submit();
      } else if (seconds > warnAt && box.hidden) {
        box.hidden = false;
        document.getElementById("stay").focus();
      }
    }, 1000);
  }
})();
