/*
 * shim_private.hh -- what the shim's C++ files share: its objects, and the two ways a failure
 * becomes a status.
 *
 * Threads: see shim.h; the barrier and the file ids have a lock of their own, since RocksDB's
 *          threads write them.
 */
#ifndef CISTERN_ROCKS_SHIM_PRIVATE_HH
#define CISTERN_ROCKS_SHIM_PRIVATE_HH

#include "cistern/error.h"
#include "shim.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

#include <rocksdb/cache.h>
#include <rocksdb/compaction_filter.h>
#include <rocksdb/db.h>
#include <rocksdb/listener.h>
#include <rocksdb/merge_operator.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/version.h>
#include <rocksdb/write_buffer_manager.h>
#if ROCKSDB_MAJOR >= 8
#include <rocksdb/advanced_cache.h>
#endif

/* RocksDB's status as ours; `object` is the directory. OK gives OK. */
uint32_t shim_fail(struct cistern_error *error, const rocksdb::Status &status, const char *object,
    const char *what);

/* Runs body; whatever it throws becomes NO_MEMORY or IO. */
template <typename Body>
uint32_t shim_guard(struct cistern_error *error, const char *object, Body &&body) noexcept
{
    try {
        return body();
    } catch (const std::bad_alloc &) {
        return cistern_fail(error, CISTERN_NO_MEMORY, object, "no memory for an object of RocksDB");
    } catch (const std::exception &caught) {
        return cistern_fail(error, CISTERN_IO, object, "RocksDB threw: %s", caught.what());
    } catch (...) {
        return cistern_fail(
            error, CISTERN_IO, object, "RocksDB threw something that is no exception");
    }
}

inline rocksdb::Slice shim_slice(struct cistern_span span)
{
    return rocksdb::Slice(static_cast<const char *>(span.data), span.bytes);
}

/* Lends the time to live of one family to its compactions. Atomic: set_ttl() against RocksDB's
 * threads; time_to_live_ms is written last and read first. */
class ShimTtlFactory : public rocksdb::CompactionFilterFactory
{
  public:
    explicit ShimTtlFactory(std::shared_ptr<std::atomic<int64_t>> watermark_ms)
        : watermark_ms_(std::move(watermark_ms))
    {
    }
    void set(const struct shim_ttl &ttl);
    std::unique_ptr<rocksdb::CompactionFilter> CreateCompactionFilter(
        const rocksdb::CompactionFilter::Context &context) override;
    const char *Name() const override;

  private:
    std::shared_ptr<std::atomic<int64_t>> watermark_ms_; /* the database's */
    std::atomic<int64_t> time_to_live_ms_{0};
    std::atomic<uint32_t> event_time_{0};
    std::atomic<uint32_t> is_list_{0};
    std::atomic<uint32_t> element_bytes_{0};
};

/* A key's bytes are what was put, then what was appended, in order. */
std::shared_ptr<rocksdb::MergeOperator> shim_append_operator();

std::shared_ptr<rocksdb::FileChecksumGenFactory> shim_checksum_factory();

struct shim_memory {
    std::shared_ptr<rocksdb::Cache> cache;
    std::shared_ptr<rocksdb::WriteBufferManager> buffers;
};

/* The options a backend's database opens with; bare.cc opens its peer with the same. */
rocksdb::ColumnFamilyOptions shim_family_options(
    const struct shim_db_options *options, const std::shared_ptr<rocksdb::Cache> &cache);
rocksdb::DBOptions shim_database_options(const struct shim_db_options *options);

struct shim_family {
    struct shim_db *owner = nullptr;
    rocksdb::ColumnFamilyHandle *handle = nullptr;
    std::shared_ptr<ShimTtlFactory> ttl;
};

struct ShimFile {
    std::string path;
    std::string name;
    uint64_t number = 0;
    uint64_t bytes = 0;
    bool is_manifest = false;
    bool has_hash = false;
    uint8_t hash[16] = {};
    uint8_t origin[CISTERN_ORIGIN_BYTES] = {};
};

enum class ShimCaptureState { pending, ready, aborted, released };

/* Shared by the flush thread, which fills it, and the snapshot's holder. Guarded by: lock. */
struct ShimCapture {
    std::mutex lock;
    ShimCaptureState state = ShimCaptureState::pending;
    std::string why;
    std::vector<ShimFile> files;
    bool holds_files = false;
    rocksdb::DB *db = nullptr;
    void (*ready)(void *arg) = nullptr;
    void *ready_arg = nullptr;
};

struct shim_capture {
    std::shared_ptr<ShimCapture> shared;
};

/* Hears what RocksDB's background threads do. Guarded by: lock (barrier, ids). */
class ShimListener : public rocksdb::EventListener
{
  public:
    explicit ShimListener(const struct shim_hooks &hooks) : hooks_(hooks)
    {
    }
    void bind(rocksdb::DB *db, uint32_t marker_id);
    /* False while an earlier barrier is pending. */
    bool arm(uint64_t sequence, const std::shared_ptr<ShimCapture> &capture);
    void disarm(const std::string &why); /* the pending barrier, if there is one, ends as aborted */
    void forget(); /* the last capture's files are no longer held: the database is being closed */
    bool pending() const
    {
        return pending_.load(std::memory_order_acquire);
    }
    void learn(const std::string &path, const rocksdb::TableProperties &properties);

    void OnFlushBegin(rocksdb::DB *db, const rocksdb::FlushJobInfo &info) override;
    void OnFlushCompleted(rocksdb::DB *db, const rocksdb::FlushJobInfo &info) override;
    void OnCompactionBegin(rocksdb::DB *db, const rocksdb::CompactionJobInfo &info) override;
    void OnSubcompactionBegin(const rocksdb::SubcompactionJobInfo &info) override;
    void OnSubcompactionCompleted(const rocksdb::SubcompactionJobInfo &info) override;
    void OnTableFileCreated(const rocksdb::TableFileCreationInfo &info) override;
    void OnTableFileDeleted(const rocksdb::TableFileDeletionInfo &info) override;
    void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status *status) override;

  private:
    std::shared_ptr<ShimCapture> take(
        const rocksdb::FlushJobInfo &info, uint64_t *ret_sequence, std::string *ret_why);
    void fill(ShimCapture *capture, uint64_t sequence);
    std::string list(uint64_t sequence, std::vector<ShimFile> *ret_files);

    struct shim_hooks hooks_;
    rocksdb::DB *db_ = nullptr;
    uint32_t marker_id_ = 0;
    std::mutex lock_;
    std::atomic<bool> pending_{false};
    uint64_t sequence_ = 0;
    std::shared_ptr<ShimCapture> capture_;
    std::weak_ptr<ShimCapture> last_; /* the one begun last, pending or not */
    /* file number -> unique id; one entry per live table file */
    std::unordered_map<uint64_t, std::string> ids_;
};

struct shim_db {
    std::string directory;
    std::unique_ptr<rocksdb::DB> db;
    std::shared_ptr<ShimListener> listener;
    rocksdb::ColumnFamilyOptions family_options;
    std::vector<std::unique_ptr<shim_family>> families;
    struct shim_family *marker = nullptr;
    std::shared_ptr<std::atomic<int64_t>> watermark_ms =
        std::make_shared<std::atomic<int64_t>>(INT64_MIN);
    uint64_t allowance_bytes_min = 0;
    uint32_t read_only = 0;
};

#define SHIM_MARKER "barrier"

#endif
