import com.fasterxml.jackson.core.*;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.stream.Stream;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.typeinfo.*;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.*;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.core.execution.*;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/**
 * Sales summed by store in 30-second windows, results to a Kafka topic in transactions, from the topic's begin (or the
 * newest checkpoint in --state) to its end.
 *
 * <p>Prints FIRST when it has read a record, CHECKPOINTED when a checkpoint of this process is complete, ALLREAD when
 * it has read what was in the topic at its start. With --slow it reads some 10,000 records a second and never ends.
 */
public class FlinkJob {
  // Everything runs in this JVM (a local environment), so that statics see all subtasks.
  static final AtomicLongArray NEXT = new AtomicLongArray(1024);
  static volatile boolean hasRead, hasAll;
  static boolean slow;

  /** Price as a double: sums of a window's prices are exact to far below a cent. */
  public static class SaleSchema implements KafkaRecordDeserializationSchema<Tuple3<String, Double, Long>> {
    transient JsonFactory json;
    transient long read;

    @Override public void open(DeserializationSchema.InitializationContext context) {
      json = JsonFactory.builder().enable(StreamReadFeature.USE_FAST_DOUBLE_PARSER).build();
    }

    @Override public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Tuple3<String, Double, Long>> out)
        throws IOException {
      String store = null;
      double price = 0;
      long timestamp = 0;
      try (JsonParser parser = json.createParser(record.value())) {
        parser.nextToken();
        String field;
        while ((field = parser.nextFieldName()) != null) {
          parser.nextToken();
          switch (field) {
            case "store" -> store = parser.getText();
            case "price" -> price = parser.getDoubleValue();
            case "ts" -> timestamp = parser.getLongValue() * 1000L;
            default -> parser.skipChildren();
          }
        }
      }
      out.collect(Tuple3.of(store, price, timestamp));
      if (!hasRead) hasRead = true;
      NEXT.lazySet(record.partition(), record.offset() + 1);
      if (slow && ++read % 500 == 0) pause(100);
    }

