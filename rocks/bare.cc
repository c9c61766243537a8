/* bare.cc -- see cistern/rocks_bare.h. */
#include "shim_private.hh"

#include "cistern/endian.h"
#include "cistern/rocks_bare.h"

#include <rocksdb/table.h>

struct cistern_rocks_bare {
    std::string directory;
    shim_memory memory; /* a plain cache and manager, only to hand them to the option functions */
    std::unique_ptr<rocksdb::DB> db;
    rocksdb::ColumnFamilyHandle *values = nullptr;
    rocksdb::ColumnFamilyHandle *sums = nullptr;
    rocksdb::WriteOptions write;
    std::string scratch;

    ~cistern_rocks_bare()
    {
        if (db != nullptr) {
            for (auto *family : {values, sums}) {
                if (family != nullptr) {
                    db->DestroyColumnFamilyHandle(family).PermitUncheckedError();
                }
            }
            db->Close().PermitUncheckedError();
            db.reset();
            rocksdb::DestroyDB(directory, rocksdb::Options()).PermitUncheckedError();
        }
    }
};

static rocksdb::Status bare_start(cistern_rocks_bare *bare, uint64_t budget_bytes)
{
    bare->memory.cache = rocksdb::NewLRUCache(budget_bytes / 10 * 6);
    bare->memory.buffers = std::make_shared<rocksdb::WriteBufferManager>(budget_bytes / 4);
    struct shim_db_options options = {};
    options.directory = bare->directory.c_str();
    options.memory = &bare->memory;
    options.limit_bytes = budget_bytes;
    options.allowance_bytes_min = budget_bytes / 4;
    options.allowance_bytes_max = budget_bytes / 4 * 3;
    options.compactions_max = 1;
    rocksdb::Options open(
        shim_database_options(&options), shim_family_options(&options, bare->memory.cache));
    rocksdb::DB *db = nullptr;
    rocksdb::Status status = rocksdb::DB::Open(open, bare->directory, &db);
    bare->db.reset(db);
    if (status.ok()) {
        status = db->CreateColumnFamily(open, "values", &bare->values);
    }
    if (status.ok()) {
        status = db->CreateColumnFamily(open, "sums", &bare->sums);
    }
    bare->write.disableWAL = true;
    return status;
}

uint32_t cistern_rocks_bare_open(const char *directory, uint64_t budget_bytes,
    struct cistern_rocks_bare **ret_bare, struct cistern_error *error)
{
    return shim_guard(error, directory, [&]() -> uint32_t {
        auto bare = std::make_unique<cistern_rocks_bare>();
        bare->directory = directory;
        uint32_t status =
            shim_fail(error, bare_start(bare.get(), budget_bytes), directory, "opening RocksDB");
        if (status == CISTERN_OK) {
            *ret_bare = bare.release();
        }
        return status;
    });
}

uint32_t cistern_rocks_bare_put(struct cistern_rocks_bare *bare, const struct cistern_span *keys,
    const struct cistern_span *values, uint32_t count, struct cistern_error *error)
{
    return shim_guard(error, "bare", [&]() -> uint32_t {
        rocksdb::Status status;
        for (uint32_t i = 0; i < count && status.ok(); i++) {
            status = bare->db->Put(
                bare->write, bare->values, shim_slice(keys[i]), shim_slice(values[i]));
        }
        return shim_fail(error, status, bare->directory.c_str(), "put");
    });
}

uint32_t cistern_rocks_bare_get(struct cistern_rocks_bare *bare, const struct cistern_span *keys,
    uint32_t count, struct cistern_error *error)
{
    return shim_guard(error, "bare", [&]() -> uint32_t {
        rocksdb::Status status;
        for (uint32_t i = 0; i < count && (status.ok() || status.IsNotFound()); i++) {
            rocksdb::PinnableSlice value;
            status =
                bare->db->Get(rocksdb::ReadOptions(), bare->values, shim_slice(keys[i]), &value);
        }
        if (status.IsNotFound()) {
            return CISTERN_OK;
        }
        return shim_fail(error, status, bare->directory.c_str(), "get");
    });
}

uint32_t cistern_rocks_bare_add(struct cistern_rocks_bare *bare, const struct cistern_span *keys,
    const struct cistern_span *inputs, uint32_t count, struct cistern_error *error)
{
    return shim_guard(error, "bare", [&]() -> uint32_t {
        rocksdb::Status status;
        for (uint32_t i = 0; i < count && status.ok(); i++) {
            uint64_t sum = cistern_get_u64_be(inputs[i].data);
            status = bare->db->Get(
                rocksdb::ReadOptions(), bare->sums, shim_slice(keys[i]), &bare->scratch);
            if (status.ok() && bare->scratch.size() == sizeof sum) {
                sum += cistern_get_u64_be(bare->scratch.data());
            }
            if (status.ok() || status.IsNotFound()) {
                char bytes[sizeof sum];
                cistern_put_u64_be(bytes, sum);
                status = bare->db->Put(bare->write, bare->sums, shim_slice(keys[i]),
                    rocksdb::Slice(bytes, sizeof bytes));
            }
        }
        return shim_fail(error, status, bare->directory.c_str(), "add");
    });
}

void cistern_rocks_bare_close(struct cistern_rocks_bare *bare)
{
    delete bare;
}
