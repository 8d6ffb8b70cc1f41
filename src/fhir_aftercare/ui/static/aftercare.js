// What the pages do more with a script than without: nothing of it is needed. No patient data is kept in the browser.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const two = (number) => String(number).padStart(2, "0");

  // --- times that count down: <time data-until="2026-09-16T13:35:00-04:00">
  const count = () => {
    for (const each of all("[data-until]")) {
      const left = Math.round((Date.parse(each.dataset.until) - Date.now()) / 1000);
      const minutes = Math.floor(Math.abs(left) / 60);
      const clock = `${two(minutes)}:${two(Math.abs(left) % 60)}`;
      each.textContent = left >= 0 ? `in ${clock}` : `${clock} late`;
      each.classList.toggle("late", left < 0);
    }
  };
  setInterval(count, 1000);

  // --- leaving with something typed and not saved: <form data-guard>
  const changed = new Set();
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
    const wrong = document.querySelector(".faults");
    if (wrong && !document.title.startsWith("Error: ")) document.title = `Error: ${document.title}`;
    if (!wrong) document.title = document.title.replace(/^Error: /, "");
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
