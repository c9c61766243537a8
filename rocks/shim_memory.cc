/* shim_memory.cc -- block cache over cistern's pages, write buffer manager, checksums, build:
 * see shim.h. */
#include "shim_private.hh"

#include "cistern/hash.h"

#include <rocksdb/convenience.h>
#include <rocksdb/file_checksum.h>
#include <rocksdb/memory_allocator.h>

#include <cstring>

namespace
{

constexpr uint64_t large_limit_bytes = 256ull << 20; /* from here on 16 shards, below it 4 */

/* The write buffer manager flushes when mutable memtables pass 7/8 of its size: with 4/7 W that
 * is W/2, so a flush always has W/2 of room to overlap with writes. */
uint64_t manager_bytes(uint64_t allowance_bytes)
{
    return allowance_bytes / 7 * 4;
}

class BlockAllocator : public rocksdb::MemoryAllocator
{
  public:
    explicit BlockAllocator(struct cistern_block_pool *blocks) : blocks_(blocks)
    {
    }
    static const char *kName()
    {
        return "cistern.blocks";
    }
    const char *Name() const override
    {
        return kName();
    }
    /* RocksDB does not look at the result: NULL ends the process, as any malloc failure inside
     * RocksDB does. */
    void *Allocate(size_t bytes) override
    {
        return cistern_block_pool_allocate(blocks_, bytes);
    }
    void Deallocate(void *memory) override
    {
        cistern_block_pool_deallocate(blocks_, memory);
    }
    size_t UsableSize(void *memory, size_t asked_bytes) const override
    {
        return cistern_block_pool_usable_bytes(blocks_, memory, asked_bytes);
    }

  private:
    struct cistern_block_pool *blocks_;
};

/* The state is a member: a flush thread has nobody to tell that an allocation failed. */
class Checksum : public rocksdb::FileChecksumGenerator
{
  public:
    Checksum()
    {
        XXH3_128bits_reset(&state_);
    }
    void Update(const char *data, size_t bytes) override
    {
        XXH3_128bits_update(&state_, data, bytes);
    }
    void Finalize() override
    {
        XXH128_canonical_t canonical;
        XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state_));
        result_.assign(reinterpret_cast<const char *>(canonical.digest), sizeof canonical.digest);
    }
    std::string GetChecksum() const override
    {
        return result_;
    }
    const char *Name() const override
    {
        return SHIM_CHECKSUM_NAME;
    }

  private:
    XXH3_state_t state_;
    std::string result_;
};

class ChecksumFactory : public rocksdb::FileChecksumGenFactory
{
  public:
    std::unique_ptr<rocksdb::FileChecksumGenerator> CreateFileChecksumGenerator(
        const rocksdb::FileChecksumGenContext &) override
    {
        return std::unique_ptr<rocksdb::FileChecksumGenerator>(new Checksum());
    }
    const char *Name() const override
    {
        return SHIM_CHECKSUM_NAME;
    }
};

} // namespace

std::shared_ptr<rocksdb::FileChecksumGenFactory> shim_checksum_factory()
{
    return std::make_shared<ChecksumFactory>();
}

uint32_t shim_fail(struct cistern_error *error, const rocksdb::Status &status, const char *object,
    const char *what)
{
    if (status.ok()) {
        return CISTERN_OK;
    }
    uint32_t code = CISTERN_IO;
    if (status.IsNoSpace()) {
        code = CISTERN_NO_SPACE;
    } else if (status.IsMemoryLimit()) {
        code = CISTERN_NO_MEMORY;
    } else if (status.IsNotFound()) {
        code = CISTERN_NOT_FOUND;
    } else if (status.IsCorruption()) {
        code = CISTERN_CORRUPT;
    } else if (status.IsNotSupported()) {
        code = CISTERN_UNSUPPORTED;
    } else if (status.IsInvalidArgument()) {
        code = CISTERN_INVALID;
    } else if (status.IsTimedOut()) {
        code = CISTERN_TIMEOUT;
    } else if (status.IsBusy() || status.IsTryAgain() || status.IsIncomplete()) {
        code = CISTERN_BUSY;
    } else if (status.IsAborted() || status.IsShutdownInProgress()) {
        code = CISTERN_ABORTED;
    }
    return cistern_fail(error, code, object, "%s: %s", what, status.ToString().c_str());
}

uint32_t shim_memory_create(const struct shim_memory_options *options,
    struct shim_memory **ret_memory, struct cistern_error *error) noexcept
{
    return shim_guard(error, "block cache", [&]() -> uint32_t {
        rocksdb::LRUCacheOptions cache;
        cache.capacity = options->cache_bytes;
        cache.num_shard_bits = options->limit_bytes >= large_limit_bytes ? 4 : 2;
        cache.strict_capacity_limit = false;
        cache.high_pri_pool_ratio = 0.3;
        cache.memory_allocator = std::make_shared<BlockAllocator>(options->blocks);
        auto memory = std::make_unique<shim_memory>();
        memory->cache = rocksdb::NewLRUCache(cache);
        if (memory->cache == nullptr) {
            return cistern_fail(
                error, CISTERN_INVALID, "block cache", "RocksDB refused the block cache's options");
        }
        memory->buffers = std::make_shared<rocksdb::WriteBufferManager>(
            manager_bytes(options->allowance_bytes), nullptr, false);
        *ret_memory = memory.release();
        return CISTERN_OK;
    });
}

void shim_memory_destroy(struct shim_memory *memory) noexcept
{
    delete memory;
}

uint64_t shim_cache_usage(const struct shim_memory *memory) noexcept
{
    return memory->cache->GetUsage();
}

uint64_t shim_cache_capacity(const struct shim_memory *memory) noexcept
{
    return memory->cache->GetCapacity();
}

void shim_cache_set_capacity(struct shim_memory *memory, uint64_t bytes) noexcept
{
    memory->cache->SetCapacity(bytes);
}

void shim_cache_clear(struct shim_memory *memory) noexcept
{
    memory->cache->EraseUnRefEntries();
}

uint64_t shim_write_buffer_usage(const struct shim_memory *memory) noexcept
{
    return memory->buffers->memory_usage();
}

void shim_write_buffer_set_allowance(struct shim_memory *memory, uint64_t bytes) noexcept
{
    memory->buffers->SetBufferSize(manager_bytes(bytes));
}

/* Present in builds without NDEBUG only: RocksDB compiles its sync points away together with its
 * assertions. Weak, so that this links against either build, shared or static. */
extern "C" void shim_sync_point_instance() __asm__("_ZN7rocksdb9SyncPoint11GetInstanceEv")
    __attribute__((weak));

const char *shim_build(void) noexcept
{
    static char text[64];
    static std::once_flag once;
    std::call_once(once, [] {
        std::string version;
        try {
            version = rocksdb::GetRocksVersionAsString(true);
        } catch (...) {
            version.clear();
        }
        snprintf(text, sizeof text, "%s, assertions %s",
            version.empty() ? "unknown version" : version.c_str(),
            shim_sync_point_instance != nullptr ? "on" : "off");
    });
    return text;
}
