/* shim_db.cc -- opens a database with the options the resident bound and the snapshots stand on;
 * see shim.h. */
#include "shim_private.hh"

#include <rocksdb/filter_policy.h>
#include <rocksdb/slice_transform.h>

#include <algorithm>
#include <atomic>

namespace
{

constexpr uint64_t kib = 1024;
constexpr uint64_t mib = 1024 * kib;
constexpr uint64_t block_bytes = 4032; /* with its trailer one page of the block pool */
constexpr uint64_t family_count_planned = 4;
/* index and filter of a table file are about a twentieth of it */
constexpr uint64_t index_share = 20;

uint64_t target_file_bytes(uint64_t limit_bytes)
{
    return std::clamp(limit_bytes / 16, 8 * mib, 64 * mib);
}

rocksdb::BlockBasedTableOptions table_options(
    uint64_t limit_bytes, const std::shared_ptr<rocksdb::Cache> &cache)
{
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = cache;
    table.block_size = block_bytes;
    table.block_size_deviation = 5;
    table.metadata_block_size = block_bytes;
    table.cache_index_and_filter_blocks = true;
    table.format_version = 5;
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
    table.whole_key_filtering = true;
    table.optimize_filters_for_memory = true;
    table.max_auto_readahead_size = 64 * kib;
    table.initial_auto_readahead_size = 8 * kib;
    /* Partitions cost two more cache look-ups per read: they pay when one file's index is a real
     * share of the budget. */
    if (target_file_bytes(limit_bytes) / index_share > limit_bytes / 32) {
        table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
        table.partition_filters = true;
        table.pin_top_level_index_and_filter = true;
    }
    return table;
}

} // namespace

rocksdb::ColumnFamilyOptions shim_family_options(
    const struct shim_db_options *options, const std::shared_ptr<rocksdb::Cache> &cache)
{
    rocksdb::ColumnFamilyOptions family;
    uint64_t target = target_file_bytes(options->limit_bytes);
    /* The write buffer manager decides when to flush; this keeps one memtable from growing so
     * large that every search in it misses the processor's caches at each step. */
    family.write_buffer_size = std::clamp(options->allowance_bytes_max, 4 * mib, 32 * mib);
    /* Batches of ours are sorted: an insertion begins where the last one ended instead of at the
     * top. */
    family.memtable_insert_with_hint_prefix_extractor.reset(rocksdb::NewCappedPrefixTransform(0));
    family.max_write_buffer_number = 6;
    family.min_write_buffer_number_to_merge = 1;
    family.compression = rocksdb::kLZ4Compression;
    family.target_file_size_base = target;
    family.max_bytes_for_level_base = 4 * target;
    family.level_compaction_dynamic_level_bytes = true;
    /* Every family has it, since a database is opened before its states are known. */
    family.merge_operator = shim_append_operator();
    family.table_factory.reset(
        rocksdb::NewBlockBasedTableFactory(table_options(options->limit_bytes, cache)));
    return family;
}

rocksdb::DBOptions shim_database_options(const struct shim_db_options *options)
{
    rocksdb::DBOptions database;
    database.create_if_missing = !options->read_only;
    database.atomic_flush = true;
    /* the capture relies on it: no flush begins before the last one's callback ends */
    database.max_background_flushes = 1;
    database.max_background_compactions = static_cast<int>(options->compactions_max);
    database.max_subcompactions = 1;
    database.max_open_files = 1000;
    database.max_file_opening_threads = 1;
    database.skip_stats_update_on_db_open = true;
    database.writable_file_max_buffer_size = 256 * kib;
    database.compaction_readahead_size = 0;
    database.max_manifest_file_size = 2 * mib; /* its prefix is copied by every snapshot */
    database.info_log_level = rocksdb::WARN_LEVEL;
    database.keep_log_file_num = 2;
    database.max_log_file_size = 1 * mib;
    database.stats_dump_period_sec = 0;
    database.stats_persist_period_sec = 0;
    database.avoid_flush_during_shutdown = true;
    database.avoid_unnecessary_blocking_io = true;
    database.file_checksum_gen_factory = shim_checksum_factory();
    if (!options->read_only) {
        database.write_buffer_manager = options->memory->buffers;
    }
    return database;
}

