import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.exc.InputCoercionException;
import com.fasterxml.jackson.core.exc.StreamConstraintsException;
import com.fasterxml.jackson.core.json.JsonReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.cfg.JsonNodeFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.MissingNode;
import com.fasterxml.jackson.databind.node.TextNode;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.*;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Recomputes every result of a run from the topic and compares it with what the run published.
 *
 * <p>Shares no code with sales-stream: another language, another Kafka client, another JSON parser. It takes the
 * batch boundaries that the checkpoint recorded, reads the topic (read_committed), and applies the rules of the
 * README again: batch n adds events of windows that end after W(n-1), publishes windows that end at or before
 * W(n), and W(n+1) = max(W(n), newest event time - delay), W(0) = 0. Sums are exact (BigDecimal).
 *
 * <p>Run by scripts/audit.sh, whose --help lists the options. Start at {@link #main}; an audit is {@link Audit#run}.
 * Not here: getting the boundaries out of a checkpoint (audit.sh does).
 */
public final class Auditor {
    private Auditor() {}

    /** 0: every audit clean. 1: violations. 2: at least one could not be made. */
    public static void main(String[] arguments) {
        int worst = 0;
        List<Options> audits;
        try {
            audits = Options.all(arguments);
        } catch (CannotAudit problem) {
            System.err.println("auditor: " + problem.getMessage());
            System.exit(2);
            return;
        }
        Topics topics = new Topics(audits.stream().anyMatch(options -> !options.deadLetters.isEmpty()));
        int clean = 0;
        for (Options options : audits) {
            try {
                boolean isClean = new Audit(options, topics).run();
                clean += isClean ? 1 : 0;
                worst = Math.max(worst, isClean ? 0 : 1);
            } catch (RuntimeException problem) {
                // Anything else is the auditor's own mistake, which is no verdict either.
                String words = problem instanceof CannotAudit ? problem.getMessage() : trace(problem);
                System.out.println(options.prefix() + "cannot audit: " + words);
                System.out.println(options.prefix() + "verdict: none");
                worst = 2;
            }
        }
        if (audits.size() > 1) {
            System.out.println(clean + " of " + audits.size() + " audits clean");
        }
        System.out.flush();
        // Threads of a client that lost its broker must not hold the process up.
        Runtime.getRuntime().halt(worst);
    }

    private static String trace(RuntimeException problem) {
        StringWriter words = new StringWriter();
        problem.printStackTrace(new PrintWriter(words));
        return "a mistake in the auditor: " + words;
    }

    /** Something is missing without which nothing can be said. */
    static final class CannotAudit extends RuntimeException {
        CannotAudit(String message) {
            super(message);
        }
    }

    // ---- options ------------------------------------------------------------------------------------------------

    /** What one audit is about. */
    static final class Options {
        String name = "";
        String brokers = "localhost:9092";
        String topic = "sales";
        String group;
        long windowUs = 30_000_000;
        long slideUs;
        long delayMs = 30_000;
        String keyField = "store";
        String valueField = "price";
        String timeField = "ts";
        long timeUnitUs = 1_000_000;
        String result = "total_revenue_int";
        String cast = "int";
        Path boundaries;
        Path progress;
        final List<Path> files = new ArrayList<>();
        Path console;
        /** How many times the program was started in all; null where nobody counted. */
        Long launches;
        final List<Path> deadLetters = new ArrayList<>();
        boolean partial;
        /** The process may go on while it is audited: what is newer than the recorded boundaries is passed over. */
        boolean live;
        boolean fromEarliest;
        int shown = 20;

        String prefix() {
            return name.isEmpty() ? "" : name + ": ";
        }

        /** One audit from the arguments, or one for each line (tab between words) of --list FILE. */
        static List<Options> all(String[] arguments) {
            List<String> words = new ArrayList<>(List.of(arguments));
            int list = words.indexOf("--list");
            if (list < 0) {
                return List.of(new Options().parse(words));
            }
            if (list + 1 >= words.size()) {
                throw new CannotAudit("--list wants a file");
            }
            Path file = Path.of(words.get(list + 1));
            words.subList(list, list + 2).clear();
            List<Options> all = new ArrayList<>();
            for (String line : read(file).split("\n")) {
                if (!line.isBlank()) {
                    List<String> both = new ArrayList<>(words);
                    both.addAll(List.of(line.split("\t")));
                    all.add(new Options().parse(both));
                }
            }
            return all;
        }

        private Options parse(List<String> words) {
            Iterator<String> rest = words.iterator();
            while (rest.hasNext()) {
                String option = rest.next();
                switch (option) {
                    case "--partial" -> partial = true;
                    case "--live" -> {
                        partial = true;
                        live = true;
                    }
                    default -> {
                        if (!rest.hasNext()) {
                            throw new CannotAudit("unknown option, or one that wants a value: " + option);
                        }
                        set(option, rest.next());
                    }
                }
            }
            slideUs = slideUs == 0 ? windowUs : slideUs;
            return this;
        }

        private void set(String option, String value) {
            switch (option) {
                case "--name" -> name = value;
                case "--brokers" -> brokers = value;
                case "--topic" -> topic = value;
                case "--group" -> group = value;
                case "--window" -> windowUs = micros(value);
                case "--slide" -> slideUs = micros(value);
                case "--delay" -> delayMs = micros(value) / 1000;
                case "--key" -> keyField = value;
                case "--value" -> valueField = value;
                case "--time" -> timeField = value;
                case "--time-unit" -> timeUnitUs = switch (value) {
                    case "seconds" -> 1_000_000;
                    case "milliseconds" -> 1000;
                    default -> throw new CannotAudit("--time-unit is seconds or milliseconds, not " + value);
                };
                case "--result" -> result = value;
                case "--cast" -> cast = value;
                case "--boundaries" -> boundaries = Path.of(value);
                case "--progress" -> progress = Path.of(value);
                case "--sink" -> {
                    if (!value.startsWith("files:")) {
                        throw new CannotAudit("--sink is files:DIR, not " + value);
                    }
                    files.add(Path.of(value.substring("files:".length())));
                }
                case "--console" -> console = Path.of(value);
                case "--launches" -> launches = Long.parseLong(value);
                case "--dead-letters" ->
                    deadLetters.add(Path.of(value.startsWith("files:") ? value.substring(6) : value));
                case "--starting" -> fromEarliest = switch (value) {
                    case "earliest" -> true;
                    case "recorded" -> false;
                    default -> throw new CannotAudit("--starting is earliest or recorded, not " + value);
                };
                case "--show" -> shown = Integer.parseInt(value);
                default -> throw new CannotAudit("unknown option " + option);
            }
        }

        private static long micros(String text) {
            String[] parts = text.trim().split("(?<=\\d)\\s*(?=[a-z])", 2);
            long number = Long.parseLong(parts[0]);
            return switch (parts.length < 2 ? "s" : parts[1].trim()) {
                case "ms", "milliseconds" -> number * 1000;
                case "s", "second", "seconds" -> number * 1_000_000;
                case "m", "minute", "minutes" -> number * 60_000_000;
                case "h", "hour", "hours" -> number * 3_600_000_000L;
                case "d", "day", "days" -> number * 86_400_000_000L;
                default -> throw new CannotAudit("not a duration: " + text);
            };
        }
    }

    static String read(Path file) {
        try {
            return Files.readString(file);
        } catch (IOException error) {
            throw new CannotAudit("reading " + file + " failed: " + error);
        }
    }

    // ---- the topic ----------------------------------------------------------------------------------------------

    /** One committed record as the pipeline's columns read it. */
    static final class Event {
        final int partition;
        final long offset;
        /** Microseconds since 1970. */
        Long time;
        String key;
        BigDecimal value;
        /** The value is a number that no exact sum can hold. */
        boolean isInexact;
        /** The first thing wrong with it, or null. */
        String fault;
        /** Which field that was, or null. */
        String faultField;
        /** Kept for dead letters only. */
        byte[] payload;

        Event(int partition, long offset) {
            this.partition = partition;
            this.offset = offset;
        }

        String at() {
            return partition + ":" + offset;
        }
    }

    /** All there is of one topic: committed records by partition, in order of offset. */
    static final class Topic {
        final TreeMap<Integer, List<Event>> events = new TreeMap<>();
        final TreeMap<Integer, Long> begins = new TreeMap<>();
        /** Last stable offsets. */
        final TreeMap<Integer, Long> ends = new TreeMap<>();
        long records;
    }

    /** Reads each topic once. */
    static final class Topics {
        private final Map<String, Topic> read = new HashMap<>();
        private final boolean keepsPayloads;

        Topics(boolean keepsPayloads) {
            this.keepsPayloads = keepsPayloads;
        }

        Topic of(Options options) {
            String id = String.join(
                "\n", options.brokers, options.topic, options.keyField, options.valueField, options.timeField,
                String.valueOf(options.timeUnitUs));
            return read.computeIfAbsent(id, unused -> readAll(options));
        }

        private Topic readAll(Options options) {
            Topic topic = new Topic();
            Decoder decoder = new Decoder(options);
            try (KafkaConsumer<byte[], byte[]> consumer = consumer(options)) {
                List<TopicPartition> partitions = consumer.partitionsFor(options.topic).stream()
                    .map(info -> new TopicPartition(info.topic(), info.partition()))
                    .sorted(Comparator.comparingInt(TopicPartition::partition))
                    .toList();
                if (partitions.isEmpty()) {
                    throw new CannotAudit("there is no topic " + options.topic + " at " + options.brokers);
                }
                consumer.assign(partitions);
                consumer.seekToBeginning(partitions);
                consumer.beginningOffsets(partitions).forEach((p, at) -> topic.begins.put(p.partition(), at));
                // Of a consumer that reads committed records these are the last stable offsets.
                Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
                ends.forEach((p, at) -> topic.ends.put(p.partition(), at));
                partitions.forEach(p -> topic.events.put(p.partition(), new ArrayList<>()));
                long quietSince = System.nanoTime();
                while (partitions.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
                    var records = consumer.poll(Duration.ofMillis(200));
                    for (ConsumerRecord<byte[], byte[]> record : records) {
                        if (record.offset() < ends.get(new TopicPartition(record.topic(), record.partition()))) {
                            Event event = decoder.decode(record);
                            event.payload = keepsPayloads ? record.value() : null;
                            topic.events.get(record.partition()).add(event);
                            topic.records++;
                        }
                    }
                    if (!records.isEmpty()) {
                        quietSince = System.nanoTime();
                    } else if (System.nanoTime() - quietSince > 60_000_000_000L) {
                        throw new CannotAudit("topic " + options.topic + " gave nothing for 60 s before its end");
                    }
                }
            } catch (org.apache.kafka.common.KafkaException error) {
                throw new CannotAudit("reading topic " + options.topic + " at " + options.brokers + " failed: " + error);
            }
            return topic;
        }

        private static KafkaConsumer<byte[], byte[]> consumer(Options options) {
            Properties properties = new Properties();
            properties.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, options.brokers);
            properties.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
            properties.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, "false");
            properties.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "none");
            properties.put(ConsumerConfig.ALLOW_AUTO_CREATE_TOPICS_CONFIG, "false");
            properties.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, "10000");
            properties.put(ConsumerConfig.DEFAULT_API_TIMEOUT_MS_CONFIG, "30000");
            return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        }
    }

    /** Reads a record's JSON by Spark's rules for permissive mode, with Jackson itself. */
    static final class Decoder {
        /** No sum is exact beyond this many places. */
        private static final int PLACES = 9;

        private final JsonFactory factory = JsonFactory.builder()
            .enable(JsonReadFeature.ALLOW_SINGLE_QUOTES)
            .enable(JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS)
            .build();
        private final Options options;

        Decoder(Options options) {
            this.options = options;
        }

        Event decode(ConsumerRecord<byte[], byte[]> record) {
            Event event = new Event(record.partition(), record.offset());
            if (record.value() == null) {
                event.fault = "null_value";
                return event;
            }
            try (JsonParser parser = factory.createParser(new String(record.value(), StandardCharsets.UTF_8))) {
                read(parser, event);
            } catch (StreamConstraintsException error) {
                forget(event, error.getMessage().contains("nesting") ? "too_deep" : "too_large");
            } catch (IOException error) {
                forget(event, "syntax");
            }
            boolean hasData = !"empty".equals(event.fault);
            if (event.time == null && event.fault == null && hasData) {
                event.fault = "no_event_time";
                event.faultField = options.timeField;
            }
            return event;
        }

        private static void forget(Event event, String fault) {
            event.time = null;
            event.key = null;
            event.value = null;
            event.isInexact = false;
            event.fault = fault;
            event.faultField = null;
        }

        private void read(JsonParser parser, Event event) throws IOException {
            JsonToken first = parser.nextToken();
            if (first == null) {
                event.fault = "empty";
                return;
            }
            if (first != JsonToken.START_OBJECT) {
                // A text must be whole to be one.
                parser.getText();
                event.fault = "not_an_object";
                return;
            }
            while (parser.nextToken() != JsonToken.END_OBJECT) {
                String field = parser.currentName();
                parser.nextToken();
                String fault = readField(parser, field, event);
                parser.skipChildren();
                if (fault != null && event.fault == null) {
                    event.fault = fault;
                    event.faultField = field;
                }
            }
        }

        private String readField(JsonParser parser, String field, Event event) throws IOException {
            if (field.equals(options.keyField)) {
                event.key = text(parser);
                return null;
            }
            if (field.equals(options.valueField)) {
                return readValue(parser, event);
            }
            if (field.equals(options.timeField)) {
                return readTime(parser, event);
            }
            return null;
        }

        private String text(JsonParser parser) throws IOException {
            if (parser.currentToken() == JsonToken.VALUE_STRING) {
                return parser.getText();
            }
            if (parser.currentToken() == JsonToken.VALUE_NULL) {
                return null;
            }
            StringWriter text = new StringWriter();
            try (JsonGenerator generator = factory.createGenerator(text)) {
                generator.copyCurrentStructure(parser);
            }
            return text.toString();
        }

        private String readValue(JsonParser parser, Event event) throws IOException {
            switch (parser.currentToken()) {
                case VALUE_NULL -> event.value = null;
                case VALUE_NUMBER_INT, VALUE_NUMBER_FLOAT -> {
                    if (parser.isNaN()) {
                        event.value = null;
                        event.isInexact = true;
                        return null;
                    }
                    BigDecimal value = parser.getDecimalValue();
                    event.isInexact = !isExact(value);
                    event.value = value;
                }
                case VALUE_STRING -> {
                    boolean isNumber = Set.of("NaN", "Infinity", "+INF", "+Infinity", "-INF", "-Infinity")
                        .contains(parser.getText());
                    if (!isNumber) {
                        return "wrong_type";
                    }
                    event.value = null;
                    event.isInexact = true;
                }
                default -> {
                    return "wrong_type";
                }
            }
            return null;
        }

        /** Whether a number, counted in its smallest unit, fits 128 bits. */
        static boolean isExact(BigDecimal value) {
            return value.signum() == 0 || value.stripTrailingZeros().scale() <= PLACES
                && value.precision() - value.scale() <= 40
                && value.setScale(PLACES, RoundingMode.DOWN).unscaledValue().bitLength() <= 127;
        }

        private String readTime(JsonParser parser, Event event) throws IOException {
            switch (parser.currentToken()) {
                case VALUE_NULL -> event.time = null;
                case VALUE_NUMBER_INT -> {
                    long number;
                    try {
                        number = parser.getLongValue();
                    } catch (InputCoercionException error) {
                        return "out_of_range";
                    }
                    event.time = saturatingMultiply(number, options.timeUnitUs);
                }
                default -> {
                    return "wrong_type";
                }
            }
            return null;
        }

        private static long saturatingMultiply(long left, long right) {
            long high = Math.multiplyHigh(left, right);
            long low = left * right;
            if ((high == 0 && low >= 0) || (high == -1 && low < 0)) {
                return low;
            }
            return left < 0 ? Long.MIN_VALUE : Long.MAX_VALUE;
        }
    }

    // ---- what was recorded --------------------------------------------------------------------------------------

    /** One batch as the checkpoint remembers it. */
    static final class Recorded {
        long batch;
        long incarnation;
        /** W(n); null where nothing tells. */
        Long watermarkMs;
        /** Null where nothing tells. */
        String digest;
        final TreeMap<Integer, long[]> ranges = new TreeMap<>();
        final Map<String, Long> counts = new TreeMap<>();
        /** It came from a line of progress, which knows less. */
        boolean isFromProgress;
    }

    /** The checkpoint, as `sales-stream inspect --json --history all` shows it. */
    static final class Checkpoint {
        String lineage;
        String problem;
        Long newest;
        Long nextWatermarkMs;
        final List<Recorded> batches = new ArrayList<>();
        final Map<String, Long> marks = new TreeMap<>();
        final Map<String, Long> totals = new TreeMap<>();

        static Checkpoint read(Options options) {
            Checkpoint checkpoint = new Checkpoint();
            if (options.boundaries == null) {
                throw new CannotAudit("no recorded batch boundaries: give --checkpoint-dir (or --boundaries FILE)");
            }
            String text = Auditor.read(options.boundaries);
            if (text.startsWith("none")) {
                // What audit.sh writes where inspect shows nothing: the first line says why.
                checkpoint.problem = text.substring(4).trim();
                return checkpoint;
            }
            try {
                checkpoint.take(new ObjectMapper().readTree(text));
            } catch (IOException error) {
                throw new CannotAudit(options.boundaries + " is not what `inspect --json` writes: " + error);
            }
            if (options.progress != null && !checkpoint.batches.isEmpty()) {
                checkpoint.fillFrom(options);
            }
            return checkpoint;
        }

        /** Lines of progress tell of the batches that history no longer holds. */
        private void fillFrom(Options options) {
            long first = batches.get(0).batch;
            TreeMap<Long, JsonNode> told = new TreeMap<>();
            for (String line : Auditor.read(options.progress).split("\n")) {
                try {
                    JsonNode node = new ObjectMapper().readTree(line);
                    if (node.path("batchId").isNumber()) {
                        told.put(node.path("batchId").asLong(), node);
                    }
                } catch (IOException error) {
                    // Cut short by a crash: the batch is told again, or the lines around it tell enough.
                }
            }
            List<Recorded> older = new ArrayList<>();
            for (long batch = 0; batch < first; batch++) {
                JsonNode ends = told.containsKey(batch)
                    ? told.get(batch).path("sources").path(0).path("endOffset").path(options.topic)
                    // Each line says where its batch began, which is where a batch without a line ended.
                    : told.getOrDefault(batch + 1, new ObjectMapper().nullNode()).path("sources").path(0)
                        .path("startOffset").path(options.topic);
                Recorded recorded = older(batch, told.get(batch));
                Recorded before = older.isEmpty() ? null : older.get(older.size() - 1);
                ends.properties().forEach(end -> {
                    int partition = Integer.parseInt(end.getKey());
                    long[] last = before == null ? null : before.ranges.get(partition);
                    // A partition that is new is read from its first record on; -1 stands for that.
                    recorded.ranges.put(partition, new long[] {last == null ? -1 : last[1], end.getValue().asLong()});
                });
                if (recorded.ranges.isEmpty()) {
                    return;
                }
                older.add(recorded);
            }
            batches.addAll(0, older);
        }

        private static Recorded older(long batch, JsonNode line) {
            Recorded recorded = new Recorded();
            recorded.batch = batch;
            recorded.isFromProgress = true;
            if (line == null) {
                return recorded;
            }
            JsonNode own = line.path("salesStream");
            recorded.digest = own.path("digest").asText(null);
            String watermark = line.path("eventTime").path("watermark").asText(null);
            recorded.watermarkMs = watermark == null ? null : millis(watermark);
            recorded.counts.put("rows_in", line.path("numInputRows").asLong());
            recorded.counts.put("late", own.path("lateRows").asLong());
            recorded.counts.put("malformed", own.path("malformedRows").asLong());
            recorded.counts.put("filtered", own.path("filteredRows").asLong());
            recorded.counts.put("rows_out", line.path("sink").path("numOutputRows").asLong());
            return recorded;
        }

        private void take(JsonNode root) {
            lineage = root.path("lineage").asText(null);
            problem = root.path("problem").asText(null);
            newest = root.path("batch").isNumber() ? root.path("batch").asLong() : null;
            nextWatermarkMs = root.path("watermark").isTextual() ? millis(root.path("watermark").asText()) : null;
            for (JsonNode sink : root.path("sinks")) {
                JsonNode published = sink.path("published");
                marks.put(sink.path("sink").asText(), published.isNumber() ? published.asLong() : null);
            }
            for (JsonNode node : root.path("batches")) {
                Recorded recorded = new Recorded();
                recorded.batch = node.path("batch").asLong();
                recorded.incarnation = node.path("incarnation").asLong();
                recorded.watermarkMs = millis(node.path("watermark").asText());
                recorded.digest = node.path("digest").asText();
                for (JsonNode range : node.path("ranges")) {
                    long[] ends = {range.path("begin").asLong(), range.path("end").asLong()};
                    recorded.ranges.put(range.path("partition").asInt(), ends);
                }
                takeCounts(node, recorded.counts);
                batches.add(recorded);
            }
            if (root.path("totals").isObject()) {
                takeCounts(root.path("totals"), totals);
            }
        }

        private static void takeCounts(JsonNode node, Map<String, Long> counts) {
            for (String count : List.of(
                    "rows_in", "filtered", "late", "duplicates", "malformed", "rows_out", "dead_letters", "lost",
                    "inexact_sums", "nulled")) {
                // One that is missing is as wrong as one that is no number.
                counts.put(count, node.path(count).isIntegralNumber() ? node.path(count).asLong() : -1);
            }
            node.path("malformed_by_reason").properties()
                .forEach(entry -> counts.put(MALFORMED + entry.getKey(), entry.getValue().asLong(-1)));
        }

        private static long millis(String text) {
            return Instant.parse(text).toEpochMilli();
        }
    }

    // ---- one audit ----------------------------------------------------------------------------------------------

    /** A window of one key. */
    record Window(long startUs, String key) implements Comparable<Window> {
        @Override
        public int compareTo(Window other) {
            int order = Long.compare(startUs, other.startUs);
            return order != 0 ? order : compareKeys(key, other.key);
        }

        /** NULL first, then by bytes of UTF-8. */
        static int compareKeys(String left, String right) {
            if (left == null || right == null) {
                return Boolean.compare(left != null, right != null);
            }
            return Arrays.compareUnsigned(
                left.getBytes(StandardCharsets.UTF_8), right.getBytes(StandardCharsets.UTF_8));
        }
    }

    /** What a window has come to. */
    static final class Total {
        BigDecimal sum;
        boolean isInexact;
        long events;
    }

    /** A row as a sink shows it; {@code value} is the text of a number, or null. */
    record Row(Window window, long endUs, String value) {}

    /** A row that must be published by a batch. */
    record Due(long batch, String value, boolean isInexact, boolean isMisfit) {}

    /** What the count of one reason is called among the others. */
    static final String MALFORMED = "malformed: ";

    /** What the topic says must have been counted of a batch. */
    static final class Expected {
        final Map<String, Long> counts = new TreeMap<>();
        boolean knowsNulled = true;
        long watermarkMs;
        /** Least and greatest event time; one that is missing is zero, as in Spark. */
        Long oldestUs;
        Long newestUs;

        void count(String name, long count) {
            counts.merge(name, count, Long::sum);
        }

        void see(Event event) {
            long time = event.time == null ? 0 : event.time;
            oldestUs = oldestUs == null ? time : Math.min(oldestUs, time);
            newestUs = newestUs == null ? time : Math.max(newestUs, time);
        }

        /** Whether this count can be worked out from the topic. */
        boolean knows(String name) {
            return counts.containsKey(name) && (knowsNulled || !name.equals("nulled")) || name.startsWith(MALFORMED);
        }
    }

    /** A dead letter that must be published by a batch. */
    record Letter(long batch, String reason, String column, byte[] payload) {}

    static final class Audit {
        private final Options options;
        private final Topics topics;
        private final TreeMap<String, List<String>> violations = new TreeMap<>();
        private final List<String> notes = new ArrayList<>();
        private Topic topic;
        private Checkpoint checkpoint;
        /** Where each window is due. */
        private final Map<Window, Due> due = new HashMap<>();
        /** Rows of each batch in order. */
        private final TreeMap<Long, List<Window>> rows = new TreeMap<>();
        private final TreeMap<Long, Map<String, Letter>> letters = new TreeMap<>();
        private final Map<String, Letter> allLetters = new HashMap<>();
        /** Groups that are still open behind the newest batch. */
        private final Map<Window, Total> open = new HashMap<>();
        private final TreeMap<Long, Expected> expectations = new TreeMap<>();
        private long recordsCounted;
        private long late;
        private long faulty;
        private long lastWatermarkMs;
        private long rowsRead;
        private long lettersRead;
        private long inexact;

        Audit(Options options, Topics topics) {
            this.options = options;
            this.topics = topics;
        }

        boolean run() {
            // In this order: what is behind is read before what is ahead of it, so that a live run is not accused.
            Map<Integer, OffsetAndMetadata> commits = options.group == null ? Map.of() : commits();
            checkpoint = Checkpoint.read(options);
            topic = topics.of(options);
            checkCompleteness();
            checkHistory();
            recompute();
            checkEnd();
            checkCommits(commits);
            for (Path directory : options.files) {
                checkFiles(directory);
            }
            for (Path directory : options.deadLetters) {
                checkDeadLetters(directory);
            }
            if (options.console != null) {
                checkConsole(options.console);
            }
            if (options.progress != null) {
                checkProgress(options.progress);
            }
            return conclude();
        }

        private void violation(String kind, String detail) {
            violations.computeIfAbsent(kind, unused -> new ArrayList<>()).add(detail);
        }

        /** Whether a sink's or a commit's batch is newer than what is recorded; a violation unless the process runs on. */
        private boolean isAhead(long batch, String who) {
            Long newest = newest();
            if (newest != null && batch <= newest) {
                return false;
            }
            if (!options.live) {
                violation("rollback", who + " is ahead of state: it has batch " + batch + ", the checkpoint ends with "
                    + (newest == null ? "none" : "batch " + newest));
            }
            return true;
        }

        /** A batch that is recorded; history may have a hole only where that is a finding already. */
        private Recorded recordedAs(long batch) {
            return checkpoint.batches.stream().filter(recorded -> recorded.batch == batch).findFirst()
                .orElseThrow(() -> new CannotAudit("batch " + batch + " is missing in history"));
        }

        private Long newest() {
            return checkpoint.batches.isEmpty() ? null : checkpoint.batches.get(checkpoint.batches.size() - 1).batch;
        }

        // -- the checkpoint itself

        private void checkCompleteness() {
            if (checkpoint.problem != null) {
                violation("rollback", "the checkpoint is older than what was announced, or gone: " + checkpoint.problem);
            }
            if (checkpoint.batches.isEmpty()) {
                if (checkpoint.newest != null) {
                    throw new CannotAudit("no batch boundaries are recorded although there are batches");
                }
                return;
            }
            long first = checkpoint.batches.get(0).batch;
            // Where lines of progress do not say where a partition began: at its first record.
            for (Recorded recorded : checkpoint.batches) {
                recorded.ranges.forEach((partition, range) ->
                    range[0] = range[0] >= 0 ? range[0] : topic.begins.getOrDefault(partition, 0L));
            }
            if (first != 0) {
                throw new CannotAudit(
                    "history begins with batch " + first + ": the boundaries of earlier ones are not recorded any more"
                        + " (the checkpoint keeps 10,000 batches; lines of --progress jsonl:FILE tell of all)");
            }
        }

        private void checkHistory() {
            Recorded before = null;
            for (Recorded now : checkpoint.batches) {
                if (before == null) {
                    checkBeginning(now);
                } else {
                    checkSuccession(before, now);
                }
                for (var range : now.ranges.entrySet()) {
                    Long end = topic.ends.get(range.getKey());
                    if (end == null) {
                        violation("offset gap", "batch " + now.batch + " read partition " + range.getKey()
                            + ", which the topic does not have");
                    } else if (range.getValue()[1] > end) {
                        violation("offset gap", "batch " + now.batch + " ends at " + range.getKey() + ":"
                            + range.getValue()[1] + ", beyond the partition's end " + end);
                    }
                }
                before = now;
            }
        }

        private void checkBeginning(Recorded first) {
            for (var range : first.ranges.entrySet()) {
                Long earliest = topic.begins.get(range.getKey());
                if (earliest == null) {
                    continue;
                }
                long begin = range.getValue()[0];
                if (begin < earliest) {
                    throw new CannotAudit("records " + range.getKey() + ":" + begin + " to " + (earliest - 1)
                        + " are not in the topic any more (retention)");
                }
                if (options.fromEarliest && begin > earliest) {
                    violation("lost", "the first batch begins at " + range.getKey() + ":" + begin
                        + " and not at the partition's first record " + earliest);
                }
            }
        }

        private void checkSuccession(Recorded before, Recorded now) {
            if (now.batch != before.batch + 1) {
                violation("rollback", "batch " + now.batch + " follows batch " + before.batch + " in history");
            }
            if (now.incarnation < before.incarnation) {
                violation("rollback", "batch " + now.batch + " is of start " + now.incarnation + ", the batch before it"
                    + " of start " + before.incarnation);
            }
            if (now.watermarkMs != null && before.watermarkMs != null && now.watermarkMs < before.watermarkMs) {
                violation("rollback", "the watermark goes back from " + instant(before.watermarkMs * 1000) + " to "
                    + instant(now.watermarkMs * 1000) + " in batch " + now.batch);
            }
            for (var range : now.ranges.entrySet()) {
                int partition = range.getKey();
                long[] last = before.ranges.get(partition);
                // A partition that is new is read from its first record on.
                Long expected = last != null ? Long.valueOf(last[1]) : topic.begins.get(partition);
                if (expected != null && range.getValue()[0] != expected) {
                    violation("offset gap", "batch " + now.batch + " begins at " + partition + ":" + range.getValue()[0]
                        + (last != null ? ", the batch before it ended at " : ", the new partition begins at ")
                        + expected);
                }
                if (range.getValue()[1] < range.getValue()[0]) {
                    violation("offset gap", "batch " + now.batch + " goes back in partition " + partition + ": "
                        + range.getValue()[0] + " to " + range.getValue()[1]);
                }
            }
            for (int partition : before.ranges.keySet()) {
                if (!now.ranges.containsKey(partition)) {
                    violation("offset gap", "batch " + now.batch + " does not know partition " + partition
                        + " any more");
                }
            }
        }

        // -- what must have come of it

        private void recompute() {
            long lateBoundMs = 0;
            long closingBoundMs = 0;
            for (Recorded recorded : checkpoint.batches) {
                if (recorded.watermarkMs != null) {
                    compare(recorded, "watermark", recorded.watermarkMs, closingBoundMs, "wrong watermark");
                }
                Map<String, Long> faults = new TreeMap<>();
                Map<String, Letter> batchLetters = new LinkedHashMap<>();
                long rowsIn = 0;
                long lateHere = 0;
                Long newestUs = null;
                Expected expected = new Expected();
                expected.watermarkMs = closingBoundMs;
                for (var range : recorded.ranges.entrySet()) {
                    for (Event event : between(range.getKey(), range.getValue()[0], range.getValue()[1])) {
                        rowsIn++;
                        boolean isLate = add(event, lateBoundMs);
                        lateHere += isLate ? 1 : 0;
                        if (event.time != null && (newestUs == null || event.time > newestUs)) {
                            newestUs = event.time;
                        }
                        expected.see(event);
                        if (event.fault != null) {
                            faults.merge(event.fault, 1L, Long::sum);
                        }
                        if (event.fault != null || isLate) {
                            String reason = event.fault != null ? event.fault : "late";
                            Letter letter = new Letter(recorded.batch, reason, event.faultField, event.payload);
                            batchLetters.put(event.at(), letter);
                            allLetters.put(event.at(), letter);
                        }
                    }
                }
                recordsCounted += rowsIn;
                late += lateHere;
                close(recorded.batch, closingBoundMs);
                letters.put(recorded.batch, batchLetters);
                long faultsHere = faults.values().stream().mapToLong(Long::longValue).sum();
                faulty += faultsHere;
                expected.count("rows_in", rowsIn);
                expected.count("late", lateHere);
                expected.count("malformed", faultsHere);
                // Nothing that is audited here filters, drops duplicates or passes over what is gone.
                expected.count("filtered", 0);
                expected.count("duplicates", 0);
                expected.count("lost", 0);
                countResults(recorded.batch, expected);
                if (!options.deadLetters.isEmpty()) {
                    expected.count("dead_letters", batchLetters.size());
                }
                faults.forEach((reason, count) -> expected.count(MALFORMED + reason, count));
                expectations.put(recorded.batch, expected);
                checkCounts(recorded, expected);
                lateBoundMs = closingBoundMs;
                if (newestUs != null) {
                    long candidate = Math.floorDiv(newestUs, 1000L) - options.delayMs;
                    closingBoundMs = Math.max(closingBoundMs, candidate);
                }
            }
            lastWatermarkMs = closingBoundMs;
            checkTotals();
            if (checkpoint.nextWatermarkMs != null && !checkpoint.batches.isEmpty()
                    && checkpoint.nextWatermarkMs != closingBoundMs) {
                violation("wrong watermark", "the watermark behind batch " + newest() + " is "
                    + instant(checkpoint.nextWatermarkMs * 1000) + ", must be " + instant(closingBoundMs * 1000));
            }
        }

        /** Rows, and among them those that are NULL for want of room and those whose sum is not exact. */
        private void countResults(long batch, Expected expected) {
            long inexactHere = 0;
            long nulled = 0;
            for (Window window : rows.get(batch)) {
                Due isDue = due.get(window);
                inexactHere += isDue.isInexact ? 1 : 0;
                nulled += isDue.isMisfit ? 1 : 0;
            }
            expected.count("rows_out", rows.get(batch).size());
            expected.count("inexact_sums", inexactHere);
            // Whether a sum that is not exact fits, the auditor cannot know.
            expected.knowsNulled = inexactHere == 0;
            expected.count("nulled", nulled);
        }

        /** Compares what was counted of a batch with what must have been, reason by reason. */
        private void checkCounts(Recorded recorded, Expected expected) {
            Set<String> names = new TreeSet<>(recorded.counts.keySet());
            if (!recorded.isFromProgress) {
                // What is expected and was not recorded at all is missing.
                names.addAll(expected.counts.keySet());
            }
            names.stream().filter(expected::knows).forEach(name -> compare(
                recorded, name, recorded.counts.getOrDefault(name, 0L), expected.counts.getOrDefault(name, 0L),
                "wrong count"));
        }

        /** The running totals are those of all batches. */
        private void checkTotals() {
            Expected all = new Expected();
            for (Expected one : expectations.values()) {
                one.counts.forEach(all::count);
                all.knowsNulled &= one.knowsNulled;
            }
            Set<String> names = new TreeSet<>(checkpoint.totals.keySet());
            if (!names.isEmpty()) {
                names.addAll(all.counts.keySet());
            }
            for (String name : names) {
                long found = checkpoint.totals.getOrDefault(name, 0L);
                long expected = all.counts.getOrDefault(name, 0L);
                if (all.knows(name) && found != expected) {
                    violation("wrong count", "of all batches: " + name + " is recorded as " + found + ", must be " + expected);
                }
            }
        }

        private void compare(Recorded recorded, String what, long found, long expected, String kind) {
            if (found != expected) {
                boolean isTime = what.equals("watermark");
                violation(kind, "batch " + recorded.batch + ": " + what + " is recorded as "
                    + (isTime ? instant(found * 1000) : found) + ", must be "
                    + (isTime ? instant(expected * 1000) : expected));
            }
        }

        private List<Event> between(int partition, long begin, long end) {
            List<Event> events = topic.events.getOrDefault(partition, List.of());
            int from = indexOf(events, begin);
            return events.subList(from, Math.max(from, indexOf(events, end)));
        }

        /** Index of the first event at or behind an offset. */
        private static int indexOf(List<Event> events, long offset) {
            int low = 0;
            int high = events.size();
            while (low < high) {
                int middle = (low + high) >>> 1;
                if (events.get(middle).offset < offset) {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            return low;
        }

        private List<Long> windowsOf(long timeUs) {
            List<Long> starts = new ArrayList<>();
            long last = Math.floorDiv(timeUs, options.slideUs) * options.slideUs;
            for (long start = last; start > timeUs - options.windowUs; start -= options.slideUs) {
                starts.add(start);
            }
            return starts;
        }

        private boolean closes(long watermarkMs, long startUs) {
            return startUs + options.windowUs <= watermarkMs * 1000;
        }

        /** Adds an event to its windows; true when it is late for one of them. */
        private boolean add(Event event, long lateBoundMs) {
            if (event.time == null) {
                return false;
            }
            boolean isLate = false;
            for (long start : windowsOf(event.time)) {
                if (closes(lateBoundMs, start)) {
                    isLate = true;
                    continue;
                }
                Total total = open.computeIfAbsent(new Window(start, event.key), unused -> new Total());
                total.events++;
                total.isInexact |= event.isInexact;
                if (event.value != null) {
                    total.sum = total.sum == null ? event.value : total.sum.add(event.value);
                    total.isInexact |= !Decoder.isExact(total.sum);
                }
            }
            return isLate;
        }

        private void close(long batch, long closingBoundMs) {
            List<Window> closed = open.keySet().stream()
                .filter(window -> closes(closingBoundMs, window.startUs)).sorted().toList();
            for (Window window : closed) {
                Total total = open.remove(window);
                String result = resultOf(total.sum);
                boolean isMisfit = total.sum != null && result == null;
                Due before = due.put(window, new Due(batch, result, total.isInexact, isMisfit));
                inexact += total.isInexact ? 1 : 0;
                if (before != null) {
                    throw new IllegalStateException("the auditor's own rules close " + window + " twice");
                }
            }
            rows.put(batch, closed);
        }

        private String resultOf(BigDecimal sum) {
            if (sum == null) {
                return null;
            }
            if (options.cast.startsWith("decimal:")) {
                int scale = Integer.parseInt(options.cast.substring("decimal:".length()));
                return sum.setScale(scale, RoundingMode.HALF_UP).toPlainString();
            }
            BigDecimal whole = sum.setScale(0, RoundingMode.DOWN);
            int bits = switch (options.cast) {
                case "int" -> 31;
                case "long" -> 63;
                default -> throw new CannotAudit("--cast is int, long or decimal:SCALE, not " + options.cast);
            };
            BigDecimal limit = BigDecimal.valueOf(2).pow(bits);
            boolean fits = whole.compareTo(limit) < 0 && whole.compareTo(limit.negate()) >= 0;
            return fits ? whole.toPlainString() : null;
        }

        /** Of a finished run: everything was read, and every window that can close has been published. */
        private void checkEnd() {
            // Where a query that began elsewhere made no batch, nobody knows what it was to read.
            if (options.partial || checkpoint.batches.isEmpty() && !options.fromEarliest) {
                return;
            }
            Map<Integer, long[]> ranges = checkpoint.batches.isEmpty() ? Map.of()
                : checkpoint.batches.get(checkpoint.batches.size() - 1).ranges;
            for (var end : topic.ends.entrySet()) {
                long[] range = ranges.get(end.getKey());
                long from = range == null ? topic.begins.get(end.getKey()) : range[1];
                List<Event> left = between(end.getKey(), from, end.getValue());
                if (!left.isEmpty()) {
                    violation("lost", left.size() + " record(s) of partition " + end.getKey() + " from offset "
                        + left.get(0).offset + " on were never read");
                }
            }
            long due = open.keySet().stream().filter(window -> closes(lastWatermarkMs, window.startUs)).count();
            if (due > 0) {
                violation("lost", due + " window(s) are closed by the watermark behind the last batch and no batch"
                    + " published them");
            }
        }

        // -- Kafka's copy

        private Map<Integer, OffsetAndMetadata> commits() {
            Map<String, Object> settings = Map.of("bootstrap.servers", options.brokers, "default.api.timeout.ms", "30000");
            try (Admin admin = Admin.create(settings)) {
                Map<Integer, OffsetAndMetadata> found = new TreeMap<>();
                admin.listConsumerGroupOffsets(options.group).partitionsToOffsetAndMetadata().get()
                    .forEach((partition, commit) -> {
                        if (partition.topic().equals(options.topic) && commit != null) {
                            found.put(partition.partition(), commit);
                        }
                    });
                return found;
            } catch (java.util.concurrent.ExecutionException error) {
                throw new CannotAudit("asking for the commits of group " + options.group + " failed: " + error.getCause());
            } catch (InterruptedException error) {
                throw new CannotAudit("interrupted");
            }
        }

        private void checkCommits(Map<Integer, OffsetAndMetadata> commits) {
            if (options.group != null && commits.isEmpty() && !options.partial) {
                violation("wrong commit", "group " + options.group + " has no commit for topic " + options.topic);
            }
            // Every batch that read something commits all of its partitions.
            if (options.group != null && !options.partial && !checkpoint.batches.isEmpty()) {
                for (int partition : checkpoint.batches.get(checkpoint.batches.size() - 1).ranges.keySet()) {
                    if (!commits.isEmpty() && !commits.containsKey(partition)) {
                        violation("wrong commit", "group " + options.group + " has no commit for partition " + partition);
                    }
                }
            }
            for (var commit : commits.entrySet()) {
                String[] parts = commit.getValue().metadata().split(":");
                String at = "partition " + commit.getKey() + " of group " + options.group;
                if (parts.length < 3) {
                    violation("rollback", "the commit of " + at + " names no batch: " + commit.getValue());
                    continue;
                }
                long batch = Long.parseLong(parts[1]);
                if (!parts[0].equals(checkpoint.lineage)) {
                    violation("rollback", "the commit of " + at + " is of history " + parts[0]
                        + ", the checkpoint of " + checkpoint.lineage);
                } else if (!isAhead(batch, "the commit of " + at)) {
                    Recorded recorded = recordedAs(batch);
                    if (recorded.digest != null && !parts[2].equals(recorded.digest)) {
                        violation("rollback", "the commit of " + at + " names another batch " + batch
                            + " than the checkpoint holds (their digests differ)");
                    }
                    long[] range = recorded.ranges.get(commit.getKey());
                    if (range == null || range[1] != commit.getValue().offset()) {
                        violation("wrong commit", at + " is committed at " + commit.getValue().offset() + " for batch "
                            + batch + ", which ends at " + (range == null ? "no offset there" : range[1]));
                    }
                }
                committed = Math.max(committed, batch);
            }
        }

        /** The newest batch that a commit names. */
        private long committed = -1;

        // -- sinks

        /** Whether a batch may be missing in a sink: only the newest of an unfinished run, and not once it was committed. */
        private boolean mayBeMissing(long batch, String sink) {
            Long mark = sink == null ? null : checkpoint.marks.get(sink);
            return options.partial && Objects.equals(batch, newest()) && committed < batch && (mark == null || mark < batch);
        }

        /** What rows of one sink have been seen so far. */
        private final class Seen {
            final String sink;
            final Map<Window, Long> batches = new HashMap<>();

            Seen(String sink) {
                this.sink = sink;
            }

            /** Compares the rows published as a batch with those due. */
            void take(long batch, List<Row> published, boolean isCut) {
                String where = sink + ", batch " + batch + ": ";
                List<Window> expected = rows.getOrDefault(batch, List.of());
                Set<Window> here = new HashSet<>();
                for (Row row : published) {
                    rowsRead++;
                    String name = name(row.window);
                    Due isDue = due.get(row.window);
                    Long earlier = batches.put(row.window, batch);
                    if (!here.add(row.window) || earlier != null) {
                        violation("duplicate window", where + name + " is published again"
                            + (earlier == null || earlier == batch ? "" : ", after batch " + earlier));
                    } else if (isDue == null) {
                        boolean isOpen = open.containsKey(row.window);
                        violation(isOpen ? "premature window" : "unexpected window", where + name + " is published"
                            + (isOpen ? " and still open" : " and no event of it was counted"));
                    } else if (isDue.batch > batch) {
                        violation("premature window", where + name + " is published, due in batch " + isDue.batch);
                    } else if (isDue.batch < batch) {
                        violation("duplicate window", where + name + " is published, was due in batch " + isDue.batch);
                    } else if (!isDue.isInexact && !Objects.equals(isDue.value, row.value)) {
                        violation("changed window", where + name + " is " + row.value + ", must be " + isDue.value
                            + explanation(row, isDue));
                    }
                    if (row.endUs != row.window.startUs + options.windowUs) {
                        violation("changed window", where + name + " ends at " + instant(row.endUs));
                    }
                }
                List<Window> missing = expected.stream().filter(window -> !here.contains(window)).toList();
                if (isCut) {
                    missing = missing.stream().limit(Math.max(0, Math.min(expected.size(), published.size()) - here.size()))
                        .toList();
                }
                if (!missing.isEmpty() && !published.isEmpty() && published.size() < expected.size()
                        && published.stream().map(Row::window).toList().equals(expected.subList(0, published.size()))) {
                    violation("torn batch", where + "only the first " + published.size() + " of " + expected.size()
                        + " rows are there");
                }
                missing.forEach(window ->
                    violation("lost window", where + name(window) + " is missing (" + due.get(window).value + ")"));
            }

            /** A batch that left nothing. */
            void takeNothing(long batch) {
                if (!mayBeMissing(batch, sink)) {
                    take(batch, List.of(), false);
                }
            }
        }

        /** Which one record, left out or counted twice, would explain a changed sum. */
        private String explanation(Row row, Due isDue) {
            if (row.value == null || isDue.value == null || !options.cast.equals("int")) {
                return "";
            }
            BigDecimal found;
            try {
                found = new BigDecimal(row.value);
            } catch (NumberFormatException error) {
                return " (not a number)";
            }
            BigDecimal sum = BigDecimal.ZERO;
            List<Event> members = new ArrayList<>();
            for (List<Event> events : topic.events.values()) {
                for (Event event : events) {
                    if (event.value != null && event.time != null && Objects.equals(event.key, row.window.key)
                            && windowsOf(event.time).contains(row.window.startUs)) {
                        members.add(event);
                        sum = sum.add(event.value);
                    }
                }
            }
            List<String> candidates = new ArrayList<>();
            for (Event event : members) {
                if (sum.subtract(event.value).setScale(0, RoundingMode.DOWN).compareTo(found) == 0) {
                    candidates.add("as if " + event.at() + " were missing");
                } else if (sum.add(event.value).setScale(0, RoundingMode.DOWN).compareTo(found) == 0) {
                    candidates.add("as if " + event.at() + " were counted twice");
                }
            }
            return candidates.isEmpty() || candidates.size() > 3 ? "" : " (" + String.join(", or ", candidates) + ")";
        }

        private void checkFiles(Path directory) {
            String sink = "files:" + directory;
            TreeMap<Long, Path> found = batchFiles(directory, sink);
            Seen seen = new Seen(sink);
            found.keySet().forEach(batch -> isAhead(batch, sink));
            for (Recorded recorded : checkpoint.batches) {
                Path file = found.get(recorded.batch);
                if (file == null) {
                    seen.takeNothing(recorded.batch);
                    continue;
                }
                List<Row> published = new ArrayList<>();
                for (JsonNode node : lines(file, sink, recorded.batch)) {
                    String wrong = wrongFormOf(node);
                    if (wrong != null) {
                        violation("wrong form", sink + ", batch " + recorded.batch + ": " + wrong + ": " + node);
                    }
                    published.add(new Row(
                        new Window(micros(node.path("window_start")), textOf(node.path(options.keyField))),
                        micros(node.path("window_end")), textOf(node.path(options.result))));
                }
                seen.take(recorded.batch, published, false);
            }
        }

        /** What is wrong with the names and types of a row's fields, or null. */
        private String wrongFormOf(JsonNode node) {
            Set<String> wanted = Set.of("window_start", "window_end", options.keyField, options.result);
            Set<String> names = new TreeSet<>();
            node.fieldNames().forEachRemaining(names::add);
            if (!names.equals(wanted)) {
                return "a row has the fields " + names + ", must be " + new TreeSet<>(wanted);
            }
            JsonNode key = node.path(options.keyField);
            JsonNode result = node.path(options.result);
            boolean isNumber = options.cast.startsWith("decimal:") ? result.isNumber() : result.isIntegralNumber();
            if (!node.path("window_start").isTextual() || !node.path("window_end").isTextual()) {
                return "a window's time is no text";
            }
            if (!key.isTextual() && !key.isNull()) {
                return options.keyField + " is no text";
            }
            return isNumber || result.isNull() ? null : options.result + " is no number of its type";
        }

        private TreeMap<Long, Path> batchFiles(Path directory, String sink) {
            TreeMap<Long, Path> found = new TreeMap<>();
            if (!Files.isDirectory(directory)) {
                if (!checkpoint.batches.isEmpty() && !options.partial) {
                    violation("lost", sink + " is not there");
                }
                return found;
            }
            try (Stream<Path> names = Files.list(directory)) {
                for (Path path : names.toList()) {
                    String name = path.getFileName().toString();
                    if (name.matches("batch-\\d{12}\\.jsonl")) {
                        found.put(Long.parseLong(name.substring(6, 18)), path);
                    } else if (name.equals("_query")) {
                        checkLineage(path, sink);
                    } else if (name.endsWith(".tmp") && !options.partial) {
                        notes.add(sink + " holds " + name + ", left by a crash; the next start removes it");
                    }
                }
            } catch (IOException error) {
                throw new CannotAudit("listing " + directory + " failed: " + error);
            }
            return found;
        }

        private void checkLineage(Path path, String sink) {
            try {
                String lineage = new ObjectMapper().readTree(read(path)).path("lineage").asText();
                if (!lineage.equals(checkpoint.lineage)) {
                    violation("rollback", sink + " belongs to history " + lineage + ", the checkpoint to "
                        + checkpoint.lineage);
                }
            } catch (IOException error) {
                violation("torn batch", path + " cannot be read: " + error);
            }
        }

        private List<JsonNode> lines(Path file, String sink, long batch) {
            String text = read(file);
            List<JsonNode> nodes = new ArrayList<>();
            // 1.10 is another text than 1.1, also as a number.
            ObjectMapper mapper = JsonMapper.builder().enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS)
                .disable(JsonNodeFeature.STRIP_TRAILING_BIGDECIMAL_ZEROES).build();
            if (!text.isEmpty() && !text.endsWith("\n")) {
                violation("torn batch", sink + ", batch " + batch + ": its last line has no end");
            }
            for (String line : text.split("\n")) {
                try {
                    JsonNode node = mapper.readTree(line);
                    if (node.isObject()) {
                        nodes.add(node);
                    } else {
                        violation("torn batch", sink + ", batch " + batch + ": a line is no object: " + line);
                    }
                } catch (IOException error) {
                    violation("torn batch", sink + ", batch " + batch + ": a line is not whole: " + line);
                }
            }
            return nodes;
        }

        private static String textOf(JsonNode node) {
            return node.isNull() || node.isMissingNode() ? null : node.asText();
        }

        private static long micros(JsonNode node) {
            try {
                Instant instant = Instant.parse(node.asText());
                return instant.getEpochSecond() * 1_000_000 + instant.getNano() / 1000;
            } catch (java.time.DateTimeException error) {
                return Long.MIN_VALUE;
            }
        }

        private void checkDeadLetters(Path directory) {
            String sink = "dead-letter:files:" + directory;
            TreeMap<Long, Path> found = batchFiles(directory, sink);
            Set<String> seen = new HashSet<>();
            for (var file : found.entrySet()) {
                long batch = file.getKey();
                if (isAhead(batch, sink)) {
                    continue;
                }
                for (JsonNode node : lines(file.getValue(), sink, batch)) {
                    lettersRead++;
                    String at = node.path("partition").asInt() + ":" + node.path("offset").asLong();
                    String where = sink + ", batch " + batch + ": record " + at + " ";
                    Letter letter = allLetters.get(at);
                    if (!seen.add(at)) {
                        violation("wrong dead letter", where + "is there twice");
                    } else if (letter == null) {
                        violation("wrong dead letter", where + "is neither late nor malformed");
                    } else if (letter.batch != batch) {
                        violation("wrong dead letter", where + "belongs to batch " + letter.batch);
                    } else {
                        String wrong = wrongIn(node, letter);
                        if (wrong != null) {
                            violation("wrong dead letter", where + wrong);
                        }
                    }
                }
            }
            for (var batch : letters.entrySet()) {
                if (!found.containsKey(batch.getKey()) && mayBeMissing(batch.getKey(), sink)) {
                    continue;
                }
                batch.getValue().forEach((at, letter) -> {
                    if (!seen.contains(at)) {
                        violation("wrong dead letter", sink + ", batch " + batch.getKey() + ": record " + at + " ("
                            + letter.reason + ") is missing");
                    }
                });
            }
        }

        /** What is wrong with a dead letter's line, or null. */
        private String wrongIn(JsonNode node, Letter letter) {
            if (!node.path("partition").isIntegralNumber() || !node.path("offset").isIntegralNumber()) {
                return "has coordinates that are no numbers";
            }
            if (!node.path("topic").isTextual() || !node.path("topic").asText().equals(options.topic)) {
                return "names the topic " + node.path("topic") + ", must be " + options.topic;
            }
            if (!node.path("reason").isTextual() || !letter.reason.equals(node.path("reason").asText())) {
                return "is told as " + node.path("reason") + ", must be " + letter.reason;
            }
            JsonNode column = letter.column == null ? MissingNode.getInstance() : TextNode.valueOf(letter.column);
            if (!node.path("column").equals(column)) {
                return "names the column " + wordOf(node.path("column")) + ", must be " + wordOf(column);
            }
            // A record's bytes stand there as they are, unless they are no text or too much of it.
            String text = letter.payload == null ? null : textOf(letter.payload);
            boolean isOmitted = letter.payload != null && (text == null || letter.payload.length > 1 << 20);
            JsonNode payload = text == null || isOmitted ? MissingNode.getInstance() : TextNode.valueOf(text);
            if (!node.path("payload").equals(payload)) {
                return node.has("payload") ? "has another payload than in the topic" : "has no payload";
            }
            String omitted = isOmitted ? letter.payload.length + " bytes" : null;
            if (!Objects.equals(node.path("payload_omitted").asText(null), omitted)) {
                return "says of its payload " + node.path("payload_omitted") + ", must be " + omitted;
            }
            return null;
        }

        private static String wordOf(JsonNode node) {
            return node.isMissingNode() ? "none" : node.toString();
        }

        /** The text that these bytes are in UTF-8; null where they are not. */
        private static String textOf(byte[] bytes) {
            try {
                return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
            } catch (CharacterCodingException error) {
                return null;
            }
        }

        // -- stdout

        /** A table as it was printed. */
        private static final class Printed {
            long batch;
            final List<String> lines = new ArrayList<>();
            boolean isWhole;
        }

        private void checkConsole(Path file) {
            List<Printed> printed = printed(read(file));
            Seen seen = new Seen("console");
            Map<Long, Printed> first = new HashMap<>();
            Map<Long, Integer> times = new HashMap<>();
            Printed before = null;
            for (Printed now : printed) {
                String where = "console, batch " + now.batch + ": ";
                if (!now.isWhole) {
                    times.merge(now.batch, 1, Integer::sum);
                    boolean isRepeated = printed.stream()
                        .anyMatch(other -> other != now && other.isWhole && other.batch == now.batch);
                    boolean isLast = now == printed.get(printed.size() - 1);
                    if (isRepeated || (isLast && (options.live || mayBeMissing(now.batch, null)))) {
                        notes.add(where + "its table was cut short by a crash");
                    } else {
                        violation("torn batch", where + "its table is not whole, and it is not printed again");
                    }
                    continue;
                }
                if (before == null && now.batch != 0) {
                    violation("non-monotonic batch", where + "the first one printed");
                } else if (before != null && now.batch != before.batch && now.batch != before.batch + 1) {
                    violation("non-monotonic batch", where + "printed after batch " + before.batch);
                }
                before = now;
                if (isAhead(now.batch, "console") && options.live) {
                    continue;
                }
                times.merge(now.batch, 1, Integer::sum);
                Printed earlier = first.putIfAbsent(now.batch, now);
                if (earlier == null) {
                    takeTable(seen, now);
                } else if (!earlier.lines.equals(now.lines)) {
                    violation("changed window", where + "printed again with other rows");
                    takeTable(seen, now);
                }
            }
            for (Recorded recorded : checkpoint.batches) {
                int count = times.getOrDefault(recorded.batch, 0);
                if (count == 0) {
                    if (!mayBeMissing(recorded.batch, "console")) {
                        violation("lost", "console, batch " + recorded.batch + ": never printed");
                        seen.takeNothing(recorded.batch);
                    }
                } else if (count - 1 > restartsAfter(recorded)) {
                    violation("duplicate batch", "console, batch " + recorded.batch + ": printed " + count
                        + " times, with " + restarts(restartsAfter(recorded)) + " behind it");
                }
            }
        }

        /**
         * How many starts lie between a batch and the one after it; each may publish it again. Behind the newest they
         * are those that somebody has counted.
         */
        private long restartsAfter(Recorded recorded) {
            int index = checkpoint.batches.indexOf(recorded) + 1;
            if (recorded.isFromProgress) {
                return Long.MAX_VALUE;
            }
            if (index >= checkpoint.batches.size()) {
                // The first start has number 1; one that ended before it could begin has none.
                return options.launches == null ? Long.MAX_VALUE : options.launches - recorded.incarnation;
            }
            return checkpoint.batches.get(index).incarnation - recorded.incarnation;
        }

        private static String restarts(long count) {
            return count == 1 ? "1 restart" : count + " restarts";
        }

        private static List<Printed> printed(String text) {
            List<Printed> all = new ArrayList<>();
            String[] lines = text.split("\n", -1);
            String banner = "-".repeat(43);
            Printed now = null;
            for (int index = 0; index < lines.length; index++) {
                String line = lines[index];
                boolean begins = index + 1 < lines.length && line.endsWith(banner)
                    && lines[index + 1].matches("Batch: \\d+");
                if (begins) {
                    now = new Printed();
                    now.batch = Long.parseLong(lines[index + 1].substring("Batch: ".length()));
                    all.add(now);
                    index += 2;
                } else if (now != null && !now.isWhole) {
                    if (line.startsWith("+")) {
                        now.isWhole = now.lines.stream().filter(other -> other.startsWith("+")).count() == 2;
                    }
                    now.lines.add(line);
                } else if (now != null && line.startsWith("only showing top")) {
                    now.lines.add(line);
                }
            }
            return all;
        }

        private void takeTable(Seen seen, Printed table) {
            List<String> names = null;
            List<Row> published = new ArrayList<>();
            boolean isCut = table.lines.stream().anyMatch(line -> line.startsWith("only showing top"));
            for (String line : table.lines) {
                if (!line.startsWith("|") || !line.endsWith("|")) {
                    continue;
                }
                List<String> cells = Arrays.stream(line.substring(1, line.length() - 1).split("\\|", -1))
                    .map(String::strip).collect(Collectors.toList());
                if (names == null) {
                    names = cells;
                    continue;
                }
                Map<String, String> row = new HashMap<>();
                for (int index = 0; index < Math.min(names.size(), cells.size()); index++) {
                    row.put(names.get(index), cells.get(index).equals("NULL") ? null : cells.get(index));
                }
                published.add(new Row(
                    new Window(printedMicros(row.get("window_start")), row.get(options.keyField)),
                    printedMicros(row.get("window_end")), row.get(options.result)));
            }
            seen.take(table.batch, published, isCut);
        }

        private static long printedMicros(String text) {
            try {
                LocalDateTime time = LocalDateTime.parse(String.valueOf(text).replace(' ', 'T'));
                return time.toEpochSecond(ZoneOffset.UTC) * 1_000_000 + time.getNano() / 1000;
            } catch (java.time.DateTimeException error) {
                return Long.MIN_VALUE;
            }
        }

        // -- lines of progress

        private void checkProgress(Path file) {
            Map<Long, Integer> times = new HashMap<>();
            long before = -1;
            for (JsonNode line : progressLines(file)) {
                if (!line.path("batchId").isIntegralNumber()) {
                    violation("wrong progress", "a line names no batch: " + line);
                    continue;
                }
                long batch = line.path("batchId").asLong();
                String where = "progress of batch " + batch + ": ";
                if (batch < before) {
                    violation("non-monotonic batch", where + "told after batch " + before);
                }
                before = Math.max(before, batch);
                if (!isAhead(batch, "progress")) {
                    times.merge(batch, 1, Integer::sum);
                    checkProgressOf(recordedAs(batch), line, where);
                }
            }
            for (Recorded recorded : checkpoint.batches) {
                int count = times.getOrDefault(recorded.batch, 0);
                long restarts = restartsAfter(recorded);
                // A line is written behind everything else, so that the crash that ends a start may leave out its last.
                if (count == 0 && restarts <= 0 && !(options.partial && recorded.batch == newest())) {
                    violation("wrong progress", "batch " + recorded.batch + " is not told of");
                } else if (count - 1 > restarts) {
                    violation("wrong progress", "batch " + recorded.batch + " is told of " + count + " times, with "
                        + restarts(restarts) + " behind it");
                }
            }
        }

        /** The lines that are whole. One that a crash has cut short has the next one on its heels. */
        private List<JsonNode> progressLines(Path file) {
            ObjectMapper mapper = JsonMapper.builder().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS).build();
            List<JsonNode> whole = new ArrayList<>();
            String[] lines = read(file).split("\n");
            for (int index = 0; index < lines.length; index++) {
                String where = "progress, line " + (index + 1);
                try {
                    whole.add(mapper.readTree(lines[index]));
                } catch (IOException error) {
                    notes.add(where + " was cut short by a crash");
                    int next = lines[index].lastIndexOf("{\"id\":");
                    try {
                        if (next > 0) {
                            whole.add(mapper.readTree(lines[index].substring(next)));
                        }
                    } catch (IOException second) {
                        // Cut short as well.
                    }
                }
            }
            return whole;
        }

        /** Compares a line with history, and its numbers with what the topic says they must be. */
        private void checkProgressOf(Recorded recorded, JsonNode line, String where) {
            JsonNode own = line.path("salesStream");
            JsonNode source = line.path("sources").path(0);
            if (recorded.digest != null && !recorded.digest.equals(own.path("digest").asText())) {
                violation("rollback", where + "its digest is not the one in history");
            }
            if (checkpoint.lineage != null && !checkpoint.lineage.equals(line.path("id").asText().replace("-", ""))) {
                violation("rollback", where + "it is of query " + line.path("id") + ", history is " + checkpoint.lineage);
            }
            JsonNode begins = source.path("startOffset").path(options.topic);
            JsonNode ends = source.path("endOffset").path(options.topic);
            recorded.ranges.forEach((partition, range) -> {
                JsonNode begin = begins.path(String.valueOf(partition));
                JsonNode end = ends.path(String.valueOf(partition));
                if (!end.isIntegralNumber() || end.asLong() != range[1]) {
                    violation("offset gap", where + "partition " + partition + " ends at " + wordOf(end)
                        + ", in history at " + range[1]);
                }
                // The first batch has no begin, and a partition that is new none either.
                if (!begin.isMissingNode() && (!begin.isIntegralNumber() || begin.asLong() != range[0])) {
                    violation("offset gap", where + "partition " + partition + " begins at " + begin + ", in history at "
                        + range[0]);
                }
                if (begin.isMissingNode() && recorded.batch > 0 && knewBefore(recorded, partition)) {
                    violation("offset gap", where + "where partition " + partition + " begins is not told");
                }
            });
            if (ends.size() != recorded.ranges.size()) {
                violation("offset gap", where + "it tells of " + ends.size() + " partitions, history of "
                    + recorded.ranges.size());
            }
            Expected expected = expectations.get(recorded.batch);
            checkNumber(where, "numInputRows", line, expected, "rows_in");
            checkNumber(where + "its source's ", "numInputRows", source, expected, "rows_in");
            checkNumber(where + "its sink's ", "numOutputRows", line.path("sink"), expected, "rows_out");
            checkNumber(where, "lateRows", own, expected, "late");
            checkNumber(where, "malformedRows", own, expected, "malformed");
            checkNumber(where, "filteredRows", own, expected, "filtered");
            checkNumber(where, "nulledResults", own, expected, "nulled");
            checkNumber(where, "inexactSums", own, expected, "inexact_sums");
            checkNumber(where, "lostOffsets", own, expected, "lost");
            checkTime(where, line, "watermark", expected.watermarkMs * 1000);
            checkTime(where, line, "max", expected.newestUs);
            checkTime(where, line, "min", expected.oldestUs);
        }

        private boolean knewBefore(Recorded recorded, int partition) {
            int index = checkpoint.batches.indexOf(recorded);
            return index > 0 && checkpoint.batches.get(index - 1).ranges.containsKey(partition);
        }

        private void checkNumber(String where, String field, JsonNode node, Expected expected, String count) {
            JsonNode found = node.path(field);
            long must = expected.counts.get(count);
            if (expected.knows(count) && (!found.isIntegralNumber() || found.asLong() != must)) {
                violation("wrong progress", where + field + " is " + wordOf(found) + ", must be " + must);
            }
        }

        private void checkTime(String where, JsonNode line, String field, Long expectedUs) {
            String found = line.path("eventTime").path(field).asText(null);
            // Milliseconds, and years of four places: beyond them nothing is compared.
            if (expectedUs != null && Math.abs(expectedUs) > 60_000_000_000_000_000L) {
                return;
            }
            String must = expectedUs == null ? null : instant(Math.floorDiv(expectedUs, 1000L) * 1000);
            boolean isEqual = must == null ? found == null : found != null && Instant.parse(must).equals(parsed(found));
            if (!isEqual) {
                violation("wrong progress", where + "its " + field + " of event time is " + found + ", must be " + must);
            }
        }

        /** The instant of a text, or null. */
        private static Instant parsed(String text) {
            try {
                return Instant.parse(text);
            } catch (java.time.DateTimeException error) {
                return null;
            }
        }

        // -- the end

        private boolean conclude() {
            String prefix = options.prefix();
            int total = 0;
            for (var kind : violations.entrySet()) {
                List<String> details = kind.getValue();
                total += details.size();
                details.stream().limit(options.shown)
                    .forEach(detail -> System.out.println(prefix + kind.getKey() + ": " + detail));
                if (details.size() > options.shown) {
                    System.out.println(prefix + kind.getKey() + ": and " + (details.size() - options.shown) + " more");
                }
            }
            notes.stream().limit(options.shown).forEach(note -> System.out.println(prefix + "note: " + note));
            long starts = checkpoint.batches.stream().filter(batch -> !batch.isFromProgress)
                .mapToLong(batch -> batch.incarnation).distinct().count();
            System.out.println(prefix + "checked " + recordsCounted + " of " + topic.records + " records in "
                + topic.ends.size() + " partitions, " + checkpoint.batches.size() + " batches of " + starts + " starts, "
                + due.size() + " closed and " + open.size() + " open windows, " + late + " late, " + faulty
                + " malformed, " + rowsRead + " rows and " + lettersRead + " dead letters published"
                + (inexact == 0 ? "" : ", " + inexact + " sums not exact and not compared"));
            System.out.println(prefix + "verdict: " + (total == 0 ? "clean" : total + " violations ("
                + String.join(", ", violations.keySet()) + ")"));
            return total == 0;
        }
    }

    static String instant(long microseconds) {
        if (microseconds == Long.MIN_VALUE) {
            return "no time";
        }
        return Instant.ofEpochSecond(
            Math.floorDiv(microseconds, 1_000_000L), Math.floorMod(microseconds, 1_000_000L) * 1000).toString();
    }

    static String name(Window window) {
        return (window.key == null ? "NULL" : window.key) + " from " + instant(window.startUs);
    }
}