    @Override public TypeInformation<Tuple3<String, Double, Long>> getProducedType() {
      return Types.TUPLE(Types.STRING, Types.DOUBLE, Types.LONG);
    }
  }

  public static class Sum implements AggregateFunction<Tuple3<String, Double, Long>, Double, Double> {
    @Override public Double createAccumulator() { return 0.0; }
    @Override public Double add(Tuple3<String, Double, Long> sale, Double sum) { return sum + sale.f1; }
    @Override public Double getResult(Double sum) { return sum; }
    @Override public Double merge(Double one, Double other) { return one + other; }
  }

  public static class WithWindow extends ProcessWindowFunction<Double, Tuple3<String, Long, Double>, String, TimeWindow> {
    @Override public void process(String store, Context context, Iterable<Double> sums, Collector<Tuple3<String, Long, Double>> out) {
      out.collect(Tuple3.of(store, context.window().getStart() / 1000L, sums.iterator().next()));
    }
  }

  public static class ResultSchema implements KafkaRecordSerializationSchema<Tuple3<String, Long, Double>> {
    final String topic;

    ResultSchema(String topic) { this.topic = topic; }

    @Override public ProducerRecord<byte[], byte[]> serialize(Tuple3<String, Long, Double> result, KafkaSinkContext context, Long time) {
      String value = "{\"store\":\"" + result.f0 + "\",\"window\":" + result.f1 + ",\"sum\":" + result.f2 + "}";
      return new ProducerRecord<>(topic, result.f0.getBytes(StandardCharsets.UTF_8), value.getBytes(StandardCharsets.UTF_8));
    }
  }

  static String option(String[] arguments, String name) {
    for (int i = 0; i + 1 < arguments.length; i++) if (arguments[i].equals("--" + name)) return arguments[i + 1];
    throw new IllegalArgumentException("--" + name + " is missing");
  }

  static void pause(long milliseconds) {
    try { Thread.sleep(milliseconds); } catch (InterruptedException interrupted) { Thread.currentThread().interrupt(); }
  }

  static Configuration configuration(String backend, Path state, String interval) throws IOException {
    Configuration configuration = new Configuration();
    configuration.setString("state.backend.type", backend.equals("heap") ? "hashmap" : backend);
    configuration.setString("execution.checkpointing.incremental", backend.equals("rocksdb") ? "true" : "false");
    configuration.setString("execution.checkpointing.interval", interval);
    configuration.setString("execution.checkpointing.mode", "EXACTLY_ONCE");
    configuration.setString("execution.checkpointing.storage", "filesystem");
    configuration.setString("execution.checkpointing.dir", "file://" + state);
    configuration.setString("execution.checkpointing.externalized-checkpoint-retention", "RETAIN_ON_CANCELLATION");
    configuration.setString("taskmanager.memory.managed.size", "1g");
    configuration.setString("taskmanager.memory.network.min", "128m");
    configuration.setString("taskmanager.memory.network.max", "128m");
    configuration.setString("pipeline.object-reuse", "true");
    configuration.setString("restart-strategy.type", "none");
    Optional<Path> newest = checkpoints(state).max(Comparator.comparing(FlinkJob::written));
    newest.ifPresent(path -> configuration.setString("execution.state-recovery.path", "file://" + path));
    return configuration;
  }

  /** The complete checkpoints below a directory: .../JOB/chk-N with a file _metadata. */
  static Stream<Path> checkpoints(Path state) throws IOException {
    if (!Files.isDirectory(state)) return Stream.empty();
    try (Stream<Path> all = Files.find(state, 3, (path, attributes) -> path.getFileName().toString().startsWith("chk-"))) {
      return all.filter(path -> Files.exists(path.resolve("_metadata"))).toList().stream();
    } catch (java.io.UncheckedIOException vanished) {
      return Stream.empty(); // a checkpoint was deleted while it was looked at
    }
  }

  static long written(Path checkpoint) {
    return checkpoint.resolve("_metadata").toFile().lastModified();
  }

  static Map<Integer, Long> ends(String brokers, String topic) {
    String bytes = "org.apache.kafka.common.serialization.ByteArrayDeserializer";
    Map<String, Object> settings = Map.of("bootstrap.servers", brokers, "key.deserializer", bytes, "value.deserializer", bytes);
    try (var consumer = new KafkaConsumer<byte[], byte[]>(settings)) {
      List<TopicPartition> partitions =
          consumer.partitionsFor(topic).stream().map(it -> new TopicPartition(topic, it.partition())).toList();
      Map<Integer, Long> ends = new HashMap<>();
      consumer.endOffsets(partitions).forEach((partition, end) -> ends.put(partition.partition(), end));
      return ends;
    }
  }

  /** Tells how far the job is, until it is done. */
  static void watch(String brokers, String topic, Path state) {
    Map<Integer, Long> ends = ends(brokers, topic);
    long started = System.currentTimeMillis();
    boolean first = false, checkpointed = false;
    while (true) {
      if (!first && hasRead) { first = true; System.out.println("FIRST"); }
      if (!hasAll && ends.entrySet().stream().allMatch(end -> NEXT.get(end.getKey()) >= end.getValue())) { hasAll = true; System.out.println("ALLREAD"); }
      if (slow && first && !checkpointed) {
        try {
          if (checkpoints(state).anyMatch(it -> written(it) > started)) { checkpointed = true; System.out.println("CHECKPOINTED"); }
        } catch (IOException gone) { /* looked at again in a moment */ }
      }
      pause(10);
    }
  }

  public static void main(String[] arguments) throws Exception {
    String brokers = option(arguments, "brokers"), topic = option(arguments, "topic"), group = option(arguments, "group");
    Path state = Path.of(option(arguments, "state"));
    slow = List.of(arguments).contains("--slow");
    Configuration configuration = configuration(option(arguments, "backend"), state, slow ? "1 s" : "10 s");
    StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(2, configuration);

    var source = KafkaSource.<Tuple3<String, Double, Long>>builder()
        .setBootstrapServers(brokers).setTopics(topic).setGroupId(group)
        .setStartingOffsets(OffsetsInitializer.earliest())
        .setProperty("max.poll.records", "5000")
        .setDeserializer(new SaleSchema());
    boolean isRestored = configuration.containsKey("execution.state-recovery.path");
    if (!slow && !isRestored) source.setBounded(OffsetsInitializer.latest());
    var watermarks = WatermarkStrategy.<Tuple3<String, Double, Long>>forBoundedOutOfOrderness(Duration.ofSeconds(30))
        .withTimestampAssigner((sale, time) -> sale.f2);
    var sink = KafkaSink.<Tuple3<String, Long, Double>>builder()
        .setBootstrapServers(brokers).setRecordSerializer(new ResultSchema(option(arguments, "out")))
        .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE).setTransactionalIdPrefix(group)
        .setProperty("transaction.timeout.ms", "600000").setProperty("linger.ms", "50").setProperty("batch.size", "131072");
    environment.fromSource(source.build(), watermarks, "sales").uid("sales")
        .keyBy(sale -> sale.f0, Types.STRING)
        .window(TumblingEventTimeWindows.of(Duration.ofSeconds(30)))
        .aggregate(new Sum(), new WithWindow(), Types.DOUBLE, Types.DOUBLE, Types.TUPLE(Types.STRING, Types.LONG, Types.DOUBLE))
        .uid("sums")
        .sinkTo(sink.build()).uid("results");

    Thread watch = new Thread(() -> watch(brokers, topic, state));
    watch.setDaemon(true);
    watch.start();
    if (slow || !isRestored) {
      environment.execute("sales");
    } else {
      // Bounds are part of the state: a job restored from a checkpoint without an end has none, and is stopped instead.
      JobClient job = environment.executeAsync("sales");
      while (!hasAll) pause(10);
      job.stopWithSavepoint(true, "file://" + state.resolve("last"), SavepointFormatType.NATIVE).get();
    }
    System.exit(0);
  }
}
