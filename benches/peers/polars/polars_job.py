"""Sales summed by store in 30-second windows by a script of one's own: batches of a Kafka client, Polars for the sums,
a checkpoint file every 10 seconds, results in a file that a restart cuts back to the checkpoint.

    python polars_job.py BROKERS TOPIC STATE_DIRECTORY RESULT_FILE [RECORDS_A_BATCH]

Runs from the topic's begin (or the checkpoint) to its end. Prints FIRST behind its first checkpoint or batch.
"""

import os
import pickle
import sys
import time

import polars as pl
from confluent_kafka import Consumer, TopicPartition

WINDOW = WATERMARK = 30
PARTITIONS = 3
SCHEMA = {"store": pl.String, "price": pl.Float64, "ts": pl.Int64}


class Job:
    def __init__(self, state: str, out: str) -> None:
        self.path = os.path.join(state, "checkpoint")
        os.makedirs(state, exist_ok=True)
        self.next = [0] * PARTITIONS
        self.newest = [0] * PARTITIONS
        self.windows = {}
        self.watermark = 0
        written = 0
        if os.path.exists(self.path):
            with open(self.path, "rb") as file:
                self.next, self.newest, self.windows, self.watermark, written = pickle.load(file)
        self.out = open(out, "ab")
        self.out.truncate(written)
        self.out.seek(written)

    def add(self, messages: list) -> None:
        sales = pl.read_ndjson(b"\n".join([message.value() for message in messages]), schema=SCHEMA)
        sales = sales.with_columns(
            partition=pl.Series([message.partition() for message in messages], dtype=pl.Int8),
            offset=pl.Series([message.offset() for message in messages], dtype=pl.Int64),
        )
        ends = sales.group_by("partition").agg(pl.col("offset").max(), pl.col("ts").max())
        for partition, offset, newest in ends.iter_rows():
            self.next[partition] = offset + 1
            self.newest[partition] = max(self.newest[partition], newest)
        sums = (
            sales.select(
                window=pl.col("ts") // WINDOW,
                store=pl.col("store"),
                cents=(pl.col("price") * 100).round().cast(pl.Int64),
            )
            .group_by("window", "store")
            .agg(pl.col("cents").sum())
        )
        for window, store, cents in sums.iter_rows():
            if (window + 1) * WINDOW > self.watermark:
                stores = self.windows.setdefault(window, {})
                stores[store] = stores.get(store, 0) + cents
        self.watermark = max(self.watermark, min(self.newest) - WATERMARK)
        self.close()

    def close(self) -> None:
        for window in sorted(self.windows):
            if (window + 1) * WINDOW > self.watermark:
                break
            for store, cents in self.windows.pop(window).items():
                self.out.write(b"%d %s %d\n" % (window, store.encode(), cents))

    def checkpoint(self) -> None:
        """Results first, then the state that counts them, whole or not at all."""
        self.out.flush()
        os.fsync(self.out.fileno())
        state = (self.next, self.newest, self.windows, self.watermark, self.out.tell())
        with open(self.path + ".new", "wb") as file:
            pickle.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(self.path + ".new", self.path)


def read(consumer: Consumer, most: int) -> list:
    """Records of a batch: what comes within a moment, up to `most`."""
    messages = consumer.consume(min(10000, most), 0.5)
    while messages and len(messages) < most:
        more = consumer.consume(min(10000, most - len(messages)), 0.02)
        if not more:
            break
        messages += more
    return [message for message in messages if message.error() is None]


def main(brokers: str, topic: str, state: str, out: str, batch: str = "100000") -> None:
    job = Job(state, out)
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "bench-polars",
            "enable.auto.commit": False,
            "queued.min.messages": 1000000,
            "queued.max.messages.kbytes": 131072,
            "fetch.queue.backoff.ms": 2,
        }
    )
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, partition))[1] for partition in range(PARTITIONS)]
    consumer.assign([TopicPartition(topic, partition, job.next[partition]) for partition in range(PARTITIONS)])
    saved, told = time.time(), False
    while any(job.next[partition] < ends[partition] for partition in range(PARTITIONS)):
        messages = read(consumer, int(batch))
        if not messages:
            continue
        job.add(messages)
        if not told or time.time() - saved >= 10:
            job.checkpoint()
            saved = time.time()
        if not told:
            print("FIRST", flush=True)
            told = True
    job.checkpoint()


if __name__ == "__main__":
    main(*sys.argv[1:])
