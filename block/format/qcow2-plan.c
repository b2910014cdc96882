/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decides where the data of a burst of writes goes. Under s->lock.
 *
 * How it works, for writes A to D into four guest clusters of which the third
 * is allocated:
 *
 *     guest    |  A  B |     C  |     CCC|CCC  D  |
 *     1. sort by offset, cut by what the tables say
 *              |  A  B |     C  |in place|CCC  D  |
 *     2. count the clusters that it takes: three; find them
 *     3. runs, contiguous in the guest and on the host
 *              |---- run 1 -----|        |- run 2-|
 *
 * A and B share a cluster and so a run. Runs claim their clusters, and their
 * data is sent off. A write that touches what was claimed before has to wait
 * for that; one that overlaps an earlier one is left for the next round, as is
 * what came after it.
 */
#include "qcow2-write.h"

#include <errno.h>

#include "block/plug.h"

/* Writes are joined while a run is no longer than this. */
#define JOIN_BYTES (512 * 1024)

typedef struct Plan {
    BlockDriverState *bs;
    Qcow2State *s;
    Qcow2PieceList in_place;
    Qcow2PieceList placed;   /* REUSE and NEW, by guest offset */
    Qcow2RunList runs;
    Qcow2Run *run;           /* the last one, which may get longer */
    uint64_t needed;         /* clusters still to be allocated */
    Qcow2Row found;          /* clusters allocated and not given out yet */
} Plan;

static int64_t round_down(int64_t offset, int64_t unit)
{
    return offset & ~(unit - 1);
}

static int64_t round_up(int64_t offset, int64_t unit)
{
    return (offset + unit - 1) & ~(unit - 1);
}

/* --- 1. what the tables say --- */

/* Whether nothing but zeroes shows through at [offset, end). */
static bool backing_is_zero(BlockDriverState *bs, int64_t offset)
{
    return !bs->backing || offset >= bs->backing->total_bytes;
}

/* A place for what begins at @offset, within one cluster. */
typedef struct Spot {
    int64_t bytes;
    Qcow2Place place;
    int64_t host;
    int64_t unit;
    bool zero_source;
} Spot;

/* Of an image with subclusters: unallocated ones of a cluster with a host. */
static int coroutine_fn look_closer(Plan *plan, int64_t offset,
                                    const Qcow2Extent *extent, Spot *spot)
{
    const Qcow2State *s = plan->s;
    uint64_t entry;
    unsigned index;
    void *slice;
    int ret = qcow2_co_get_l2_slice(plan->bs, offset, &slice, &index);

    if (ret < 0) {
        return ret;
    }
    entry = qcow2_l2_entry(s, slice, index);
    qcow2_cache_put(s->l2_cache, &slice);
    if (entry & QCOW2_COMPRESSED) {
        spot->unit = s->cluster_size;
        return 0;
    }
    if (entry & QCOW2_COPIED) {
        spot->place = QCOW2_REUSE;
        spot->host = (entry & QCOW2_L2_OFFSET) +
                     qcow2_offset_in_cluster(s, offset);
    } else if (entry & QCOW2_L2_OFFSET) {
        /* moves: everything has to come along */
        spot->unit = s->cluster_size;
        spot->zero_source = false;
    }
    return 0;
}

static int coroutine_fn look(Plan *plan, int64_t offset, int64_t bytes,
                             Spot *spot)
{
    const Qcow2State *s = plan->s;
    Qcow2Extent extent;
    int64_t left = s->cluster_size - qcow2_offset_in_cluster(s, offset);
    int ret = qcow2_co_map(plan->bs, offset, MIN(bytes, left), &extent);

    if (ret < 0) {
        return ret;
    }
    spot->bytes = extent.bytes;
    spot->place = QCOW2_NEW;
    spot->host = extent.host;
    spot->unit = qcow2_has_subclusters(s) ? 1LL << s->subcluster_bits
                                          : s->cluster_size;
    spot->zero_source = extent.kind == QCOW2_ZERO_PLAIN ||
                        extent.kind == QCOW2_ZERO_ALLOC ||
                        (extent.kind == QCOW2_UNALLOCATED &&
                         backing_is_zero(plan->bs, round_down(offset,
                                                              spot->unit)));
    if (extent.in_place && extent.kind == QCOW2_NORMAL) {
        spot->place = QCOW2_IN_PLACE;
    } else if (extent.in_place && extent.kind == QCOW2_ZERO_ALLOC) {
        spot->place = QCOW2_REUSE;
    } else if (qcow2_has_subclusters(s)) {
        return look_closer(plan, offset, &extent, spot);
    }
    return 0;
}

