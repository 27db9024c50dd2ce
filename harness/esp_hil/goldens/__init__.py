"""How a float model becomes a device file: recipes, rewrites, the process in which esp-ppq works, sensitivity."""
