"""Model files as bytes: `.espdl` and `.tflite`, read and described without running them."""
