// What pages need beyond htmx: pictures that are dropped or pasted, the dialog, and words when the server is gone.
"use strict";

const slotOf = (element) => element.closest("[data-slot]");
const isFull = (slot) => slot.querySelector("[name=id]").value !== "" || slot.querySelector(".file").files.length > 0;

// On a phone the results come first.
const filters = document.querySelector(".filters");
if (filters && matchMedia("(max-width: 52rem)").matches) filters.open = false;

/** Shows the picture that a slot got, and lets its form know. */
function fill(slot, files) {
  const input = slot.querySelector(".file");
  if (files) input.files = files;
  if (!input.files.length) return;
  slot.querySelector("[name=id]").value = "";
  slot.querySelector(".facts").textContent = input.files[0].name;
  const image = document.createElement("img");
  image.alt = "";
  image.src = URL.createObjectURL(input.files[0]);
  image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
  slot.querySelector(".person").replaceChildren(image);
  slot.classList.add("filled");
  const form = slot.closest("form");
  if ([...form.querySelectorAll("[data-slot]")].every(isFull)) htmx.trigger(form, "filled");
}

document.addEventListener("change", (event) => {
  if (!event.target.matches("[data-slot] .file")) return;
  event.stopPropagation(); // the form asks once, when the slots are full
  fill(slotOf(event.target));
}, true);

for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    slotOf(event.target)?.classList.add("over");
  });
}
for (const kind of ["dragleave", "drop"]) {
  document.addEventListener(kind, (event) => slotOf(event.target)?.classList.remove("over"));
}
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const slot = slotOf(event.target) ?? emptySlot();
  if (slot && event.dataTransfer.files.length) fill(slot, first(event.dataTransfer.files));
});
document.addEventListener("paste", (event) => {
  const slot = emptySlot();
  if (slot && event.clipboardData.files.length) fill(slot, first(event.clipboardData.files));
});

/** The slot that a picture without a place goes to: the first that is empty, else the first. */
function emptySlot() {
  const slots = [...document.querySelectorAll("[data-slot]")];
  return slots.find((slot) => !isFull(slot)) ?? slots[0];
}

function first(files) {
  const transfer = new DataTransfer();
  transfer.items.add(files[0]);
  return transfer.files;
}

// A picture that cannot be had leaves its place marked.
document.addEventListener("error", (event) => {
  if (event.target.matches?.(".person img")) event.target.parentElement.classList.add("missing");
}, true);

document.addEventListener("htmx:after:swap", () => {
  const dialog = document.getElementById("dialog");
  if (document.getElementById("dialog-body").childElementCount && !dialog.open) dialog.showModal();
});
document.getElementById("dialog").addEventListener("close", () => document.getElementById("dialog-body").replaceChildren());
document.getElementById("dialog").addEventListener("click", (event) => {
  if (event.target === event.currentTarget) event.currentTarget.close(); // beside it
});

document.addEventListener("htmx:error", (event) => {
  if (event.detail?.ctx?.response) return; // it answered, and its answer is shown
  const toast = document.getElementById("toast");
  toast.textContent = "The server cannot be reached. Is it still running?";
  toast.hidden = false;
  setTimeout(() => { toast.hidden = true; }, 6000);
});
