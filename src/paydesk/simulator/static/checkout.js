// What the checkout page adds where scripts run: the list fills in the card, one click pays once.
const list = document.getElementById("test_card");
const number = document.getElementById("number");
const brand = document.getElementById("brand");

if (list && number) {
  list.addEventListener("change", () => {
    const chosen = list.selectedOptions[0];
    number.value = chosen.dataset.grouped;
    document.getElementById("filled_in").value = number.value;
    brand.textContent = chosen.dataset.brand;
    document.getElementById("cvc").value ||= "123";
  });
  number.addEventListener("input", () => {
    brand.textContent = "";
  });
}
document.getElementById("checkout").addEventListener("submit", (event) => {
  const button = document.getElementById("pay");
  if (button.disabled) event.preventDefault();
  // Disabled a moment later, so that the browser has begun to send the form.
  setTimeout(() => {
    button.disabled = true;
    button.textContent = button.dataset.busy;
  }, 0);
});
// A page that comes back from the browser's memory can be sent again.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
