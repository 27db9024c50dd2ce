"""One module per operator family; `esp_hil.exact.registry` imports them all."""
