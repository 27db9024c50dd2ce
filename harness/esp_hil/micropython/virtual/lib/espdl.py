"""The module `espdl` of a virtual board: the API of the MicroPython binding, the networks in another process.

Runs under MicroPython. What it does, in which order it writes and what it leaves undone is what
cnadler86/mp_esp_dl_models does at the commit that the other process names (`bindings.py`).
"""

import array
import json
import struct
import sys

_helper = open("/dev/espdl", "r+b")  # noqa: SIM115 - open as long as the board runs


def _read(count: int) -> bytes:
    made = b""
    while len(made) < count:
        made += _helper.read(count - len(made))
    return made


def ask(header: dict, payload: bytes = b"") -> tuple:  # type: ignore[type-arg]
    """The other process's answer: JSON and bytes."""
    words = json.dumps(header).encode()
    _helper.write(struct.pack("<II", len(words), len(payload)) + words)
    if len(payload):
        _helper.write(payload)
    lengths = struct.unpack("<II", _read(8))
    answer = json.loads(_read(lengths[0]))
    rest = _read(lengths[1])
    if "raise" in answer:
        kinds = {"MemoryError": MemoryError, "RuntimeError": RuntimeError, "ValueError": ValueError}
        raise kinds[answer["raise"]](answer["message"])
    return answer, rest


_board = ask({"op": "hello"})[0]
_quirks = _board["quirks"]

_OLD = "old_signatures" in _quirks
RGB888 = 0
VIRTUAL = _board["target"]  # no binding has these: that the board is none, whose numbers it gives
BINDING = _board["binding"]
ESPDL = _board["espdl"]

_BYTES = {0: 3, 3: 1, 6: 2, 7: 2}
_NAMES = {0: "rgb888", 3: "gray", 6: "rgb565le", 7: "rgb565be"}
if "big_endian_rgb565" in _quirks:
    _NAMES[6] = "rgb565be"
if "stale_constants" in _quirks:
    # ESP-DL counts otherwise since March 2026: 3 is BGR888, 6 is gray
    _BYTES = {0: 3, 3: 3, 6: 1}
    _NAMES = {0: "rgb888", 3: "bgr888", 6: "gray"}
for _name in _board["formats"]:
    # not by globals(): a name that stands nowhere in the code is no attribute then
    setattr(sys.modules[__name__], _name, _board["formats"][_name])
if not _board["formats"]:
    del RGB888

_phases = {}  # type: ignore[var-annotated]


def _phases_us() -> dict:  # type: ignore[type-arg]
    """How long the phases of the last run took, in microseconds; no binding has this either."""
    return _phases


def _options(given: tuple, named: dict, order: tuple, only_named: dict) -> dict:  # type: ignore[type-arg]
    """Arguments as mp_arg_parse_all takes them: those in order, and those by keyword only."""
    made = {"width": 320, "height": 240, "pixel_format": 0}
    made.update(only_named)
    if len(given) > len(order):
        raise TypeError("extra positional arguments given")
    for at in range(len(given)):
        made[order[at]] = given[at]
    for key, value in named.items():
        if (key not in order and key not in only_named) or key in order[: len(given)]:
            raise TypeError("extra keyword arguments given")
        made[key] = value
    return made


_ORDER = ("width", "height") if _OLD else ("width", "height", "pixel_format")


class _Model:
    def __init__(self, options: dict) -> None:  # type: ignore[type-arg]
        self.width = options["width"]
        self.height = options["height"]
        self.pixel_format = options["pixel_format"]
        self._model = str(options.get("model", ""))
        # the networks are loaded here, not in `run`
        ask({"op": "construct", "class": type(self).__name__, "model": self._model})

    def _ask(self, op: str, frame: bytes) -> tuple:  # type: ignore[type-arg]
        global _phases  # noqa: PLW0603
        expected = self.width * self.height * _BYTES[self.pixel_format]
        if len(frame) != expected:
            raise ValueError(
                "Frame buffer size does not match the image size with the selected pixel format."
            )
        header = {
            "op": op,
            "class": type(self).__name__,
            "model": self._model,
            "width": self.width,
            "height": self.height,
            "format": _NAMES[self.pixel_format],
        }
        answer, rest = ask(header, frame)
        _phases = answer["phases_us"]
        return answer["results"], rest

    def run(self, frame: bytes) -> list | None:  # type: ignore[type-arg]
        """Results as the binding gives them: None if there are none."""
        found = self._ask("run", frame)[0]
        for one in found:
            if type(one) is dict:
                one["box"] = tuple(one["box"])
        return found or None


