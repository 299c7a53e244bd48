"""Records the rows of the source without writing them: the source side of a comparison."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam

from transforms.batch import Batch
from transforms.ledger.ledger import Ledger
from transforms.ledger.receipts import Receipt, ReceiptWriter
from transforms.write import receipt_of


@dataclass(eq=False)
class Record(beam.PTransform):
    """Turns batches into receipts, as if the target had them, which `Verify` then compares."""

    ledger: Ledger

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Receipt]:
        return batches | "Record" >> beam.ParDo(_Record(self.ledger))


class _Record(beam.DoFn):
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def setup(self) -> None:
        self._receipts = ReceiptWriter(self._ledger)

    def process(self, batch: Batch) -> Iterator[Receipt]:
        receipt = receipt_of(batch, self._receipts.worker, failed=batch.failed)
        self._receipts.add(receipt)
        yield receipt

    def finish_bundle(self) -> None:
        self._receipts.flush()
