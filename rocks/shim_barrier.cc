/*
 * shim_barrier.cc -- the native snapshot: a record in a marker family, a memtable switch, and the
 * list of files taken in the callback of the flush that installed the record; see shim.h and
 * docs/SNAPSHOT.md.
 *
 * Invariant: one flush job at a time and atomic flush. Then, when the marker's record is installed,
 *            every write before it is in table files, and none after it, since no later flush
 *            begins before the callback returns. The two checks of sequence numbers catch what
 *            would lie beyond.
 */
#include "shim_private.hh"

#include "cistern/clock.h"

#include <rocksdb/metadata.h>
#include <rocksdb/unique_id.h>

#include <cstdlib>
#include <cstring>
#include <sched.h>

namespace
{

constexpr uint64_t sequence_none = (1ull << 56) - 1; /* RocksDB's word for "no sequence number" */
constexpr int64_t stall_poll_ns = 200 * 1000;

/* A woken flush thread must not preempt the owner inside its barrier. Once per thread; the pools
 * serve the whole process. */
void be_batch()
{
    static thread_local bool done = false;
    if (!done) {
        done = true;
        struct sched_param parameters = {};
        (void)sched_setscheduler(0, SCHED_BATCH, &parameters);
    }
}

uint64_t number_of(const std::string &path)
{
    size_t slash = path.find_last_of('/');
    return strtoull(path.c_str() + (slash == std::string::npos ? 0 : slash + 1), nullptr, 10);
}

rocksdb::Status deletions_enable(rocksdb::DB *db)
{
#if ROCKSDB_MAJOR >= 9
    return db->EnableFileDeletions();
#else
    return db->EnableFileDeletions(false); /* true would let go of what somebody else still holds */
#endif
}

void call_ready(ShimCapture *capture)
{
    if (capture->ready != nullptr) {
        capture->ready(capture->ready_arg);
    }
}

/* Under the capture's lock, so that a release on another thread cannot return before the
 * callback did. */
void finish(ShimCapture *capture, ShimCaptureState state, const std::string &why)
{
    std::lock_guard<std::mutex> guard(capture->lock);
    if (capture->state == ShimCaptureState::pending) {
        capture->state = state;
        capture->why = why;
        call_ready(capture);
    }
}

} // namespace

void ShimListener::bind(rocksdb::DB *db, uint32_t marker_id)
{
    std::lock_guard<std::mutex> guard(lock_);
    db_ = db;
    marker_id_ = marker_id;
}

bool ShimListener::arm(uint64_t sequence, const std::shared_ptr<ShimCapture> &capture)
{
    std::lock_guard<std::mutex> guard(lock_);
    if (capture_ != nullptr) {
        return false;
    }
    sequence_ = sequence;
    capture_ = capture;
    last_ = capture;
    pending_.store(true, std::memory_order_release);
    return true;
}

void ShimListener::disarm(const std::string &why)
{
    std::shared_ptr<ShimCapture> capture;
    {
        std::lock_guard<std::mutex> guard(lock_);
        capture.swap(capture_);
        pending_.store(false, std::memory_order_release);
    }
    if (capture != nullptr) {
        finish(capture.get(), ShimCaptureState::aborted, why);
    }
}

void ShimListener::forget()
{
    std::shared_ptr<ShimCapture> capture;
    {
        std::lock_guard<std::mutex> guard(lock_);
        capture = last_.lock();
    }
    if (capture != nullptr) {
        std::lock_guard<std::mutex> guard(capture->lock);
        capture->holds_files = false;
    }
}

void ShimListener::learn(const std::string &path, const rocksdb::TableProperties &properties)
{
    std::string id;
    if (rocksdb::GetExtendedUniqueIdFromTableProperties(properties, &id).ok() &&
        id.size() == CISTERN_ORIGIN_BYTES) {
        std::lock_guard<std::mutex> guard(lock_);
        ids_[number_of(path)] = id;
    }
}