static bool continues(const Qcow2Piece *piece, const Spot *spot)
{
    return piece && piece->place == spot->place &&
           piece->unit == spot->unit &&
           piece->zero_source == spot->zero_source &&
           (spot->place == QCOW2_NEW ||
            piece->host + piece->bytes == spot->host);
}

static void add_piece(Plan *plan, Qcow2Piece *piece)
{
    qcow2_piece_list_add(piece->place == QCOW2_IN_PLACE ? &plan->in_place
                                                        : &plan->placed,
                         piece);
}

static int coroutine_fn check_host(Plan *plan, const Spot *spot)
{
    if (spot->place == QCOW2_NEW || plan->s->data_file != plan->bs->file) {
        return 0;
    }
    return qcow2_co_check_overlap(plan->bs, 0, spot->host, spot->bytes);
}

/* Cuts @write to pieces. An error leaves what comes after it unplanned. */
static int coroutine_fn cut(Plan *plan, Qcow2Write *write)
{
    Qcow2Piece *piece = NULL;
    int64_t done = 0;

    while (done < write->bytes) {
        int64_t offset = write->offset + done;
        Spot spot = { 0 };
        int ret = qcow2_co_make_l2(plan->bs, offset);

        if (ret == 0) {
            ret = look(plan, offset, write->bytes - done, &spot);
        }
        if (ret == 0) {
            ret = check_host(plan, &spot);
        }
        if (ret < 0) {
            return ret;
        }
        if (!continues(piece, &spot)) {
            piece = qcow2_piece_new(write);
            piece->guest = offset;
            piece->host = spot.host;
            piece->place = spot.place;
            piece->unit = spot.unit;
            piece->zero_source = spot.zero_source;
            add_piece(plan, piece);
        }
        piece->bytes += spot.bytes;
        done += spot.bytes;
    }
    return 0;
}

static void coroutine_fn plan_write(Plan *plan, Qcow2Write *write)
{
    Qcow2WriteState *w = plan->s->write;
    int64_t unit = 1LL << plan->s->subcluster_bits;
    int64_t end = write->offset + write->bytes;
    Qcow2Claim *claim;

    claim = qcow2_claim_find(w, round_down(write->offset, unit),
                             round_up(end, unit));
    if (claim) {
        qcow2_claim_wait(claim, &write->waiter);
        return;
    }
    write->pieces = 1;
    write->epoch = qcow2_epoch_enter(plan->s);
    qcow2_write_planned(w, write, cut(plan, write));
}

/* --- 2. clusters --- */

/* The same cluster for two pieces is counted once. */
static void count_clusters(Plan *plan)
{
    unsigned bits = plan->s->cluster_bits;
    int64_t counted = -1; /* the last one */

    for (Qcow2Piece *piece = plan->placed.head; piece; piece = piece->next) {
        int64_t first = piece->guest >> bits;
        int64_t last = (piece->guest + piece->bytes - 1) >> bits;

        if (piece->place == QCOW2_NEW) {
            plan->needed += last - MAX(first, counted + 1) + 1;
            counted = last;
        }
    }
}

/* Up to @max clusters in a row. */
static int coroutine_fn take_clusters(Plan *plan, uint64_t max,
                                      Qcow2Row *taken)
{
    int ret;

    if (plan->found.clusters == 0) {
        ret = qcow2_co_take_row(plan->bs, MAX(plan->needed, 1),
                                &plan->found);
        if (ret < 0) {
            return ret;
        }
        plan->needed -= MIN(plan->needed, plan->found.clusters);
    }
    *taken = qcow2_row_take(&plan->found, max);
    return 0;
}

/* The host is where the guest is, and nobody counts. What reaches over the end
 * of the file is not fresh, not even its last cluster, where another piece
 * alone would be: so run_reaches_into() is asked first. */
static void place_in_data_file(Plan *plan, Qcow2Piece *piece)
{
    const BlockDriverState *file = plan->s->data_file;

    piece->host = piece->guest;
    piece->counted = true;
    piece->fresh = file->grows &&
                   qcow2_cluster_start(plan->s, piece->guest) >=
                       file->total_bytes;
}

