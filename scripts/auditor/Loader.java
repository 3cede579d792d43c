import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Fills a topic for scripts/mutants.sh with sales that show a defect wherever there is one: late and malformed
 * records, times on the edges of windows, sums that doubles get wrong, stores that are seldom seen, and in between
 * transactions that are aborted. The same seed gives the same records.
 *
 * <p>Loader BROKERS TOPIC PARTITIONS RECORDS SEED FIRST: makes the topic, or gives it more partitions, and sends
 * records FIRST to FIRST + RECORDS - 1 in transactions of 50, each with ten tenths, and one that closes windows. Prints how many transactions were aborted.
 */
public final class Loader {
    private static final long START = 1_756_800_000L;

    private Loader() {}

    public static void main(String[] arguments) throws Exception {
        String brokers = arguments[0];
        String topic = arguments[1];
        int partitions = Integer.parseInt(arguments[2]);
        int records = Integer.parseInt(arguments[3]);
        long seed = Long.parseLong(arguments[4]);
        int first = Integer.parseInt(arguments[5]);
        prepare(brokers, topic, partitions);
        Random random = new Random(seed * 1_000_003 + first);
        int aborted = 0;
        try (KafkaProducer<byte[], byte[]> producer = producer(brokers, topic)) {
            producer.initTransactions();
            for (int from = first; from < first + records; from += 50) {
                producer.beginTransaction();
                for (int index = from; index < Math.min(from + 50, first + records); index++) {
                    send(producer, topic, partitions, index, random);
                }
                sendDimes(producer, topic, START + from / 4);
                producer.commitTransaction();
                if (random.nextInt(4) == 0) {
                    // Looks like sales in every way but one: it never happened.
                    producer.beginTransaction();
                    for (int index = from; index < from + 15; index++) {
                        send(producer, topic, partitions, index, random);
                    }
                    producer.flush();
                    producer.abortTransaction();
                    aborted++;
                }
            }
            // Closes windows behind the last record: what publishes them is a batch without data.
            producer.beginTransaction();
            sendSale(producer, topic, 0, "store-0", "0.5", START + (first + records) / 4 + 60);
            producer.commitTransaction();
        }
        System.out.println(aborted);
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    private static void prepare(String brokers, String topic, int partitions) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", brokers))) {
            try {
                admin.createTopics(List.of(new NewTopic(topic, partitions, (short) -1))).all().get();
            } catch (java.util.concurrent.ExecutionException error) {
                if (!(error.getCause() instanceof TopicExistsException)) {
                    throw error;
                }
                admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(partitions))).all().get();
            }
        }
    }

    private static KafkaProducer<byte[], byte[]> producer(String brokers, String topic) {
        Properties properties = new Properties();
        properties.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
        properties.put(ProducerConfig.TRANSACTIONAL_ID_CONFIG, "loader-" + topic);
        properties.put(ProducerConfig.METADATA_MAX_AGE_CONFIG, "500");
        properties.put(ProducerConfig.LINGER_MS_CONFIG, "5");
        return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
    }

    /** Ten times a tenth is one, but for doubles. */
    private static void sendDimes(KafkaProducer<byte[], byte[]> producer, String topic, long time) {
        for (int dime = 0; dime < 10; dime++) {
            sendSale(producer, topic, 0, "dimes", "0.1", time);
        }
    }

    private static void sendSale(
            KafkaProducer<byte[], byte[]> producer, String topic, int partition, String store, String price, long time) {
        String value = "{\"store\":\"" + store + "\",\"price\":" + price + ",\"ts\":" + time + "}";
        byte[] bytes = value.getBytes(StandardCharsets.UTF_8);
        producer.send(new ProducerRecord<>(topic, partition, store.getBytes(StandardCharsets.UTF_8), bytes));
    }

    private static void send(
            KafkaProducer<byte[], byte[]> producer, String topic, int partitions, int index, Random random) {
        // A few stores sell most; the others are seldom seen.
        int store = random.nextInt(3) == 0 ? random.nextInt(60) : random.nextInt(8);
        // Four records a second of event time.
        long time = START + index / 4 - random.nextInt(20);
        if (random.nextInt(30) == 0) {
            time -= 30 + random.nextInt(60);
        }
        if (random.nextInt(50) == 0) {
            time -= 120 + random.nextInt(400);
        }
        // Tenths whose sums are whole, and prices in cents.
        String price = store < 4 ? "0." + (1 + random.nextInt(9)) : (1 + random.nextInt(99)) + "." + cents(random);
        String name = "store-" + store;
        String value = "{\"store\":\"" + name + "\",\"item\":\"item-" + random.nextInt(20) + "\",\"price\":" + price
            + ",\"ts\":" + time + "}";
        byte[] bytes = value.getBytes(StandardCharsets.UTF_8);
        if (random.nextInt(40) == 0) {
            bytes = malformed(name, price, time, random);
        }
        int partition = Math.floorMod(store * 7 + random.nextInt(2), partitions);
        producer.send(new ProducerRecord<>(topic, partition, name.getBytes(StandardCharsets.UTF_8), bytes));
    }

    private static String cents(Random random) {
        int cents = random.nextInt(100);
        return (cents < 10 ? "0" : "") + cents;
    }

    private static byte[] malformed(String store, String price, long time, Random random) {
        String text = switch (random.nextInt(8)) {
            case 0 -> "not json";
            case 1 -> "{\"store\":\"" + store + "\",\"price\":" + price + ",\"ts\":" + time;
            case 2 -> "{\"store\":\"" + store + "\",\"price\":\"twelve\",\"ts\":" + time + "}";
            case 3 -> "{\"store\":\"" + store + "\",\"price\":" + price + ",\"ts\":\"now\"}";
            case 4 -> "{\"store\":\"" + store + "\",\"price\":" + price + "}";
            case 5 -> "[" + time + "]";
            case 6 -> "";
            default -> null;
        };
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }
}