namespace
{

/* A memtable takes whole arena blocks: with many families they must be small, or first writes
 * alone would pass W/2 and flush everything. The k-th family gets a k-th part, so that all first
 * blocks together stay below 0.4 of the least W. */
uint64_t arena_block_bytes(uint64_t allowance_bytes_min, uint64_t family_count)
{
    uint64_t bytes = allowance_bytes_min / (8 * std::max(family_count, family_count_planned));
    return std::clamp(bytes, 16 * kib, 256 * kib) / 4096 * 4096;
}

/* Written once per barrier: the smallest memtable there is. */
rocksdb::ColumnFamilyOptions marker_options(const rocksdb::ColumnFamilyOptions &base)
{
    rocksdb::ColumnFamilyOptions marker(base);
    marker.write_buffer_size = 64 * kib;
    marker.arena_block_size = 4 * kib;
    return marker;
}

rocksdb::ColumnFamilyOptions options_for(const struct shim_db *db, const std::string &name,
    size_t family_count, const std::shared_ptr<ShimTtlFactory> &ttl)
{
    rocksdb::ColumnFamilyOptions family =
        name == SHIM_MARKER ? marker_options(db->family_options) : db->family_options;
    if (name != SHIM_MARKER) {
        family.arena_block_size = arena_block_bytes(db->allowance_bytes_min, family_count);
    }
    family.compaction_filter_factory = ttl;
    return family;
}

struct shim_family *family_add(struct shim_db *db, rocksdb::ColumnFamilyHandle *handle,
    const std::shared_ptr<ShimTtlFactory> &ttl)
{
    auto family = std::make_unique<shim_family>();
    family->owner = db;
    family->handle = handle;
    family->ttl = ttl;
    if (handle->GetName() == SHIM_MARKER) {
        db->marker = family.get();
    }
    db->families.push_back(std::move(family));
    return db->families.back().get();
}

std::vector<std::string> family_names(
    const rocksdb::DBOptions &options, const std::string &directory)
{
    std::vector<std::string> names;
    rocksdb::Status status = rocksdb::DB::ListColumnFamilies(options, directory, &names);
    if (!status.ok()) {
        names.assign(1,
            rocksdb::kDefaultColumnFamilyName); /* none there yet; a real fault returns from Open */
    }
    return names;
}

rocksdb::Status open_families(struct shim_db *db, const rocksdb::DBOptions &options)
{
    std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
    std::vector<std::shared_ptr<ShimTtlFactory>> ttls;
    std::vector<std::string> names = family_names(options, db->directory);
    for (const std::string &name : names) {
        ttls.push_back(std::make_shared<ShimTtlFactory>(db->watermark_ms));
        descriptors.emplace_back(name, options_for(db, name, names.size(), ttls.back()));
    }
    std::vector<rocksdb::ColumnFamilyHandle *> handles;
    rocksdb::DB *opened = nullptr;
    rocksdb::Status status =
        db->read_only
            ? rocksdb::DB::OpenForReadOnly(options, db->directory, descriptors, &handles, &opened)
            : rocksdb::DB::Open(options, db->directory, descriptors, &handles, &opened);
    if (!status.ok()) {
        return status;
    }
    db->db.reset(opened);
    for (size_t i = 0; i < handles.size(); i++) {
        family_add(db, handles[i], ttls[i]);
    }
    return status;
}

/* Files of an earlier instance: their ids stand in their properties. */
rocksdb::Status learn_files(struct shim_db *db)
{
    for (const auto &family : db->families) {
        rocksdb::TablePropertiesCollection tables;
        rocksdb::Status status = db->db->GetPropertiesOfAllTables(family->handle, &tables);
        if (!status.ok()) {
            return status;
        }
        for (const auto &table : tables) {
            db->listener->learn(table.first, *table.second);
        }
    }
    return rocksdb::Status::OK();
}

void close_handles(struct shim_db *db)
{
    for (const auto &family : db->families) {
        if (family->handle != nullptr) {
            db->db->DestroyColumnFamilyHandle(family->handle).PermitUncheckedError();
        }
    }
    db->families.clear();
    db->marker = nullptr;
}

uint32_t db_start(struct shim_db *db, struct cistern_error *error)
{
    const char *directory = db->directory.c_str();
    if (db->read_only) {
        return CISTERN_OK;
    }
    if (db->marker == nullptr) {
        struct shim_family *marker = nullptr;
        uint32_t code = shim_family_create(db, SHIM_MARKER, &marker, error);
        if (code != CISTERN_OK) {
            return code;
        }
    }
    db->listener->bind(db->db.get(), db->marker->handle->GetID());
    return shim_fail(error, learn_files(db), directory, "reading the table files' properties");
}

/* A capture runs on a flush thread and waits there for the purges RocksDB has scheduled; those
 * run on the same pool. One thread more than there are databases (each has one flush job) keeps
 * a thread free for them: without it both wait for ever. */
std::atomic<int> databases_open{0};

void pool_grow()
{
    int wanted = databases_open.fetch_add(1) + 2;
    rocksdb::Env::Default()->IncBackgroundThreadsIfNeeded(wanted, rocksdb::Env::Priority::HIGH);
}

} // namespace

