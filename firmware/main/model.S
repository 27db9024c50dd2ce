/* The model of -DHIL_MODEL, aligned as ESP-DL needs it to use its parameters in place. */
    .section .rodata.hil_model, "a"
    .balign 16
    .global hil_model_begin
hil_model_begin:
    .incbin HIL_MODEL_PATH
    .global hil_model_end
hil_model_end:
    .byte 0
