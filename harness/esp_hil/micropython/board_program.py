"""What the driver runs on the board, in MicroPython; sent once after each start of the interpreter."""

SETUP = r"""
import sys, gc, json, time, micropython, binascii
_hil_data = b""
_hil_made = (None, None)
_hil_load_us = 0
_hil_decoders = {}

def _hil_take(count, window):
    # two windows are given at the start, one more for each that was read: what is under way always fits
    global _hil_data
    if len(_hil_data) != count:
        _hil_data = b""
        gc.collect()
        _hil_data = bytearray(count)
    view = memoryview(_hil_data)
    read, say = sys.stdin.buffer.readinto, sys.stdout.buffer.write
    given = min(count, 2 * window)
    micropython.kbd_intr(-1)
    try:
        began = time.ticks_us()
        say(b"\x01" * ((given + window - 1) // window))
        at = 0
        while at < count:
            end = min(at + window, count)
            while at < end:
                at += read(view[at:end])
            if given < count:
                given += window
                say(b"\x01")
        took = time.ticks_diff(time.ticks_us(), began)
    finally:
        micropython.kbd_intr(3)
    print(json.dumps({"crc": binascii.crc32(_hil_data), "us": took}))

def _hil_model(name, options):
    global _hil_made, _hil_load_us
    import espdl
    key = name + json.dumps(options)
    _hil_load_us = 0
    if _hil_made[0] != key:
        _hil_made = (None, None)
        gc.collect()
        began = time.ticks_us()
        _hil_made = (key, getattr(espdl, name)(**options))
        _hil_load_us = time.ticks_diff(time.ticks_us(), began)
    return _hil_made[1]

def _hil_decoder(pixels):
    import jpeg
    if pixels not in _hil_decoders:
        try:
            _hil_decoders[pixels] = jpeg.Decoder(pixel_format=pixels)
        except TypeError:
            _hil_decoders[pixels] = jpeg.Decoder(format=pixels)
    return _hil_decoders[pixels]

def _hil_frame(pixels):
    if not pixels:
        return _hil_data
    try:
        return _hil_decoder(pixels).decode(_hil_data)
    except Exception:
        # a decoder that failed fails again at the next picture of the same length
        _hil_decoders.clear()
        raise

def _hil_run(name, options, pixels, runs):
    import espdl
    model = _hil_model(name, options)
    decode_us, run_us, differ, first, phases = [], [], 0, None, []
    split = getattr(espdl, "_phases_us", None)
    for i in range(runs):
        began = time.ticks_us()
        frame = _hil_frame(pixels)
        decoded = time.ticks_us()
        found = model.run(frame)
        ended = time.ticks_us()
        decode_us.append(time.ticks_diff(decoded, began) if pixels else 0)
        run_us.append(time.ticks_diff(ended, decoded))
        if split:
            phases.append(split())
        if i and found != first:
            differ += 1
        else:
            first = found
    print(json.dumps({"found": first, "decode_us": decode_us, "run_us": run_us, "differ": differ,
                      "load_us": _hil_load_us, "phases": phases,
                      "free": gc.mem_free() if hasattr(gc, "mem_free") else 0}))

def _hil_identify():
    made = {"version": sys.version.split("; ")[-1], "numbers": list(sys.implementation[1]), "platform": sys.platform,
            "machine": getattr(sys.implementation, "_machine", ""), "build": getattr(sys.implementation, "_build", "")}
    try:
        import espdl
    except ImportError:
        made["espdl"] = None
    else:
        made["espdl"] = [n for n in dir(espdl) if isinstance(getattr(espdl, n), type) and n[0] != "_"]
        made["formats"] = {n: getattr(espdl, n) for n in dir(espdl)
                           if n.upper() == n and type(getattr(espdl, n)) is int}
        made["virtual"] = getattr(espdl, "VIRTUAL", "")
        made["binding"] = getattr(espdl, "BINDING", "")
    try:
        import jpeg
        made["jpeg"] = True
    except ImportError:
        made["jpeg"] = False
    gc.collect()
    made["free"] = gc.mem_free() if hasattr(gc, "mem_free") else 0
    print(json.dumps(made))
"""