/* What of @piece is behind @offset becomes a piece of its own, which is
 * returned; NULL: there is nothing. */
static Qcow2Piece *split(Qcow2Piece *piece, int64_t offset)
{
    int64_t bytes = offset - piece->guest;
    Qcow2Piece *rest;

    if (bytes >= piece->bytes) {
        return NULL;
    }
    rest = qcow2_piece_new(piece->write);
    rest->guest = offset;
    rest->bytes = piece->bytes - bytes;
    rest->place = piece->place;
    rest->unit = piece->unit;
    rest->zero_source = piece->zero_source;
    piece->bytes = bytes;
    return rest;
}

static bool run_reaches_into(const Plan *plan, const Qcow2Piece *piece)
{
    const Qcow2Run *run = plan->run;

    return run && run->place == QCOW2_NEW &&
           round_up(run->end, plan->s->cluster_size) > piece->guest;
}

/*
 * Finds a place for the first clusters of @piece, as many as there are in a
 * row; *rest is what is left of it.
 */
static int coroutine_fn place_piece(Plan *plan, Qcow2Piece *piece,
                                    Qcow2Piece **rest)
{
    const Qcow2State *s = plan->s;
    int64_t start = qcow2_cluster_start(s, piece->guest);
    int64_t end = piece->guest + piece->bytes;
    Qcow2Row taken;
    int ret;

    *rest = NULL;
    if (piece->place == QCOW2_REUSE) {
        piece->counted = true; /* the tables have it */
        return 0;
    }
    if (run_reaches_into(plan, piece)) {
        /* the cluster is there; what follows gets others */
        piece->host = plan->run->host + (piece->guest - plan->run->guest);
        piece->fresh = plan->run->fresh;
        piece->counted = plan->run->counted;
        *rest = split(piece, start + s->cluster_size);
        return 0;
    }
    if (qcow2_has_data_file(s)) {
        place_in_data_file(plan, piece);
        return 0;
    }
    ret = take_clusters(plan, qcow2_size_to_clusters(s, end - start), &taken);
    if (ret < 0) {
        return ret;
    }
    piece->host = (taken.first << s->cluster_bits) + (piece->guest - start);
    piece->fresh = taken.fresh;
    piece->counted = taken.counted;
    *rest = split(piece, start + (taken.clusters << s->cluster_bits));
    return 0;
}

/* --- 3. runs --- */

/* Whether the run goes on where @piece is. */
static bool joins(const Plan *plan, const Qcow2Piece *piece)
{
    const Qcow2Run *run = plan->run;
    int64_t start = round_down(piece->guest, piece->unit);

    if (!run || run->place != piece->place || run->fresh != piece->fresh ||
        run->counted != piece->counted ||
        run->host + (piece->guest - run->guest) != piece->host) {
        return false;
    }
    if (piece->place == QCOW2_NEW && run_reaches_into(plan, piece)) {
        return true;
    }
    if (start < run->end) {
        return true; /* the same unit */
    }
    /* without copying what lies between them */
    return start == run->end && run->end - run->guest < JOIN_BYTES &&
           (run->data_end == piece->guest || !qcow2_has_subclusters(plan->s));
}

static void begin_run(Plan *plan, const Qcow2Piece *piece)
{
    Qcow2Run *run = g_slice_new0(Qcow2Run);

    run->bs = plan->bs;
    run->guest = round_down(piece->guest, piece->unit);
    run->host = piece->host - (piece->guest - run->guest);
    run->place = piece->place;
    run->fresh = piece->fresh;
    run->counted = piece->counted;
    run->zero_source = true;
    qcow2_piece_list_init(&run->pieces);
    qcow2_run_list_add(&plan->runs, run);
    plan->run = run;
}

static void add_to_run(Plan *plan, Qcow2Piece *piece)
{
    int64_t end = piece->guest + piece->bytes;
    Qcow2Run *run;

    if (!joins(plan, piece)) {
        begin_run(plan, piece);
    }
    run = plan->run;
    if (run->pieces.head && run->data_end < piece->guest &&
        qcow2_has_subclusters(plan->s) && plan->bs->backing) {
        run->zero_source = false; /* subclusters in between may be others */
    }
    piece->run = run;
    run->zero_source &= piece->zero_source;
    run->end = MAX(run->end, round_up(end, piece->unit));
    run->data_end = end;
    run->filled += piece->bytes;
    qcow2_piece_list_add(&run->pieces, piece);
}

