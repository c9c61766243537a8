/*
 * bench_peer.cc -- see bench_peer.h. C++ because the peers are templates; nothing but the bench
 * links it.
 */
#include "bench_peer.h"

#include <absl/container/flat_hash_map.h>
#include <boost/unordered/unordered_flat_map.hpp>

#include <cstring>
#include <new>
#include <sys/mman.h>

namespace
{

constexpr std::size_t huge_bytes = std::size_t{2} << 20;

std::size_t align_up(std::size_t bytes, std::size_t alignment)
{
    return (bytes + alignment - 1) / alignment * alignment;
}

/* A mapping per table, cut to its alignment. */
void *table_map(std::size_t bytes, bool huge_pages)
{
    bool large = bytes >= huge_bytes;
    std::size_t alignment = large ? huge_bytes : 4096;
    bytes = align_up(bytes, alignment);
    std::size_t room = bytes + (large ? alignment : 0);
    void *mapping = mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) {
        throw std::bad_alloc();
    }
    auto begin = reinterpret_cast<std::uintptr_t>(mapping);
    std::uintptr_t first = align_up(begin, alignment);
    if (first != begin) {
        munmap(mapping, first - begin);
    }
    if (begin + room != first + bytes) {
        munmap(reinterpret_cast<void *>(first + bytes), begin + room - first - bytes);
    }
    void *table = reinterpret_cast<void *>(first);
    (void)madvise(table, bytes, huge_pages && large ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return table;
}

void table_unmap(void *table, std::size_t bytes)
{
    munmap(table, align_up(bytes, bytes >= huge_bytes ? huge_bytes : 4096));
}

template <class T> struct page_allocator {
    using value_type = T;
    bool huge_pages;
    explicit page_allocator(bool huge) : huge_pages(huge)
    {
    }
    template <class U> page_allocator(const page_allocator<U> &other) : huge_pages(other.huge_pages)
    {
    }
    T *allocate(std::size_t count)
    {
        return static_cast<T *>(table_map(count * sizeof(T), huge_pages));
    }
    void deallocate(T *table, std::size_t count)
    {
        table_unmap(table, count * sizeof(T));
    }
    template <class U> bool operator==(const page_allocator<U> &other) const
    {
        return huge_pages == other.huge_pages;
    }
    template <class U> bool operator!=(const page_allocator<U> &other) const
    {
        return !(*this == other);
    }
};

struct key {
    std::uint64_t low;
    std::uint64_t high;
    bool operator==(const key &other) const
    {
        return low == other.low && high == other.high;
    }
    template <class H> friend H AbslHashValue(H state, const key &k)
    {
        return H::combine(std::move(state), k.low, k.high);
    }
};
static_assert(sizeof(key) == PEER_KEY_BYTES, "a key is two words");

struct value {
    std::uint64_t words[PEER_VALUE_BYTES / 8];
};

/* The folded product of two words: about the cheapest hash that boost needs not mix again. */
struct key_hash {
    using is_avalanching = void;
    std::size_t operator()(const key &k) const
    {
        unsigned __int128 product = static_cast<unsigned __int128>(k.low ^ 0x9E3779B97F4A7C15u) *
                                    (k.high ^ 0xE7037ED1A0B428DBu);
        return static_cast<std::uint64_t>(product >> 64) ^ static_cast<std::uint64_t>(product);
    }
};

using allocator = page_allocator<std::pair<const key, value>>;
using boost_map = boost::unordered_flat_map<key, value, key_hash, std::equal_to<key>, allocator>;
using absl_map = absl::flat_hash_map<key, value, absl::Hash<key>, std::equal_to<key>, allocator>;

key key_load(const std::uint8_t *bytes)
{
    key k;
    std::memcpy(&k, bytes, sizeof k);
    return k;
}

} // namespace

