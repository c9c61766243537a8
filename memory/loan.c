/* loan.c -- see loan_private.h. */
#include "loan_private.h"

#include "cistern/clock.h"
#include "elastic_private.h"
#include "reserve_private.h"

#include <assert.h>

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

uint64_t loan_spare(const struct cistern_slot *slot)
{
    uint64_t limit = load(&slot->quota.limit);
    uint64_t used = load(&slot->quota.used);
    /* of what it was granted: a limit that shrinks by lending must not shrink what is kept */
    uint64_t keep = (limit + load(&slot->lent)) / LOAN_KEEP_PART;
    keep = keep < LOAN_KEEP_MIN ? LOAN_KEEP_MIN : keep;
    return limit > used + keep ? limit - used - keep : 0;
}

/* Caller holds pool.lock. The slot with the most to spare; NULL when nobody has a piece. */
static struct cistern_slot *find_lender(
    struct cistern_pool *pool, const struct cistern_slot *for_slot)
{
    struct cistern_slot *found = NULL;
    uint64_t most = LOAN_PIECE_MIN - 1;
    int64_t now = cistern_now_ns();
    for (uint32_t i = 1; i <= pool->slot_count_max; i++) {
        struct cistern_slot *slot = &pool->slots[i];
        int64_t recalled_ns = atomic_load(&slot->recalled_ns);
        if (slot->is_open && !slot->is_closing && slot != for_slot &&
            load(&slot->quota.loan) == 0 &&
            (recalled_ns == 0 || now - recalled_ns >= LOAN_REST_NS) && loan_spare(slot) > most) {
            found = slot;
            most = loan_spare(slot);
        }
    }
    return found;
}

/* Caller holds pool.lock. Moves `bytes` from a lender's limit to a borrower's loan, or nothing. */
static int lend(struct cistern_slot *lender, struct cistern_slot *borrower, uint64_t bytes)
{
    if (quota_lower(&lender->quota, &lender->quota.limit, bytes) > 0) {
        quota_raise(&lender->quota.limit, bytes);
        return 0;
    }
    quota_raise(&lender->lent, bytes);
    quota_raise(&borrower->quota.loan, bytes);
    return 1;
}

/* Caller holds pool.lock. While a recall has the slot in hand, what it lends may be in no count. */
static int may_borrow(const struct cistern_slot *slot)
{
    return !slot->pool->is_resizing && slot->is_open && !slot->is_closing &&
           load(&slot->lent) == 0 && slot->recall_count == 0;
}

uint64_t loan_borrow(struct cistern_slot *slot, uint64_t bytes)
{
    struct cistern_pool *pool = slot->pool;
    uint64_t borrowed = 0;
    if (slot->index == 0) {
        return 0;
    }
    pthread_mutex_lock(&pool->lock);
    while (borrowed < bytes && may_borrow(slot)) {
        struct cistern_slot *lender = find_lender(pool, slot);
        if (lender == NULL) {
            break;
        }
        uint64_t piece = bytes - borrowed < LOAN_PIECE_MIN ? LOAN_PIECE_MIN : bytes - borrowed;
        piece = least(piece, loan_spare(lender));
        if (piece < LOAN_PIECE_MIN || !lend(lender, slot, piece)) {
            break; /* its owner charged in between: it is not idle */
        }
        borrowed += piece;
    }
    pthread_mutex_unlock(&pool->lock);
    return borrowed;
}

/* Caller holds pool.lock. Bytes that were a loan, to whoever has lent; what closed slots lent is
 * granted to nobody any more. */
static void hand_back(struct cistern_pool *pool, uint64_t bytes)
{
    for (uint32_t i = 1; bytes > 0 && i <= pool->slot_count_max; i++) {
        struct cistern_slot *lender = &pool->slots[i];
        uint64_t piece = least(bytes, load(&lender->lent));
        atomic_fetch_sub(&lender->lent, piece);
        quota_raise(&lender->quota.limit, piece);
        bytes -= piece;
    }
    assert(bytes <= load(&pool->orphaned));
    atomic_fetch_sub(&pool->orphaned, bytes);
}

uint64_t loan_return(struct cistern_slot *slot, uint64_t bytes)
{
    struct cistern_pool *pool = slot->pool;
    pthread_mutex_lock(&pool->lock);
    uint64_t piece = least(bytes, load(&slot->quota.loan));
    if (piece > 0) {
        uint64_t over = quota_lower(&slot->quota, &slot->quota.loan, piece);
        over = least(over, piece);
        quota_raise(&slot->quota.loan, over);
        piece -= over;
        hand_back(pool, piece);
    }
    pthread_mutex_unlock(&pool->lock);
    return piece;
}