uint32_t shim_db_open(const struct shim_db_options *options, struct shim_db **ret_db,
    struct cistern_error *error) noexcept
{
    return shim_guard(error, options->directory, [&]() -> uint32_t {
        auto db = std::make_unique<shim_db>();
        db->directory = options->directory;
        db->read_only = options->read_only;
        db->allowance_bytes_min = options->allowance_bytes_min;
        db->family_options = shim_family_options(options, options->memory->cache);
        rocksdb::DBOptions database = shim_database_options(options);
        if (!options->read_only) {
            db->listener = std::make_shared<ShimListener>(options->hooks);
            database.listeners.push_back(db->listener);
        }
        pool_grow();
        uint32_t code = shim_fail(
            error, open_families(db.get(), database), options->directory, "opening the database");
        if (code != CISTERN_OK) {
            databases_open--;
            return code;
        }
        code = db_start(db.get(), error);
        if (code != CISTERN_OK) {
            close_handles(db.get());
            db->db->Close().PermitUncheckedError();
            databases_open--;
            return code;
        }
        *ret_db = db.release();
        return CISTERN_OK;
    });
}

uint32_t shim_db_close(struct shim_db *db, struct cistern_error *error) noexcept
{
    if (db == nullptr) {
        return CISTERN_OK;
    }
    uint32_t code = shim_guard(error, "database", [&]() -> uint32_t {
        if (db->listener != nullptr) {
            db->listener->disarm("the backend is being closed");
        }
        close_handles(db);
        rocksdb::Status status = db->db->Close();
        if (db->listener != nullptr) {
            db->listener->forget(); /* after Close: no callback can hold files any more */
        }
        db->db.reset();
        databases_open--;
        return shim_fail(error, status, db->directory.c_str(), "closing the database");
    });
    delete db;
    return code;
}

struct shim_family *shim_family_find(struct shim_db *db, const char *name) noexcept
{
    for (const auto &family : db->families) {
        if (family->handle->GetName() == name) {
            return family.get();
        }
    }
    return nullptr;
}

struct shim_family *shim_family_default(struct shim_db *db) noexcept
{
    return shim_family_find(db, "default");
}

uint32_t shim_family_create(struct shim_db *db, const char *name, struct shim_family **ret_family,
    struct cistern_error *error) noexcept
{
    return shim_guard(error, db->directory.c_str(), [&]() -> uint32_t {
        auto ttl = std::make_shared<ShimTtlFactory>(db->watermark_ms);
        rocksdb::ColumnFamilyHandle *handle = nullptr;
        rocksdb::Status status = db->db->CreateColumnFamily(
            options_for(db, name, db->families.size() + 1, ttl), name, &handle);
        if (!status.ok()) {
            return shim_fail(error, status, db->directory.c_str(), "creating a column family");
        }
        *ret_family = family_add(db, handle, ttl);
        return CISTERN_OK;
    });
}