void ShimListener::OnFlushBegin(rocksdb::DB *, const rocksdb::FlushJobInfo &)
{
    be_batch();
    hooks_.job_begin(hooks_.arg, 0);
}

void ShimListener::OnCompactionBegin(rocksdb::DB *, const rocksdb::CompactionJobInfo &)
{
    be_batch();
}

void ShimListener::OnSubcompactionBegin(const rocksdb::SubcompactionJobInfo &)
{
    be_batch();
    hooks_.job_begin(hooks_.arg, 1);
}

void ShimListener::OnSubcompactionCompleted(const rocksdb::SubcompactionJobInfo &)
{
    hooks_.job_end(hooks_.arg, 1);
}

void ShimListener::OnTableFileCreated(const rocksdb::TableFileCreationInfo &info)
{
    if (info.status.ok()) {
        try {
            learn(info.file_path, info.table_properties);
        } catch (...) {
            /* without its id the file is stored anew by the next snapshot, never taken for
             * another */
        }
    }
}

void ShimListener::OnTableFileDeleted(const rocksdb::TableFileDeletionInfo &info)
{
    std::lock_guard<std::mutex> guard(lock_);
    ids_.erase(number_of(info.file_path));
}

void ShimListener::OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status *status)
{
    try {
        disarm("RocksDB reported a background error: " + status->ToString());
    } catch (...) {
        disarm(std::string());
    }
}

/* The pending capture if this flush completes or spoils it; *ret_why is not empty when it is
 * spoilt. From then on nothing is pending: whoever hears that the capture is ready may begin the
 * next one at once. */
std::shared_ptr<ShimCapture> ShimListener::take(
    const rocksdb::FlushJobInfo &info, uint64_t *ret_sequence, std::string *ret_why)
{
    std::lock_guard<std::mutex> guard(lock_);
    if (capture_ == nullptr) {
        return nullptr;
    }
    bool beyond = info.largest_seqno > sequence_ && info.largest_seqno != sequence_none;
    bool ours = info.cf_id == marker_id_ && info.smallest_seqno <= sequence_ &&
                sequence_ <= info.largest_seqno;
    if (beyond) {
        *ret_why =
            "a flush of column family " + info.cf_name + " carried writes of after the barrier";
    }
    if (!beyond && !ours) {
        return nullptr;
    }
    *ret_sequence = sequence_;
    pending_.store(false, std::memory_order_release);
    return std::move(capture_);
}

void ShimListener::OnFlushCompleted(rocksdb::DB *, const rocksdb::FlushJobInfo &info)
{
    hooks_.job_end(hooks_.arg, 0);
    if (!pending()) {
        return;
    }
    std::shared_ptr<ShimCapture> capture;
    try {
        uint64_t sequence = 0;
        std::string why;
        capture = take(info, &sequence, &why);
        if (capture == nullptr) {
            return;
        }
        if (why.empty()) {
            fill(capture.get(), sequence);
        } else {
            finish(capture.get(), ShimCaptureState::aborted, why);
        }
    } catch (...) {
        const char *why = "no memory to list the snapshot's files";
        if (capture != nullptr) {
            finish(capture.get(), ShimCaptureState::aborted, why);
        } else {
            disarm(why);
        }
    }
}

static bool hash_copy(ShimFile *file, const rocksdb::LiveFileStorageInfo &info)
{
    if (info.file_checksum_func_name != SHIM_CHECKSUM_NAME ||
        info.file_checksum.size() != sizeof file->hash) {
        return false;
    }
    memcpy(file->hash, info.file_checksum.data(), sizeof file->hash);
    return true;
}

/* Lists what makes up the database now; the returned reason is empty when it is whole. Never
 * flushes: it runs on the thread that would have to. */
