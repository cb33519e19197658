"""A zarr store that gives no chunk which its decoder would read beyond. Imported where zarr is needed."""

from __future__ import annotations

from typing import Any

from zarr.storage import LocalStore, WrapperStore

from ...base import ImageError


class WholeChunks(WrapperStore[LocalStore]):
    """A folder of chunks that blosc has packed, each refused where it is shorter than it says of itself.

    numcodecs does not tell blosc how long a chunk is, so that one which was cut off would be read beyond its end.
    """

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """What stands under `key`, or that part of it.

        Raises:
            ImageError: a chunk is cut off.
        """
        found = await super().get(key, prototype, byte_range)
        is_chunk = byte_range is None and not key.endswith(("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"))
        if found is not None and is_chunk:
            head = found[:16].to_bytes()
            # The fourth number of blosc's header is the length of the whole.
            if len(head) < 16 or int.from_bytes(head[12:], "little") > len(found):
                raise ImageError("the store is damaged: a chunk is cut off")
        return found
