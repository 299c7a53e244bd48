"""Receipts made by hand, of the collection docs."""

from __future__ import annotations

import time

from transforms.ledger.ledger import Ledger, range_id
from transforms.ledger.receipts import Acknowledged, Receipt, ReceiptWriter
from transforms.ranges import KeyRange

WHOLE = KeyRange("docs")


def receipt(
    covered: KeyRange, rows: int = 1, *, planned: KeyRange = WHOLE, failed: str = "", of: int = 1
) -> Receipt:
    return Receipt(range_id(planned), covered, rows, 100, f"{of:032x}", time.time(), failed=failed)


def record(ledger: Ledger, *receipts: Receipt) -> None:
    writer = ReceiptWriter(ledger)
    for each in receipts:
        writer.add(each)
    writer.flush()


def acknowledged(ledger: Ledger) -> Acknowledged:
    found = Acknowledged(ledger)
    found.refresh()
    return found