struct peer {
    virtual ~peer() = default;
    virtual std::uint64_t entries() const = 0;
    virtual std::uint64_t get(
        const std::uint8_t (*keys)[PEER_KEY_BYTES], std::uint32_t count) const = 0;
    virtual void put(const std::uint8_t (*keys)[PEER_KEY_BYTES],
        const std::uint8_t (*values)[PEER_VALUE_BYTES], std::uint32_t count) = 0;
    virtual void remove(const std::uint8_t (*keys)[PEER_KEY_BYTES], std::uint32_t count) = 0;
    virtual std::uint64_t get_and_work(const std::uint8_t (*keys)[PEER_KEY_BYTES],
        std::uint32_t count, std::uint32_t rounds) const = 0;
};

namespace
{

template <class Map> struct peer_of final : peer {
    Map map;
    explicit peer_of(bool huge_pages)
        : map(0, typename Map::hasher(), typename Map::key_equal(), allocator(huge_pages))
    {
    }

    std::uint64_t entries() const override
    {
        return map.size();
    }

    std::uint64_t get(
        const std::uint8_t (*keys)[PEER_KEY_BYTES], std::uint32_t count) const override
    {
        std::uint64_t sum = 0;
        for (std::uint32_t i = 0; i < count; i++) {
            auto found = map.find(key_load(keys[i]));
            sum += found != map.end() ? found->second.words[0] : 0;
        }
        return sum;
    }

    void put(const std::uint8_t (*keys)[PEER_KEY_BYTES],
        const std::uint8_t (*values)[PEER_VALUE_BYTES], std::uint32_t count) override
    {
        for (std::uint32_t i = 0; i < count; i++) {
            std::memcpy(&map[key_load(keys[i])], values[i], PEER_VALUE_BYTES);
        }
    }

    void remove(const std::uint8_t (*keys)[PEER_KEY_BYTES], std::uint32_t count) override
    {
        for (std::uint32_t i = 0; i < count; i++) {
            map.erase(key_load(keys[i]));
        }
    }

    std::uint64_t get_and_work(const std::uint8_t (*keys)[PEER_KEY_BYTES], std::uint32_t count,
        std::uint32_t rounds) const override
    {
        std::uint64_t sum = 0;
        for (std::uint32_t i = 0; i < count; i++) {
            auto found = map.find(key_load(keys[i]));
            sum += peer_user_work(found != map.end() ? found->second.words[0] : 0, rounds);
        }
        return sum;
    }
};

} // namespace

const char *peer_name(std::uint32_t kind)
{
    return kind == PEER_BOOST ? "boost::unordered_flat_map" : "absl::flat_hash_map";
}

peer *peer_create(std::uint32_t kind, std::uint32_t huge_pages)
{
    try {
        if (kind == PEER_BOOST) {
            return new peer_of<boost_map>(huge_pages != 0);
        }
        return new peer_of<absl_map>(huge_pages != 0);
    } catch (const std::bad_alloc &) {
        return nullptr;
    }
}

void peer_destroy(peer *peer)
{
    delete peer;
}

std::uint64_t peer_entries(const peer *peer)
{
    return peer->entries();
}

std::uint64_t peer_get(
    const peer *peer, const std::uint8_t (*keys)[PEER_KEY_BYTES], std::uint32_t count)
{
    return peer->get(keys, count);
}

std::uint32_t peer_put(peer *peer, const std::uint8_t (*keys)[PEER_KEY_BYTES],
    const std::uint8_t (*values)[PEER_VALUE_BYTES], std::uint32_t count)
{
    try {
        peer->put(keys, values, count);
        return 1;
    } catch (const std::bad_alloc &) {
        return 0;
    }
}

void peer_remove(peer *peer, const std::uint8_t (*keys)[PEER_KEY_BYTES], std::uint32_t count)
{
    peer->remove(keys, count);
}

std::uint64_t peer_get_and_work(const peer *peer, const std::uint8_t (*keys)[PEER_KEY_BYTES],
    std::uint32_t count, std::uint32_t rounds)
{
    return peer->get_and_work(keys, count, rounds);
}
