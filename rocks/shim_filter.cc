/* shim_filter.cc -- what RocksDB calls for each value: the append operator of lists and the
 * compaction filter of states with a time to live; see shim.h. */
#include "shim_private.hh"

#include "cistern/backend_ops.h"
#include "cistern/clock.h"
#include "cistern/endian.h"
#include "cistern/list_frame.h"

namespace
{

class AppendOperator : public rocksdb::MergeOperator
{
  public:
    bool FullMergeV2(const MergeOperationInput &input, MergeOperationOutput *output) const override
    {
        if (input.existing_value == nullptr && input.operand_list.size() == 1) {
            output->existing_operand = input.operand_list[0];
            return true;
        }
        size_t bytes = input.existing_value != nullptr ? input.existing_value->size() : 0;
        for (const rocksdb::Slice &operand : input.operand_list) {
            bytes += operand.size();
        }
        output->new_value.clear(); /* an iterator passes the last key's string again */
        output->new_value.reserve(bytes);
        if (input.existing_value != nullptr) {
            output->new_value.assign(input.existing_value->data(), input.existing_value->size());
        }
        for (const rocksdb::Slice &operand : input.operand_list) {
            output->new_value.append(operand.data(), operand.size());
        }
        return true;
    }
    bool PartialMergeMulti(const rocksdb::Slice &, const std::deque<rocksdb::Slice> &operands,
        std::string *new_value, rocksdb::Logger *) const override
    {
        new_value->clear();
        for (const rocksdb::Slice &operand : operands) {
            new_value->append(operand.data(), operand.size());
        }
        return true;
    }
    const char *Name() const override
    {
        return "cistern.append";
    }
};

} // namespace

std::shared_ptr<rocksdb::MergeOperator> shim_append_operator()
{
    static const std::shared_ptr<rocksdb::MergeOperator> shared =
        std::make_shared<AppendOperator>();
    return shared;
}

namespace
{

constexpr uint64_t stamp_bytes = 8;

/* One compaction's view of time: what was too old when it began is dropped, wherever it lies. */
class TtlFilter : public rocksdb::CompactionFilter
{
  public:
    TtlFilter(const struct cistern_ttl &ttl, int64_t now_ms) : ttl_(ttl), now_ms_(now_ms)
    {
    }
    const char *Name() const override
    {
        return "cistern.ttl";
    }
    bool Filter(int, const rocksdb::Slice &, const rocksdb::Slice &value, std::string *,
        bool *) const override
    {
        if (value.size() < stamp_bytes) {
            return false; /* damaged: the read that meets it says so */
        }
        return is_expired(static_cast<int64_t>(cistern_get_u64_be(value.data())));
    }

  protected:
    bool is_expired(int64_t written_ms) const
    {
        return cistern_ttl_expired(&ttl_, written_ms, now_ms_) != 0;
    }

  private:
    struct cistern_ttl ttl_;
    int64_t now_ms_;
};

/* The same for each element of a run, be it a chunk or an append that has not met its chunk yet. */
class ListTtlFilter : public TtlFilter
{
  public:
    ListTtlFilter(const struct cistern_ttl &ttl, int64_t now_ms, uint32_t element_bytes)
        : TtlFilter(ttl, now_ms), format_{element_bytes, 1}
    {
    }
    Decision FilterV2(int, const rocksdb::Slice &, ValueType type, const rocksdb::Slice &value,
        std::string *new_value, std::string *) const override
    {
        if (type != ValueType::kValue && type != ValueType::kMergeOperand) {
            return Decision::kKeep;
        }
        struct cistern_span run = {value.data(), value.size()};
        struct cistern_frame frame;
        bool drops = false;
        new_value->clear();
        for (uint64_t at = 0; at < run.bytes; at += frame.bytes) {
            if (!cistern_frame_read(&format_, run, at, &frame)) {
                return Decision::kKeep; /* damaged: the read that meets it says so */
            }
            if (!is_expired(frame.written_ms)) {
                if (drops) {
                    new_value->append(value.data() + at, frame.bytes);
                }
            } else if (!drops) {
                drops = true;
                new_value->assign(value.data(), at);
            }
        }
        if (!drops) {
            return Decision::kKeep;
        }
        return new_value->empty() ? Decision::kRemove : Decision::kChangeValue;
    }

  private:
    struct cistern_frame_format format_;
};

} // namespace

void ShimTtlFactory::set(const struct shim_ttl &ttl)
{
    event_time_.store(ttl.event_time, std::memory_order_relaxed);
    is_list_.store(ttl.is_list, std::memory_order_relaxed);
    element_bytes_.store(ttl.element_bytes, std::memory_order_relaxed);
    time_to_live_ms_.store(ttl.time_to_live_ms, std::memory_order_release);
}

std::unique_ptr<rocksdb::CompactionFilter> ShimTtlFactory::CreateCompactionFilter(
    const rocksdb::CompactionFilter::Context &)
{
    struct cistern_ttl ttl = {};
    ttl.time_to_live_ms = time_to_live_ms_.load(std::memory_order_acquire);
    ttl.event_time = event_time_.load(std::memory_order_relaxed);
    if (ttl.time_to_live_ms == 0) {
        return nullptr;
    }
    int64_t now_ms =
        ttl.event_time ? watermark_ms_->load(std::memory_order_relaxed) : cistern_wall_ms();
    if (is_list_.load(std::memory_order_relaxed) != 0) {
        return std::make_unique<ListTtlFilter>(
            ttl, now_ms, element_bytes_.load(std::memory_order_relaxed));
    }
    return std::make_unique<TtlFilter>(ttl, now_ms);
}

const char *ShimTtlFactory::Name() const
{
    return "cistern.ttl";
}
