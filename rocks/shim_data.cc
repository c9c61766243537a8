/* shim_data.cc -- reads, iterators and write batches; see shim.h. */
#include "shim_private.hh"

#include <rocksdb/write_batch.h>

struct shim_reader {
    std::vector<rocksdb::Slice> keys;
    std::vector<rocksdb::PinnableSlice> values;
    std::vector<rocksdb::Status> statuses;
    uint32_t used = 0; /* values [0, used) may pin something */
};

struct shim_view {
    rocksdb::DB *db = nullptr;
    const rocksdb::Snapshot *snapshot = nullptr;
};

struct shim_iterator {
    std::string lower;
    std::string upper;
    rocksdb::Slice lower_slice; /* RocksDB keeps pointers to these two */
    rocksdb::Slice upper_slice;
    std::unique_ptr<rocksdb::Iterator> iterator;
    const char *object = nullptr;
};

struct shim_batch {
    rocksdb::WriteBatch batch;
    size_t reserve_bytes = 0;
};

namespace
{

/* a batch that has grown past this gives its memory back */
constexpr size_t batch_keep_bytes = 1u << 20;
const char absent_marker = 0; /* what the data of an empty, present value points at */

struct cistern_span span_of(const rocksdb::Slice &slice)
{
    const void *data = slice.size() != 0 ? slice.data() : &absent_marker;
    return {data, slice.size()};
}

} // namespace

uint32_t shim_reader_create(
    uint32_t capacity, struct shim_reader **ret_reader, struct cistern_error *error) noexcept
{
    return shim_guard(error, "reader", [&]() -> uint32_t {
        auto reader = std::make_unique<shim_reader>();
        reader->keys.resize(capacity);
        reader->values = std::vector<rocksdb::PinnableSlice>(capacity);
        reader->statuses.resize(capacity);
        *ret_reader = reader.release();
        return CISTERN_OK;
    });
}

void shim_reader_reset(struct shim_reader *reader) noexcept
{
    for (uint32_t i = 0; i < reader->used; i++) {
        reader->values[i].Reset();
    }
    reader->used = 0;
}

void shim_reader_destroy(struct shim_reader *reader) noexcept
{
    delete reader;
}

static uint32_t collect(struct shim_reader *reader, const std::string &directory, uint32_t count,
    struct cistern_span *ret_values, struct cistern_error *error)
{
    for (uint32_t i = 0; i < count; i++) {
        if (reader->statuses[i].ok()) {
            ret_values[i] = span_of(reader->values[i]);
        } else if (reader->statuses[i].IsNotFound()) {
            ret_values[i] = {nullptr, 0};
        } else {
            return shim_fail(error, reader->statuses[i], directory.c_str(), "reading");
        }
    }
    return CISTERN_OK;
}

uint32_t shim_get_many(struct shim_reader *reader, struct shim_family *family,
    const struct cistern_span *keys, uint32_t count, uint32_t sorted,
    struct cistern_span *ret_values, struct cistern_error *error) noexcept
{
    const std::string &directory = family->owner->directory;
    return shim_guard(error, directory.c_str(), [&]() -> uint32_t {
        shim_reader_reset(reader);
        reader->used = count;
        rocksdb::DB *db = family->owner->db.get();
        rocksdb::ReadOptions read;
        if (count == 1) {
            reader->statuses[0] =
                db->Get(read, family->handle, shim_slice(keys[0]), &reader->values[0]);
            return collect(reader, directory, count, ret_values, error);
        }
        for (uint32_t i = 0; i < count; i++) {
            reader->keys[i] = shim_slice(keys[i]);
        }
        db->MultiGet(read, family->handle, count, reader->keys.data(), reader->values.data(),
            reader->statuses.data(), sorted != 0);
        return collect(reader, directory, count, ret_values, error);
    });
}

uint32_t shim_view_open(
    struct shim_db *db, struct shim_view **ret_view, struct cistern_error *error) noexcept
{
    return shim_guard(error, db->directory.c_str(), [&]() -> uint32_t {
        auto view = std::make_unique<shim_view>();
        view->db = db->db.get();
        view->snapshot = db->db->GetSnapshot();
        *ret_view = view.release();
        return CISTERN_OK;
    });
}

void shim_view_close(struct shim_view *view) noexcept
{
    if (view != nullptr) {
        view->db->ReleaseSnapshot(view->snapshot);
        delete view;
    }
}

uint32_t shim_iterator_open(struct shim_family *family, struct shim_view *view,
    struct cistern_span lower, struct cistern_span upper, struct shim_iterator **ret_iterator,
    struct cistern_error *error) noexcept
{
    const char *directory = family->owner->directory.c_str();
    return shim_guard(error, directory, [&]() -> uint32_t {
        auto made = std::make_unique<shim_iterator>();
        made->object = directory;
        rocksdb::ReadOptions read;
        read.fill_cache = false;
        read.background_purge_on_iterator_cleanup = true;
        read.snapshot = view != nullptr ? view->snapshot : nullptr;
        if (lower.data != nullptr) {
            made->lower.assign(static_cast<const char *>(lower.data), lower.bytes);
            made->lower_slice = made->lower;
            read.iterate_lower_bound = &made->lower_slice;
        }
        if (upper.data != nullptr) {
            made->upper.assign(static_cast<const char *>(upper.data), upper.bytes);
            made->upper_slice = made->upper;
            read.iterate_upper_bound = &made->upper_slice;
        }
        made->iterator.reset(family->owner->db->NewIterator(read, family->handle));
        *ret_iterator = made.release();
        return CISTERN_OK;
    });
}