void shim_family_set_ttl(struct shim_family *family, const struct shim_ttl *ttl) noexcept
{
    family->ttl->set(*ttl);
}

void shim_db_set_watermark(struct shim_db *db, int64_t watermark_ms) noexcept
{
    db->watermark_ms->store(watermark_ms, std::memory_order_relaxed);
}

void shim_family_measure(
    struct shim_family *family, uint64_t *ret_entries, uint64_t *ret_bytes) noexcept
{
    uint64_t entries = 0;
    uint64_t tables = 0;
    uint64_t memtables = 0;
    rocksdb::DB *db = family->owner->db.get();
    try {
        db->GetIntProperty(family->handle, rocksdb::DB::Properties::kEstimateNumKeys, &entries);
        db->GetIntProperty(family->handle, rocksdb::DB::Properties::kEstimateLiveDataSize, &tables);
        db->GetIntProperty(
            family->handle, rocksdb::DB::Properties::kCurSizeAllMemTables, &memtables);
    } catch (...) {
        /* an estimate that is not to be had reads as zero */
    }
    *ret_entries = entries;
    *ret_bytes = tables + memtables;
}

uint64_t shim_table_reader_bytes(struct shim_db *db) noexcept
{
    uint64_t bytes = 0;
    try {
        db->db->GetAggregatedIntProperty(rocksdb::DB::Properties::kEstimateTableReadersMem, &bytes);
    } catch (...) {
        bytes = 0;
    }
    return bytes;
}

void shim_db_measure(struct shim_db *db, struct shim_numbers *ret_numbers) noexcept
{
    struct shim_numbers numbers = {0, 0, 0};
    try {
        numbers.table_reader_bytes = shim_table_reader_bytes(db);
        db->db->GetAggregatedIntProperty(
            rocksdb::DB::Properties::kTotalSstFilesSize, &numbers.file_bytes);
        std::vector<rocksdb::LiveFileMetaData> files;
        db->db->GetLiveFilesMetaData(&files);
        numbers.file_count = files.size();
    } catch (...) {
        /* likewise */
    }
    *ret_numbers = numbers;
}

static std::vector<rocksdb::ColumnFamilyHandle *> handles_of(const struct shim_db *db)
{
    std::vector<rocksdb::ColumnFamilyHandle *> handles;
    for (const auto &family : db->families) {
        if (family.get() != db->marker) {
            handles.push_back(family->handle);
        }
    }
    return handles;
}

uint32_t shim_db_flush(struct shim_db *db, struct cistern_error *error) noexcept
{
    if (db->listener->pending()) {
        return CISTERN_OK;
    }
    return shim_guard(error, db->directory.c_str(), [&]() -> uint32_t {
        rocksdb::FlushOptions flush;
        flush.wait = false;
        flush.allow_write_stall = true;
        rocksdb::Status status = db->db->Flush(flush, handles_of(db));
        if (status.IsTryAgain()) {
            return CISTERN_OK; /* writes are stopped: flushes are under way already */
        }
        return shim_fail(error, status, db->directory.c_str(), "flushing");
    });
}

uint32_t shim_db_settle(struct shim_db *db, uint32_t compact, struct cistern_error *error) noexcept
{
    return shim_guard(error, db->directory.c_str(), [&]() -> uint32_t {
        rocksdb::FlushOptions flush;
        rocksdb::Status status = db->db->Flush(flush, handles_of(db));
        for (rocksdb::ColumnFamilyHandle *handle : handles_of(db)) {
            if (status.ok() && compact) {
                status =
                    db->db->CompactRange(rocksdb::CompactRangeOptions(), handle, nullptr, nullptr);
            }
        }
        return shim_fail(error, status, db->directory.c_str(), "flushing and compacting");
    });
}
