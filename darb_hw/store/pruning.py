"""Which results a store can do without."""

from collections.abc import Iterable

from darb_hw.store.store import Record

__all__ = ["expendable"]


def expendable(records: Iterable[Record], now: float, seconds: float | None, most: int | None) -> list[Record]:
    """Results to remove; all, if nothing says which.

    Parameters
    ----------
    records : iterable of Record
    now : float
        Seconds since 1970.
    seconds : float, optional
        What was used since then stays.
    most : int, optional
        Bytes that the rest may take: what was used last stays.
    """
    records = sorted(records, key=lambda record: (record.used, record.key))
    if seconds is None and most is None:
        return records
    gone = [record for record in records if seconds is not None and now - record.used > seconds]
    rest = records[len(gone) :]
    size = sum(record.size for record in rest)
    for record in rest:
        if most is None or size <= most:
            break
        gone.append(record)
        size -= record.size
    return gone
