"""TFRecords of tf.Examples that are all laid out alike.

Every row has the same features of the same lengths. So its record is the same bytes but for the values, and writing
rows is writing columns into copies of one record that protobuf has made; to build every message by itself takes five
times as long (docs/scaling.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import google_crc32c
import numpy as np
import tensorflow as tf

_VARINT_BYTES = 10
"""What -1 takes, and what every integer is padded to; protobuf reads padded ones, too."""
_CHECKSUM = "checksum of the example"


class RecordLayout:
    """A record as a NumPy dtype: length, its checksum, the tf.Example with its values in places, its checksum."""

    def __init__(self, floats: Mapping[str, int], integers: Mapping[str, int]) -> None:
        """Lay the features out.

        Args:
          floats: Name of a float feature -> number of its values.
          integers: The same of the integer features.
        """
        formats: dict[str, Any] = {name: ("<f4", (n,)) for name, n in floats.items()}
        formats |= {name: ("u1", (n, _VARINT_BYTES)) for name, n in integers.items()}
        entries = [_entry(name, float_list=tf.train.FloatList(value=[0] * n)) for name, n in floats.items()]
        entries += [_entry(name, int64_list=tf.train.Int64List(value=[-1] * n)) for name, n in integers.items()]
        features = b"".join(entries)
        example = tf.train.Example(features=tf.train.Features.FromString(features)).SerializeToString()
        before = example[: -len(features)]  # What follows is a map, and has no order of its own.
        length = np.array(len(example), "<u8").tobytes()
        head = length + _masked(np.array(google_crc32c.value(length))).tobytes()
        # An entry ends with its values.
        ends = len(head + before) + np.cumsum([len(entry) for entry in entries])
        offsets = [end - np.dtype(format).itemsize for end, format in zip(ends, formats.values(), strict=True)]
        formats[_CHECKSUM] = "<u4"
        self._record = bytearray(head + before + features + bytes(4))
        self._example = slice(len(head), len(self._record) - 4)
        offsets.append(self._example.stop)
        fields: Any = {"names": list(formats), "formats": list(formats.values()), "offsets": offsets}
        self._dtype = np.dtype(fields | {"itemsize": len(self._record)})
        self._floats, self._integers = tuple(floats), tuple(integers)

    def records(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Lay rows out.

        Args:
          values: Every feature's `[rows]` or `[rows, n]`, float32 or int64.

        Returns:
          `[rows]` of the layout's dtype.
        """
        records = np.frombuffer(self._record * len(next(iter(values.values()))), self._dtype)
        for name in self._floats:
            records[name] = values[name].reshape(records[name].shape)
        for name in self._integers:
            records[name] = _varints(values[name].reshape(records[name].shape[:2]))
        data, size = records.view(np.uint8).tobytes(), records.itemsize
        begin, end = self._example.start, self._example.stop
        checksums = [google_crc32c.value(data[at + begin : at + end]) for at in range(0, len(data), size)]
        records[_CHECKSUM] = _masked(np.array(checksums, np.int64))
        return records


def _entry(name: str, **values: tf.train.FloatList | tf.train.Int64List) -> bytes:
    """Serialise one feature as an entry of the map that `tf.train.Features` is: several are written in a row."""
    return tf.train.Features(feature={name: tf.train.Feature(**values)}).SerializeToString()


def _masked(crc: np.ndarray) -> np.ndarray:
    """Mask CRC-32C checksums as the TFRecord format asks for."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8 & 0xFFFFFFFF).astype("<u4")


def _varints(values: np.ndarray) -> np.ndarray:
    """Encode `[rows, n]` integers as padded varints, `[rows, n, 10]` uint8: seven bits a byte, the lowest first."""
    shifts = np.arange(0, 7 * _VARINT_BYTES, 7, dtype=np.uint64)
    groups = (values.astype(np.int64).view(np.uint64)[:, :, None] >> shifts).astype(np.uint8) & np.uint8(0x7F)
    groups[:, :, :-1] |= np.uint8(0x80)
    return groups