/* Caller holds pool.lock. */
static struct cistern_slot *find_borrower(struct cistern_pool *pool, uint32_t first)
{
    for (uint32_t i = first; i <= pool->slot_count_max; i++) {
        if (load(&pool->slots[i].quota.loan) > 0) {
            return &pool->slots[i];
        }
    }
    return NULL;
}

/* Bytes above what the borrower may hold. */
static uint64_t bytes_over(const struct cistern_slot *borrower)
{
    uint64_t used = quota_load(&borrower->quota.used);
    uint64_t bound = quota_bound(&borrower->quota, 1);
    return used > bound ? used - bound : 0;
}

/* What has been lent by `lender`, or by slots that are closed when it is NULL. */
static _Atomic uint64_t *lent_of(struct cistern_pool *pool, struct cistern_slot *lender)
{
    return lender != NULL ? &lender->lent : &pool->orphaned;
}

/* What of it is in a recall now: in neither limit nor loan. */
static _Atomic uint64_t *in_hand_of(struct cistern_pool *pool, struct cistern_slot *lender)
{
    return lender != NULL ? &lender->lent_in_hand : &pool->orphaned_in_hand;
}

/* Caller holds pool.lock. A slot in a recall is not closed before the recall is through with it. */
static void recall_mark(struct cistern_slot *lender, struct cistern_slot *borrower, int is_begin)
{
    uint32_t change = is_begin ? 1 : UINT32_MAX;
    borrower->recall_count += change;
    if (lender != NULL) {
        lender->recall_count += change;
    }
}

/* A piece of the borrower's loan, evicted as far as needed, to the lender. The borrower is marked;
 * this ends the mark. */
static uint64_t recall_piece(
    struct cistern_slot *lender, struct cistern_slot *borrower, uint64_t bytes, int64_t deadline_ns)
{
    struct cistern_pool *pool = borrower->pool;
    _Atomic uint64_t *lent = lent_of(pool, lender);
    _Atomic uint64_t *in_hand = in_hand_of(pool, lender);
    pthread_mutex_lock(&pool->lock);
    uint64_t piece = least(bytes, least(load(&borrower->quota.loan), load(lent)));
    uint64_t over = piece > 0 ? quota_lower(&borrower->quota, &borrower->quota.loan, piece) : 0;
    atomic_fetch_add(in_hand, piece); /* nobody is granted it meanwhile, */
    atomic_fetch_sub(lent, piece);    /* and nobody else recalls it */
    pthread_mutex_unlock(&pool->lock);
    if (over > 0) {
        (void)reserve_evict(borrower, over, deadline_ns);
        elastic_slot_evict(borrower, 0);
    }
    pthread_mutex_lock(&pool->lock);
    over = piece > 0 ? least(bytes_over(borrower), piece) : 0;
    quota_raise(&borrower->quota.loan, over); /* not evictable now: stays lent */
    atomic_fetch_add(lent, over);
    if (lender != NULL) {
        quota_raise(&lender->quota.limit, piece - over);
    }
    atomic_fetch_sub(in_hand, piece);
    recall_mark(lender, borrower, 0);
    pthread_mutex_unlock(&pool->lock);
    return piece - over;
}

static uint64_t recall(
    struct cistern_pool *pool, struct cistern_slot *lender, uint64_t bytes, int64_t deadline_ns)
{
    uint64_t recalled = 0;
    bytes = least(bytes, load(lent_of(pool, lender)));
    for (uint32_t first = 1; recalled < bytes;) {
        pthread_mutex_lock(&pool->lock);
        struct cistern_slot *borrower = find_borrower(pool, first);
        if (borrower != NULL) {
            recall_mark(lender, borrower, 1);
        }
        pthread_mutex_unlock(&pool->lock);
        if (borrower == NULL) {
            break;
        }
        uint64_t wanted = least(bytes - recalled, LOAN_RECALL_PIECE);
        uint64_t piece = recall_piece(lender, borrower, wanted, deadline_ns);
        recalled += piece;
        if (piece < wanted) {
            first = borrower->index + 1; /* this one has no more to give */
        }
        if (deadline_ns != 0 && cistern_now_ns() >= deadline_ns) {
            break;
        }
    }
    return recalled;
}

uint64_t loan_recall(struct cistern_slot *slot, uint64_t bytes, int64_t deadline_ns)
{
    atomic_store(&slot->recalled_ns, cistern_now_ns());
    return recall(slot->pool, slot, bytes, deadline_ns);
}

uint64_t loan_recall_orphaned(struct cistern_pool *pool, uint64_t bytes, int64_t deadline_ns)
{
    return recall(pool, NULL, bytes, deadline_ns);
}