std::string ShimListener::list(uint64_t sequence, std::vector<ShimFile> *ret_files)
{
    rocksdb::LiveFilesStorageInfoOptions options;
    options.include_checksum_info = true;
    options.wal_size_for_flush = UINT64_MAX;
    std::vector<rocksdb::LiveFileStorageInfo> infos;
    rocksdb::Status status = db_->GetLiveFilesStorageInfo(options, &infos);
    if (!status.ok()) {
        return "listing the files failed: " + status.ToString();
    }
    std::vector<rocksdb::LiveFileMetaData> tables;
    db_->GetLiveFilesMetaData(&tables);
    for (const auto &table : tables) {
        if (table.largest_seqno > sequence) {
            return "file " + table.name + " holds writes of after the barrier";
        }
    }
    std::lock_guard<std::mutex> guard(lock_);
    for (const auto &info : infos) {
        if (info.file_type != rocksdb::kTableFile && info.file_type != rocksdb::kDescriptorFile) {
            continue;
        }
        ShimFile file;
        file.path = info.directory + "/" + info.relative_filename;
        file.name = info.relative_filename;
        file.number = info.file_number;
        file.bytes = info.size;
        file.is_manifest = info.file_type == rocksdb::kDescriptorFile;
        file.has_hash = !file.is_manifest && hash_copy(&file, info);
        auto id = ids_.find(file.number);
        if (!file.is_manifest && id != ids_.end()) {
            memcpy(file.origin, id->second.data(), sizeof file.origin);
        }
        ret_files->push_back(std::move(file));
    }
    return std::string();
}

void ShimListener::fill(ShimCapture *capture, uint64_t sequence)
{
    rocksdb::Status status = db_->DisableFileDeletions();
    if (!status.ok()) {
        finish(capture, ShimCaptureState::aborted, "files could not be held: " + status.ToString());
        return;
    }
    std::vector<ShimFile> files;
    std::string why = list(sequence, &files);
    std::unique_lock<std::mutex> guard(capture->lock);
    if (why.empty() && capture->state == ShimCaptureState::pending) {
        capture->files = std::move(files);
        capture->holds_files = true;
        capture->db = db_;
        capture->state = ShimCaptureState::ready;
        call_ready(capture);
        return;
    }
    guard.unlock();
    deletions_enable(db_).PermitUncheckedError();
    if (!why.empty()) {
        finish(capture, ShimCaptureState::aborted, why);
    }
}

/* The marker's record; when writes are being slowed or stopped it waits like any other write,
 * and says so. */
static rocksdb::Status marker_put(struct shim_db *db, uint64_t id, uint32_t *ret_stalled)
{
    rocksdb::WriteOptions write;
    write.disableWAL = true;
    write.no_slowdown = true;
    std::string value = std::to_string(id);
    rocksdb::Status status = db->db->Put(write, db->marker->handle, "barrier", value);
    if (status.IsIncomplete()) {
        *ret_stalled = 1;
        write.no_slowdown = false;
        status = db->db->Put(write, db->marker->handle, "barrier", value);
    }
    return status;
}

/* Seals every memtable, the marker's last. TryAgain: writes are stopped, nothing was sealed;
 * nothing is written meanwhile. */
static rocksdb::Status seal_all(struct shim_db *db, int64_t deadline_ns, uint32_t *ret_stalled)
{
    rocksdb::FlushOptions flush;
    flush.wait = false;
    flush.allow_write_stall = true;
    std::vector<rocksdb::ColumnFamilyHandle *> handles;
    for (const auto &family : db->families) {
        if (family.get() != db->marker) {
            handles.push_back(family->handle);
        }
    }
    handles.push_back(db->marker->handle);
    rocksdb::Status status = db->db->Flush(flush, handles);
    while (status.IsTryAgain() && cistern_now_ns() < deadline_ns) {
        *ret_stalled = 1;
        cistern_sleep_ns(stall_poll_ns);
        status = db->db->Flush(flush, handles);
    }
    return status.IsTryAgain() ? rocksdb::Status::TimedOut("writes stayed stopped") : status;
}