void shim_iterator_close(struct shim_iterator *iterator) noexcept
{
    delete iterator;
}

/* What the moves throw (allocation only) ends the iteration; its status then says so. */
void shim_iterator_seek(struct shim_iterator *iterator, struct cistern_span key) noexcept
{
    if (shim_guard(nullptr, nullptr, [&]() -> uint32_t {
            iterator->iterator->Seek(shim_slice(key));
            return CISTERN_OK;
        }) != CISTERN_OK) {
        iterator->iterator.reset();
    }
}

void shim_iterator_next(struct shim_iterator *iterator) noexcept
{
    if (shim_guard(nullptr, nullptr, [&]() -> uint32_t {
            iterator->iterator->Next();
            return CISTERN_OK;
        }) != CISTERN_OK) {
        iterator->iterator.reset();
    }
}

int shim_iterator_entry(struct shim_iterator *iterator, struct cistern_span *ret_key,
    struct cistern_span *ret_value) noexcept
{
    if (iterator->iterator == nullptr || !iterator->iterator->Valid()) {
        return 0;
    }
    *ret_key = span_of(iterator->iterator->key());
    *ret_value = span_of(iterator->iterator->value());
    return 1;
}

uint32_t shim_iterator_status(struct shim_iterator *iterator, struct cistern_error *error) noexcept
{
    if (iterator->iterator == nullptr) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, iterator->object, "no memory to move an iterator");
    }
    return shim_guard(error, iterator->object, [&]() -> uint32_t {
        return shim_fail(error, iterator->iterator->status(), iterator->object, "iterating");
    });
}

uint32_t shim_batch_create(
    uint64_t reserve_bytes, struct shim_batch **ret_batch, struct cistern_error *error) noexcept
{
    return shim_guard(error, "write batch", [&]() -> uint32_t {
        auto batch = std::make_unique<shim_batch>();
        batch->reserve_bytes = reserve_bytes;
        batch->batch = rocksdb::WriteBatch(reserve_bytes);
        *ret_batch = batch.release();
        return CISTERN_OK;
    });
}

void shim_batch_destroy(struct shim_batch *batch) noexcept
{
    delete batch;
}

void shim_batch_clear(struct shim_batch *batch) noexcept
{
    size_t bytes = batch->batch.GetDataSize();
    batch->batch.Clear();
    if (bytes > batch_keep_bytes) {
        /* A fresh small one; if even that is not to be had the large one stays in use. */
        (void)shim_guard(nullptr, nullptr, [&]() -> uint32_t {
            batch->batch = rocksdb::WriteBatch(batch->reserve_bytes);
            return CISTERN_OK;
        });
    }
}

uint64_t shim_batch_bytes(const struct shim_batch *batch) noexcept
{
    return batch->batch.GetDataSize();
}

uint32_t shim_batch_put(struct shim_batch *batch, struct shim_family *family,
    struct cistern_span key, struct cistern_span stamp, struct cistern_span value,
    struct cistern_error *error) noexcept
{
    const char *directory = family->owner->directory.c_str();
    return shim_guard(error, directory, [&]() -> uint32_t {
        if (stamp.data == nullptr) {
            return shim_fail(error,
                batch->batch.Put(family->handle, shim_slice(key), shim_slice(value)), directory,
                "adding to a write batch");
        }
        rocksdb::Slice key_part = shim_slice(key);
        rocksdb::Slice value_parts[2] = {shim_slice(stamp), shim_slice(value)};
        return shim_fail(error,
            batch->batch.Put(family->handle, rocksdb::SliceParts(&key_part, 1),
                rocksdb::SliceParts(value_parts, 2)),
            directory, "adding to a write batch");
    });
}

uint32_t shim_batch_append(struct shim_batch *batch, struct shim_family *family,
    struct cistern_span key, struct cistern_span bytes, struct cistern_error *error) noexcept
{
    const char *directory = family->owner->directory.c_str();
    return shim_guard(error, directory, [&]() -> uint32_t {
        return shim_fail(error,
            batch->batch.Merge(family->handle, shim_slice(key), shim_slice(bytes)), directory,
            "adding to a write batch");
    });
}

uint32_t shim_batch_remove(struct shim_batch *batch, struct shim_family *family,
    struct cistern_span key, struct cistern_error *error) noexcept
{
    const char *directory = family->owner->directory.c_str();
    return shim_guard(error, directory, [&]() -> uint32_t {
        return shim_fail(error, batch->batch.Delete(family->handle, shim_slice(key)), directory,
            "adding to a write batch");
    });
}

uint32_t shim_write(
    struct shim_db *db, struct shim_batch *batch, struct cistern_error *error) noexcept
{
    return shim_guard(error, db->directory.c_str(), [&]() -> uint32_t {
        rocksdb::WriteOptions write;
        write.disableWAL = true;
        return shim_fail(
            error, db->db->Write(write, &batch->batch), db->directory.c_str(), "writing");
    });
}
