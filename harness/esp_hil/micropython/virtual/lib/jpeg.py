"""The module `jpeg` of a virtual board: the decoder of cnadler86/mp_jpeg, as far as the models need it."""

import espdl  # type: ignore[import-not-found]

_KEYWORD = "format" if "old_decoder_keyword" in espdl._quirks else "pixel_format"


class Decoder:
    """JPEG to pixels; the keyword for the pixel format was renamed between versions of mp_jpeg."""

    def __init__(self, **given: str) -> None:
        for keyword in given:
            if keyword not in {_KEYWORD, "rotation", "return_bytes"}:
                raise TypeError("extra keyword arguments given")
        self._format = given.get(_KEYWORD, "RGB888")
        self._poison = 0

    def decode(self, data: bytes) -> memoryview:
        """The pixels."""
        poisoned, self._poison = self._poison, 0
        if poisoned and poisoned == len(data):
            # the header is not parsed anew for a buffer of the same length
            raise ValueError("Failed to decode image.")
        try:
            return self._decoded(data)
        except ValueError:
            if "poisoned_decoder" in espdl._quirks:
                self._poison = len(data)
            raise

    def _decoded(self, data: bytes) -> memoryview:
        answer, pixels = espdl.ask({"op": "decode", "format": self._format}, data)
        self._size = answer["width"], answer["height"]
        return memoryview(pixels)

    def get_img_info(self, data: bytes) -> list:  # type: ignore[type-arg]
        """Width and height."""
        answer, _ = espdl.ask({"op": "decode", "format": self._format}, data)
        return [answer["width"], answer["height"]]
