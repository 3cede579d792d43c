"""Sales summed by store in 30-second windows by Spark Structured Streaming, into the no-op sink.

    spark-submit spark_job.py BROKERS TOPIC CHECKPOINT MAX_OFFSETS_PER_TRIGGER

Runs from the topic's begin (or the checkpoint) to its end. Prints FIRST behind its first batch, and at the end
COUNTED with what its progress says was read, removed from state as closed, and dropped as late.
"""

import json
import sys
import threading
import time

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, from_json, sum, window
from pyspark.sql.types import DoubleType, LongType, StringType, StructField, StructType

SALE = StructType(
    [
        StructField("store", StringType()),
        StructField("price", DoubleType()),
        StructField("ts", LongType()),
    ]
)


def progress_of(query) -> list:
    """Progress as dictionaries, which it is already before Spark 4."""
    return [line if isinstance(line, dict) else json.loads(line.json) for line in query.recentProgress]


def tell_first(query) -> None:
    while query.lastProgress is None and query.isActive:
        time.sleep(0.05)
    if query.lastProgress is not None:
        print("FIRST", flush=True)


def main(brokers: str, topic: str, checkpoint: str, max_offsets: str) -> None:
    spark = SparkSession.builder.appName("bench").getOrCreate()
    records = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", brokers)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", max_offsets)
        .option("kafka.max.poll.records", "5000")
        .load()
    )
    sales = (
        records.select(from_json(col("value").cast("string"), SALE).alias("data"))
        .select("data.*")
        .withColumn("event_time", col("ts").cast("timestamp"))
        .withWatermark("event_time", "30 seconds")
    )
    revenue = (
        sales.groupBy(window("event_time", "30 seconds"), col("store"))
        .agg(sum("price").alias("total_revenue"))
        .select("store", "total_revenue", col("window.start"), col("window.end"))
    )
    query = (
        revenue.writeStream.format("noop")
        .option("checkpointLocation", checkpoint)
        .outputMode("append")
        .trigger(availableNow=True)
        .start()
    )
    threading.Thread(target=tell_first, args=(query,), daemon=True).start()
    query.awaitTermination()
    rows = results = late = 0
    for line in progress_of(query):
        state = line["stateOperators"][0]
        rows += line["numInputRows"]
        results += state["numRowsRemoved"]
        late += state["numRowsDroppedByWatermark"]
    print(f"COUNTED rows={rows} results={results} late={late}", flush=True)
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
