import com.fasterxml.jackson.core.*;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.atomic.AtomicLongArray;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.*;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.*;
import org.apache.kafka.streams.processor.api.*;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Sales summed by store in 30-second windows, each window once, results to a Kafka topic, exactly once (EOS v2), from the
 * topic's begin (or what was committed) to its end.
 *
 * <p>Prints FIRST when it has read a record, CHECKPOINTED when offsets are committed, ALLREAD when it has read what was
 * in the topic at its start. With --slow it reads some 10,000 records a second and never ends.
 */
public class KafkaStreamsJob {
  static final AtomicLongArray NEXT = new AtomicLongArray(1024);
  static volatile boolean hasRead, failed;
  static boolean slow;

  static final class Sale {
    String store;
    double price;
    long timestamp;
  }

  static final class SaleDeserializer implements Deserializer<Sale> {
    final JsonFactory json = JsonFactory.builder().enable(StreamReadFeature.USE_FAST_DOUBLE_PARSER).build();

    @Override public Sale deserialize(String topic, byte[] bytes) {
      if (bytes == null) return null;
      Sale sale = new Sale();
      try (JsonParser parser = json.createParser(bytes)) {
        parser.nextToken();
        String field;
        while ((field = parser.nextFieldName()) != null) {
          parser.nextToken();
          switch (field) {
            case "store" -> sale.store = parser.getText();
            case "price" -> sale.price = parser.getDoubleValue();
            case "ts" -> sale.timestamp = parser.getLongValue() * 1000L;
            default -> parser.skipChildren();
          }
        }
      } catch (IOException malformed) {
        throw new SerializationException(malformed);
      }
      return sale;
    }
  }

  /** Notes how far the job is. */
  static final class Track implements FixedKeyProcessor<String, Sale, Sale> {
    FixedKeyProcessorContext<String, Sale> context;
    long read;

    @Override public void init(FixedKeyProcessorContext<String, Sale> context) { this.context = context; }

    @Override public void process(FixedKeyRecord<String, Sale> record) {
      if (!hasRead) hasRead = true;
      context.forward(record);
      RecordMetadata metadata = context.recordMetadata().orElseThrow();
      NEXT.lazySet(metadata.partition(), metadata.offset() + 1);
      if (slow && ++read % 500 == 0) pause(100);
    }
  }

  static String option(String[] arguments, String name) {
    for (int i = 0; i + 1 < arguments.length; i++) if (arguments[i].equals("--" + name)) return arguments[i + 1];
    throw new IllegalArgumentException("--" + name + " is missing");
  }

  static void pause(long milliseconds) {
    try { Thread.sleep(milliseconds); } catch (InterruptedException interrupted) { Thread.currentThread().interrupt(); }
  }

  static Properties properties(String brokers, String group, String state) {
    Properties properties = new Properties();
    properties.put(StreamsConfig.APPLICATION_ID_CONFIG, group);
    properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
    properties.put(StreamsConfig.STATE_DIR_CONFIG, state);
    properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, "2");
    properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, slow ? "1000" : "10000");
    // Must be longer than the commit interval.
    properties.put(StreamsConfig.producerPrefix(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG), "60000");
    properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, "536870912");
    properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), "5000");
    properties.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), "131072");
    // Static membership: without it a start after a kill waits 45 s for the old member to be forgotten.
    properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.GROUP_INSTANCE_ID_CONFIG), "bench");
    // A window's result as soon as it closes (the default looks once a second of the wall clock).
    properties.put("__emit.interval.ms.kstreams.windowed.aggregation__", 0L);
    return properties;
  }

  static Topology topology(String topic, String out) {
    Serde<Sale> sales = Serdes.serdeFrom((name, sale) -> { throw new UnsupportedOperationException(); }, new SaleDeserializer());
    Materialized<String, Double, WindowStore<Bytes, byte[]>> store = Materialized.<String, Double, WindowStore<Bytes, byte[]>>as("sums")
        .withKeySerde(Serdes.String()).withValueSerde(Serdes.Double()).withRetention(Duration.ofMinutes(30)).withCachingEnabled();
    StreamsBuilder builder = new StreamsBuilder();
    builder.stream(topic, Consumed.with(Serdes.String(), sales).withTimestampExtractor((record, time) -> ((Sale) record.value()).timestamp))
        .processValues(Track::new)
        .groupByKey(Grouped.with(Serdes.String(), sales))
        .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(30), Duration.ofSeconds(30)))
        .emitStrategy(EmitStrategy.onWindowClose())
        .aggregate(() -> 0.0, (key, sale, sum) -> sum + sale.price, store)
        .toStream()
        .map((key, sum) -> KeyValue.pair(key.key(), result(key, sum)))
        .to(out, Produced.with(Serdes.String(), Serdes.ByteArray()));
    return builder.build();
  }

  static byte[] result(Windowed<String> key, double sum) {
    String value = "{\"store\":\"" + key.key() + "\",\"window\":" + key.window().start() / 1000L + ",\"sum\":" + sum + "}";
    return value.getBytes(StandardCharsets.UTF_8);
  }

  static Map<Integer, Long> ends(Admin admin, String topic) throws Exception {
    Map<TopicPartition, OffsetSpec> asked = new HashMap<>();
    for (TopicPartitionInfo partition : admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions())
      asked.put(new TopicPartition(topic, partition.partition()), OffsetSpec.latest());
    Map<Integer, Long> ends = new HashMap<>();
    admin.listOffsets(asked).all().get().forEach((partition, end) -> ends.put(partition.partition(), end.offset()));
    return ends;
  }

  /** What the group has committed; nothing while there is no such group. */
  static Map<Integer, Long> committed(Admin admin, String group, String topic) {
    Map<Integer, Long> committed = new HashMap<>();
    try {
      admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().forEach((partition, offset) -> {
        if (offset != null && partition.topic().equals(topic)) committed.put(partition.partition(), offset.offset());
      });
    } catch (Exception unknown) { /* a new group */ }
    return committed;
  }

  public static void main(String[] arguments) throws Exception {
    String brokers = option(arguments, "brokers"), topic = option(arguments, "topic"), group = option(arguments, "group");
    slow = List.of(arguments).contains("--slow");
    KafkaStreams streams = new KafkaStreams(topology(topic, option(arguments, "out")), properties(brokers, group, option(arguments, "state")));
    streams.setUncaughtExceptionHandler(thrown -> {
      thrown.printStackTrace();
      failed = true;
      return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
    });
    streams.start();
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", brokers))) {
      Map<Integer, Long> ends = ends(admin, topic), before = committed(admin, group, topic);
      before.forEach((partition, offset) -> NEXT.compareAndSet(partition, 0, offset));
      boolean first = false, checkpointed = false;
      while (slow || !ends.entrySet().stream().allMatch(end -> NEXT.get(end.getKey()) >= end.getValue())) {
        if (failed) System.exit(1);
        if (!first && hasRead) { first = true; System.out.println("FIRST"); }
        if (slow && first && !checkpointed && committed(admin, group, topic).values().stream().anyMatch(offset -> offset > 0)) {
          checkpointed = true;
          System.out.println("CHECKPOINTED");
        }
        pause(10);
      }
    }
    System.out.println("ALLREAD");
    boolean closed = streams.close(Duration.ofSeconds(120));
    System.exit(closed && !failed ? 0 : 1);
  }
}
