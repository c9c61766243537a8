import java.util.ArrayList;
import java.util.List;

/** A JVM as the host: while it fills and drops its own heap, the guest's cache stays what it was. */
public class GuestHost {
    private static final int CHUNK = 8 << 20;

    static native String open(String directory);
    static native String load(int seed);
    static native String check(int seed);
    static native String close();
    static native String modes();
    static native long cacheBytes();

    private static void expect(String what, String text) {
        if (text != null) {
            System.err.println(what + ": " + text);
            System.exit(1);
        }
    }

    /** Touches every page of the whole Java heap, twice, so that a collection runs in between. */
    private static long fillHeap() {
        long touched = 0;
        for (int round = 0; round < 2; round++) {
            List<byte[]> chunks = new ArrayList<>();
            long most = Runtime.getRuntime().maxMemory() / 10 * 7;
            for (long bytes = 0; bytes + CHUNK < most; bytes += CHUNK) {
                byte[] chunk = new byte[CHUNK];
                for (int i = 0; i < CHUNK; i += 4096) {
                    chunk[i] = 1;
                }
                chunks.add(chunk);
                touched += CHUNK;
            }
        }
        return touched;
    }

    public static void main(String[] arguments) {
        System.load(arguments[0]);
        for (int life = 1; life <= 2; life++) {
            expect("open", open(arguments[1] + "/" + life));
            if (!modes().equals("allocator=own accounting=guest")) {
                expect("modes", modes());
            }
            expect("load", load(life));
            long before = cacheBytes();
            long touched = fillHeap();
            expect("check", check(life));
            long after = cacheBytes();
            System.out.printf("life %d: %d MiB of Java heap touched, block cache %d KiB before, %d KiB after%n",
                life, touched >> 20, before >> 10, after >> 10);
            if (after < before - (4 << 20)) {
                expect("cache", "the host's own heap shrank it");
            }
            expect("close", close());
        }
    }
}
