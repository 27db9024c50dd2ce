"""Networks of every shape, from model.toml to the verdict on a virtual board."""