class HumanDetector(_Model):
    """People."""

    def __init__(self, *given: int, **named: int) -> None:
        order = ("width", "height")
        super().__init__(_options(given, named, order, {} if _OLD else {"pixel_format": 0}))


class _ByNumber(_Model):
    def __init__(self, *given: int, **named: int) -> None:
        # what the image's Kconfig says
        default = _board["models"].get(type(self).__name__, 0)
        super().__init__(_options(given, named, _ORDER, {"model": default}))


class CatDetector(_ByNumber):
    """Cats."""


class CocoDetector(_ByNumber):
    """Eighty kinds of things, by the number of the category."""


class ImageNet(_Model):
    """Names and scores by turns."""

    def __init__(self, *given: int, **named: int) -> None:
        super().__init__(_options(given, named, _ORDER, {}))


class FaceDetector(_Model):
    """Faces, with or without landmarks."""

    def __init__(self, *given: int, **named: int) -> None:
        if _OLD:
            options = _options(given, named, _ORDER + ("features",), {})  # noqa: RUF005 - MicroPython has no unpacking there
        else:
            options = _options(given, named, _ORDER, {"features": True})
        super().__init__(options)
        self._features = options.get("features", True)

    def _faces(self, found: list) -> list:  # type: ignore[type-arg]
        for face in found:
            face["box"] = tuple(face["box"])
            if not self._features:
                face["features"] = None
            elif "nested_features" in _quirks:
                flat = face["features"]
                face["features"] = [(flat[2 * i], flat[2 * i + 1]) for i in range(5)]
            else:
                face["features"] = tuple(face["features"])
        return found

    def run(self, frame: bytes) -> list | None:  # type: ignore[type-arg]
        """See `_Model`."""
        return self._faces(self._ask("run", frame)[0]) or None


class _Database:
    """face.db: total, valid, length of a feature; then id, feature, name of each."""

    def __init__(self, path: str, length: int) -> None:
        self._path = path
        self.rows = []  # type: ignore[var-annotated]
        self._total = self._valid = 0
        self._length = length
        try:
            file = open(path, "rb")  # noqa: SIM115 - MicroPython has no contextlib to close it with
        except OSError:
            with open(path, "wb") as made:
                made.write(self._meta())
            return
        with file:
            self._load(file, length)

    def _meta(self) -> bytes:
        return struct.pack("<HHH", self._total, self._valid, self._length)

    def _load(self, file, length: int) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        meta = file.read(6)
        if len(meta) != 6:
            return
        self._total, self._valid, self._length = struct.unpack("<HHH", meta)
        if self._length != length:
            return
        for _ in range(self._total):
            record = file.read(2 + 4 * length + 32)
            if len(record) != 2 + 4 * length + 32:
                return
            number = struct.unpack("<H", record[:2])[0]
            if number:
                name = record[2 + 4 * length :].split(b"\0")[0].decode()
                self.rows.append((number, array.array("f", record[2 : 2 + 4 * length]), name))

    def enroll(self, feature: bytes, name: str) -> int:
        if len(feature) != 4 * self._length:
            raise ValueError("Failed to enroll face.")
        number = self._total + 1
        text = name.encode()[: 15 if "cuts_names" in _quirks else 31]
        self.rows.append((number, array.array("f", feature), text.decode()))
        self._total += 1
        self._valid += 1
        if "forgets" in _quirks:
            return number
        with open(self._path, "rb+") as file:
            file.write(self._meta())
            file.seek(0, 2)
            file.write(struct.pack("<H", number))
            file.write(feature)
            file.write(text + bytes(32 - len(text)))
        return number

    def delete(self, number: int) -> None:
        left = [row for row in self.rows if row[0] != number]
        if len(left) == len(self.rows):
            raise ValueError("Failed to delete feature.")
        self.rows = left
        self._valid -= 1
        with open(self._path, "rb+") as file:
            if "delete_keeps" not in _quirks:
                file.seek(6 + (2 + 4 * self._length + 32) * (number - 1))
                file.write(struct.pack("<H", 0))
            file.seek(2)
            file.write(struct.pack("<H", self._valid))

    def query(self, feature: bytes) -> dict | None:  # type: ignore[type-arg]
        asked = array.array("f", feature)
        best = None
        for number, known, name in self.rows:
            similarity = sum(known[i] * asked[i] for i in range(len(asked)))
            if similarity > _board["threshold"] and (best is None or similarity > best["similarity"]):
                best = {"id": number, "similarity": similarity, "name": name or None}
        return best


