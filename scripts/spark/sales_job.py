"""The `sales` pipeline as a Spark job, as a user of Spark would write it.

    spark-submit sales_job.py BROKERS TOPIC CHECKPOINT

Prints the console sink's tables on stdout until it is stopped. scripts/side-by-side.sh runs it.
"""

import signal
import sys

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, from_json, sum, window
from pyspark.sql.types import DoubleType, LongType, StringType, StructField, StructType

SALE = StructType(
    [
        StructField("store", StringType()),
        StructField("item", StringType()),
        StructField("price", DoubleType()),
        StructField("ts", LongType()),
    ]
)


def main(brokers: str, topic: str, checkpoint: str) -> None:
    spark = SparkSession.builder.appName("sales").getOrCreate()
    records = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", brokers)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
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
        .agg(sum("price").cast("int").alias("total_revenue_int"))
        .select(
            "store",
            "total_revenue_int",
            col("window.start").alias("window_start"),
            col("window.end").alias("window_end"),
        )
    )
    query = (
        revenue.writeStream.format("console")
        .option("truncate", "false")
        .option("checkpointLocation", checkpoint)
        .outputMode("append")
        .trigger(processingTime="10 seconds")
        .start()
    )
    signal.signal(signal.SIGTERM, lambda *_: query.stop())
    query.awaitTermination()


if __name__ == "__main__":
    main(*sys.argv[1:])