static void coroutine_fn place_pieces(Plan *plan)
{
    Qcow2Piece *piece = plan->placed.head;

    while (piece) {
        Qcow2Piece *next = piece->next, *rest;
        int ret = place_piece(plan, piece, &rest);

        if (ret < 0) {
            qcow2_piece_done(plan->s->write, piece, ret);
        } else {
            add_to_run(plan, piece);
        }
        if (rest) {
            rest->next = next;
            next = rest;
        }
        piece = next;
    }
    /* for pieces that could not be placed */
    if (plan->found.clusters > 0) {
        qcow2_co_free_clusters(plan->bs,
                               plan->found.first << plan->s->cluster_bits,
                               plan->found.clusters << plan->s->cluster_bits,
                               QCOW2_DISCARD_NEVER);
    }
}

/* A new cluster is nobody else's, even if only some subclusters of it are. */
static void claim(Plan *plan, Qcow2Run *run)
{
    int64_t size = run->place == QCOW2_NEW
                       ? plan->s->cluster_size
                       : 1LL << plan->s->subcluster_bits;

    qcow2_claim_add(plan->s->write, &run->claim, round_down(run->guest, size),
                    round_up(run->end, size));
}

static void start(Plan *plan)
{
    AioContext *ctx = aio_context_current();
    Qcow2Run *run;

    blk_io_plug(ctx);
    qcow2_pieces_submit(plan->bs, plan->in_place.head);
    while ((run = qcow2_run_list_take(&plan->runs))) {
        claim(plan, run);
        qcow2_run_submit(run);
    }
    blk_io_unplug(ctx);
}

/* --- the burst --- */

static int compare_writes(gconstpointer a, gconstpointer b)
{
    const Qcow2Write *left = *(Qcow2Write *const *)a;
    const Qcow2Write *right = *(Qcow2Write *const *)b;

    return (left->offset > right->offset) - (left->offset < right->offset);
}

static bool overlap(const Qcow2Write *a, const Qcow2Write *b)
{
    return a->offset < b->offset + b->bytes &&
           b->offset < a->offset + a->bytes;
}

/* The burst is sorted. */
static bool burst_overlaps(const GPtrArray *burst)
{
    for (unsigned i = 1; i < burst->len; i++) {
        if (overlap(burst->pdata[i - 1], burst->pdata[i])) {
            return true;
        }
    }
    return false;
}

static bool overlaps_earlier(const Qcow2Write *head, const Qcow2Write *write)
{
    for (const Qcow2Write *other = head; other != write;
         other = other->next) {
        if (overlap(other, write)) {
            return true;
        }
    }
    return false;
}

/* All up to the first one that overlaps another one. It does not overtake
 * that, nor does what comes after it. */
static void take_until_overlap(Qcow2WriteState *w)
{
    Qcow2Write **link = &w->pending.head;

    g_ptr_array_set_size(w->burst, 0);
    while (*link && !overlaps_earlier(w->pending.head, *link)) {
        g_ptr_array_add(w->burst, *link);
        link = &(*link)->next;
    }
    w->pending.head = *link;
    g_ptr_array_sort(w->burst, compare_writes);
}

static void take_pending(Qcow2WriteState *w)
{
    g_ptr_array_set_size(w->burst, 0);
    for (Qcow2Write *write = w->pending.head; write; write = write->next) {
        g_ptr_array_add(w->burst, write);
    }
    g_ptr_array_sort(w->burst, compare_writes);
    if (G_UNLIKELY(burst_overlaps(w->burst))) {
        take_until_overlap(w);
    } else {
        qcow2_write_list_init(&w->pending);
    }
}

void coroutine_fn qcow2_co_plan_writes(BlockDriverState *bs)
{
    Qcow2State *s = bs->opaque;
    Qcow2WriteState *w = s->write;

    while (w->pending.head) {
        Plan plan = { .bs = bs, .s = s };

        qcow2_piece_list_init(&plan.in_place);
        qcow2_piece_list_init(&plan.placed);
        qcow2_run_list_init(&plan.runs);
        take_pending(w);
        for (unsigned i = 0; i < w->burst->len; i++) {
            plan_write(&plan, w->burst->pdata[i]);
        }
        count_clusters(&plan);
        place_pieces(&plan);
        start(&plan);
    }
}