class FaceRecognizer(FaceDetector):
    """Faces and whose they are."""

    def __init__(self, *given: object, **named: object) -> None:
        only_named: dict = {"features": True, "db_path": None}  # type: ignore[type-arg]
        if "one_features_network" not in _quirks:
            only_named["model"] = None
        if _OLD:
            only_named.update({"width": 320, "height": 240})
        options = _options(given, named, () if _OLD else _ORDER, only_named)
        model = options.get("model")
        if model not in {None, "MFN", "MBF"}:
            print("Model", model, "invalid. Using default feature model")
            model = None
        options["model"] = model or ""
        _Model.__init__(self, options)
        self._features = options["features"]
        path = options["db_path"]
        path = "/face.db" if path is None else ("/" + path)[:63]
        self._database = _Database(path, _board["feature_length"])

    def _embedded(self, frame: bytes) -> list:  # type: ignore[type-arg]
        found, features = self._ask("recognize", frame)
        size = len(features) // len(found) if found else 0
        return [(face, features[i * size : (i + 1) * size]) for i, face in enumerate(found)]

    def run(self, frame: bytes) -> list | None:  # type: ignore[type-arg]
        """See `_Model`."""
        faces = self._embedded(frame)
        for face, feature in faces:
            chosen = _smallest(faces)[1] if "smallest_face" in _quirks else feature
            face["person"] = self._database.query(chosen)
        return self._faces([face for face, _ in faces]) or None

    def enroll(self, frame: bytes, *, validate: bool = False, name: str | None = None) -> int | None:
        """The new id; None for a face that is known, with `validate`."""
        faces = self._embedded(frame)
        if not faces:
            raise ValueError("No face detected.")
        if len(faces) > 1 and "smallest_face" not in _quirks:
            raise ValueError("Only one face can be enrolled at a time.")
        feature = _smallest(faces)[1]
        if validate and "ignores_validate" not in _quirks:
            known = self._database.query(feature)
            if known and known["similarity"] > 0.9:
                print(f"espdl: Face already enrolled. id: {known['id']}, similarity: {known['similarity']:f}")
                return None
        return self._database.enroll(feature, name or "")

    def delete_face(self, number: int) -> None:
        """Forget one."""
        self._database.delete(number)

    def print_database(self) -> None:
        """A table for people."""
        total, valid, _ = struct.unpack("<HHH", self._database._meta())
        print(f"\n[Database Info]\nTotal faces: {total}, Valid faces: {valid}\n")
        if self._database.rows:
            print("ID  | Name\n----+--------------------------------")
        for number, _, name in self._database.rows:
            print(f"{number:<3} | {name or '<no name>'}")
        print()


def _smallest(faces: list) -> tuple:  # type: ignore[type-arg]
    def area(one: tuple) -> float:  # type: ignore[type-arg]
        x1, y1, x2, y2 = one[0]["box"]
        return float((x2 - x1) * (y2 - y1))

    return min(faces, key=area)


for _name in (
    "FaceDetector",
    "FaceRecognizer",
    "HumanDetector",
    "CatDetector",
    "CocoDetector",
    "ImageNet",
):
    if _name not in _board["classes"]:
        del globals()[_name]
