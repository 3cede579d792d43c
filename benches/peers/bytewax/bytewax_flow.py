"""Sales summed by store in 30-second windows by Bytewax, into a file; run it as scripts/bench/systems.sh does.

Settings come from the environment: BENCH_BROKERS, BENCH_TOPIC, BENCH_OUT. Prints FIRST behind its first batch of records.
"""

import os
from datetime import datetime, timedelta, timezone

import bytewax.operators as op
import bytewax.operators.windowing as windowing
import orjson
from bytewax.connectors.files import FileSink
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow

UTC = timezone.utc
WINDOW = timedelta(seconds=30)
# Window 0 of Bytewax begins here; in the file windows are counted from 1970.
ALIGN_TO = datetime(2025, 9, 1, tzinfo=UTC)
FIRST_WINDOW = int(ALIGN_TO.timestamp()) // 30

told = False


def parse(records: list) -> list:
    global told
    parsed = []
    for record in records:
        sale = orjson.loads(record.value)
        time = datetime.fromtimestamp(sale["ts"], UTC)
        parsed.append((sale["store"], (time, round(sale["price"] * 100))))
    if not told:
        told = True
        print("FIRST", flush=True)
    return parsed


def line(result: tuple) -> tuple:
    store, (window, cents) = result
    return (store, f"{FIRST_WINDOW + window} {store} {cents}")


flow = Dataflow("sales")
records = op.input(
    "records",
    flow,
    KafkaSource([os.environ["BENCH_BROKERS"]], [os.environ["BENCH_TOPIC"]], tail=False, batch_size=1000),
)
sales = op.flat_map_batch("parse", records, parse)
sums = windowing.fold_window(
    "sums",
    sales,
    windowing.EventClock(ts_getter=lambda sale: sale[0], wait_for_system_duration=timedelta(seconds=30)),
    windowing.TumblingWindower(length=WINDOW, align_to=ALIGN_TO),
    builder=int,
    folder=lambda cents, sale: cents + sale[1],
    merger=lambda one, other: one + other,
    ordered=False,
)
op.output("results", op.map("line", sums.down, line), FileSink(os.environ["BENCH_OUT"]))