static uint32_t barrier_run(struct shim_db *db, const struct shim_barrier_options *options,
    const std::shared_ptr<ShimCapture> &shared, uint32_t *ret_stalled, struct cistern_error *error)
{
    const char *directory = db->directory.c_str();
    if (db->listener->pending()) {
        return cistern_fail(error, CISTERN_BUSY, directory,
            "the flush of the snapshot before this one is not done yet");
    }
    uint32_t code = shim_fail(
        error, marker_put(db, options->id, ret_stalled), directory, "writing the barrier");
    if (code != CISTERN_OK) {
        return code;
    }
    /* Before Flush: its callback may run before it returns. */
    if (!db->listener->arm(db->db->GetLatestSequenceNumber(), shared)) {
        return cistern_fail(error, CISTERN_BUSY, directory, "a barrier is pending");
    }
    rocksdb::Status status = seal_all(db, cistern_now_ns() + options->wait_max_ns, ret_stalled);
    if (!status.ok()) {
        shared->lock.lock();
        /* nobody holds it: the caller gets an error, no handle */
        shared->state = ShimCaptureState::released;
        shared->lock.unlock();
        db->listener->disarm("the memtables could not be sealed");
    }
    return shim_fail(error, status, directory, "sealing the memtables");
}

uint32_t shim_barrier(struct shim_db *db, const struct shim_barrier_options *options,
    struct shim_capture **ret_capture, uint32_t *ret_stalled, struct cistern_error *error) noexcept
{
    return shim_guard(error, db->directory.c_str(), [&]() -> uint32_t {
        auto capture = std::make_unique<shim_capture>();
        capture->shared = std::make_shared<ShimCapture>();
        capture->shared->ready = options->ready;
        capture->shared->ready_arg = options->ready_arg;
        *ret_stalled = 0;
        uint32_t code = barrier_run(db, options, capture->shared, ret_stalled, error);
        if (code == CISTERN_OK) {
            *ret_capture = capture.release();
        }
        return code;
    });
}

uint32_t shim_capture_poll(struct shim_capture *capture, struct cistern_error *error) noexcept
{
    std::lock_guard<std::mutex> guard(capture->shared->lock);
    switch (capture->shared->state) {
    case ShimCaptureState::pending:
        return CISTERN_BUSY;
    case ShimCaptureState::ready:
        return CISTERN_OK;
    default:
        return cistern_fail(error, CISTERN_ABORTED, "snapshot", "%s", capture->shared->why.c_str());
    }
}

uint32_t shim_capture_count(const struct shim_capture *capture) noexcept
{
    return static_cast<uint32_t>(capture->shared->files.size());
}

void shim_capture_file(
    const struct shim_capture *capture, uint32_t index, struct shim_file *ret_file) noexcept
{
    const ShimFile &file = capture->shared->files[index];
    *ret_file = {};
    ret_file->path = file.path.c_str();
    ret_file->name = file.name.c_str();
    ret_file->bytes = file.bytes;
    ret_file->is_manifest = file.is_manifest;
    ret_file->has_hash = file.has_hash;
    memcpy(ret_file->hash, file.hash, sizeof file.hash);
    memcpy(ret_file->origin, file.origin, sizeof file.origin);
}

void shim_capture_release(struct shim_capture *capture) noexcept
{
    if (capture == nullptr) {
        return;
    }
    rocksdb::DB *held = nullptr;
    {
        std::lock_guard<std::mutex> guard(capture->shared->lock);
        capture->shared->state = ShimCaptureState::released;
        held = capture->shared->holds_files ? capture->shared->db : nullptr;
        capture->shared->holds_files = false;
    }
    if (held != nullptr) {
        (void)shim_guard(nullptr, nullptr, [&]() -> uint32_t {
            deletions_enable(held).PermitUncheckedError();
            return CISTERN_OK;
        });
    }
    delete capture;
}
