/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Brings the data of pieces to the data file, with what has to be copied
 * around them.
 *
 * How it works: what covers its clusters, or gets to fresh clusters of a part
 * of the disk that is empty, is sent as it is: a piece that is a whole write
 * is that request with another offset; neighbours are joined in a child
 * request. Anything else takes a coroutine that fills the gaps and writes
 * once:
 *
 *     run     |----------------------------|
 *     pieces       |=====|    |=====|=|
 *     gaps    |....|     |....|       |....|   read as the guest would
 */
#include "qcow2-write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/debug.h"
#include "block/iov.h"

/* Memory that all coroutines together copy through; one gets it always. */
#define COW_BYTES (16 * 1024 * 1024)
#define ZERO_BYTES (64 * 1024)

/* Written by nobody; one piece of memory stands for all zeroes. */
static char zeroes[ZERO_BYTES] __attribute__((aligned(4096)));

/* --- completion --- */

static void run_part_done(Qcow2Run *run, int ret)
{
    Qcow2State *s = run->bs->opaque;

    if (ret < 0 && run->ret == 0) {
        run->ret = ret;
    }
    if (--run->in_flight == 0) {
        qcow2_run_list_add(&s->write->done, run);
        qcow2_write_kick(s->write);
    }
}

static void in_place_done(Qcow2WriteState *w, Qcow2Piece *piece, int ret)
{
    qcow2_piece_done(w, piece, ret);
    qcow2_complete_finished(w);
}

/* --- a request that is a piece --- */

static void piece_cb(BlockRequest *req, void *opaque, int ret)
{
    Qcow2Piece *piece = opaque;
    Qcow2State *s = piece->write->bs->opaque;

    if (piece->run) {
        run_part_done(piece->run, ret);
    } else {
        in_place_done(s->write, piece, ret);
    }
}

static void send_request(BlockDriverState *bs, Qcow2Piece *piece)
{
    Qcow2State *s = bs->opaque;
    BlockRequest *req = piece->write->req;

    req->offset = piece->host;
    block_request_push(req, piece_cb, piece);
    bdrv_debug_event(bs->file, BLKDBG_WRITE_AIO);
    bdrv_submit(s->data_file, req);
}

/* --- a child request for a part of one, or for several --- */

/* Pieces that follow each other, to be sent as one. */
typedef struct Group {
    Qcow2Piece *first;
    unsigned count;
    int64_t bytes;
    unsigned niov; /* at most */
} Group;

typedef struct Transfer {
    BlockRequest child;
    BlockDriverState *bs;
    Qcow2Run *run;     /* or NULL: piece is in place */
    Qcow2Piece *piece;
    struct iovec iov[];
} Transfer;

static void transfer_cb(BlockRequest *req, void *opaque, int ret)
{
    Transfer *transfer = opaque;
    Qcow2State *s = transfer->bs->opaque;
    Qcow2Piece *piece = transfer->piece;
    Qcow2Run *run = transfer->run;

    g_free(transfer);
    if (run) {
        run_part_done(run, ret);
    } else {
        in_place_done(s->write, piece, ret);
    }
}

static unsigned piece_iov(const Qcow2Piece *piece, struct iovec *iov)
{
    const Qcow2Write *write = piece->write;

    return iov_slice(iov, write->req->iov, write->req->niov,
                     piece->guest - write->offset, piece->bytes);
}

/* Room for @niov elements; the caller fills in what is written. */
static Transfer *transfer_new(BlockDriverState *bs, Qcow2Piece *piece,
                              unsigned niov)
{
    const BlockRequest *parent = piece->write->req;
    Transfer *transfer = g_malloc0(sizeof(*transfer) +
                                   niov * sizeof(transfer->iov[0]));
    BlockRequest *child = &transfer->child;

    transfer->bs = bs;
    transfer->run = piece->run;
    transfer->piece = piece;
    block_request_init(child);
    child->op = BLOCK_WRITE;
    child->iov = transfer->iov;
    child->channel = parent->channel;
    child->ctx = parent->ctx;
    child->start_ns = parent->start_ns;
    child->engine.stats = parent->engine.stats;
    block_request_push(child, transfer_cb, transfer);
    return transfer;
}

static void send_child(BlockDriverState *bs, const Group *group)
{
    Qcow2State *s = bs->opaque;
    Transfer *transfer = transfer_new(bs, group->first, group->niov);
    BlockRequest *child = &transfer->child;
    Qcow2Piece *piece = group->first;

    child->offset = piece->host;
    child->bytes = group->bytes;
    child->niov = 0;
    for (unsigned i = 0; i < group->count; i++) {
        child->niov += piece_iov(piece, &transfer->iov[child->niov]);
        if (piece->write->req->channel != child->channel) {
            child->channel = NULL;
        }
        piece = piece->next;
    }
    bdrv_debug_event(bs->file, BLKDBG_WRITE_AIO);
    bdrv_submit(s->data_file, child);
}

static void send_group(BlockDriverState *bs, const Group *group)
{
    if (group->count == 1 &&
        group->first->bytes == group->first->write->bytes) {
        send_request(bs, group->first);
    } else {
        send_child(bs, group);
    }
}

static void begin_group(Group *group, Qcow2Piece *piece)
{
    group->first = piece;
    group->count = 1;
    group->bytes = piece->bytes;
    group->niov = piece->write->req->niov;
}

void qcow2_pieces_submit(BlockDriverState *bs, Qcow2Piece *pieces)
{
    Qcow2Piece *next;

    for (Qcow2Piece *piece = pieces; piece; piece = next) {
        Group group;

        next = piece->next;
        begin_group(&group, piece);
        send_group(bs, &group);
    }
}

/* --- a run without copies --- */

static void send_pieces(Qcow2Run *run)
{
    Qcow2State *s = run->bs->opaque;
    unsigned max_iov = s->data_file->limits.max_iov;
    Qcow2Piece *piece = run->pieces.head;

    run->in_flight++; /* until all are sent */
    while (piece) {
        Group group;
        Qcow2Piece *last = piece;

        begin_group(&group, piece);
        for (piece = piece->next;
             piece && piece->guest == last->guest + last->bytes &&
             group.niov + piece->write->req->niov <= max_iov;
             piece = piece->next) {
            group.count++;
            group.bytes += piece->bytes;
            group.niov += piece->write->req->niov;
            last = piece;
        }
        run->in_flight++;
        send_group(run->bs, &group);
    }
    run_part_done(run, 0);
}

/* --- a run with copies --- */

/* What is written: pieces and what lies between them. */
typedef struct Vector {
    GArray *iov;
    char *copied; /* contents of the next gap; NULL: all are zeroes */
} Vector;

static void add_memory(Vector *vector, char *buf, int64_t bytes)
{
    struct iovec element = { .iov_base = buf, .iov_len = bytes };

    g_array_append_val(vector->iov, element);
}

static void add_gap(Vector *vector, int64_t bytes)
{
    if (vector->copied && bytes > 0) {
        add_memory(vector, vector->copied, bytes);
        vector->copied += bytes;
        return;
    }
    for (; bytes > 0; bytes -= MIN(bytes, ZERO_BYTES)) {
        add_memory(vector, zeroes, MIN(bytes, ZERO_BYTES));
    }
}

static void add_piece(Vector *vector, const Qcow2Piece *piece)
{
    unsigned at = vector->iov->len, niov;

    g_array_set_size(vector->iov, at + piece->write->req->niov);
    niov = piece_iov(piece, &g_array_index(vector->iov, struct iovec, at));
    g_array_set_size(vector->iov, at + niov);
}

/* @copied has what belongs into the gaps, one after the other. */
static GArray *whole_run(const Qcow2Run *run, char *copied)
{
    Vector vector = {
        .iov = g_array_new(false, false, sizeof(struct iovec)),
        .copied = copied,
    };
    int64_t at = run->guest;

    for (const Qcow2Piece *piece = run->pieces.head; piece;
         piece = piece->next) {
        add_gap(&vector, piece->guest - at);
        add_piece(&vector, piece);
        at = piece->guest + piece->bytes;
    }
    add_gap(&vector, run->end - at);
    return vector.iov;
}

/* With zeroes in the gaps. */
static void send_whole(Qcow2Run *run)
{
    Qcow2State *s = run->bs->opaque;
    g_autoptr(GArray) iov = whole_run(run, NULL);
    Transfer *transfer = transfer_new(run->bs, run->pieces.head, iov->len);
    BlockRequest *child = &transfer->child;

    memcpy(transfer->iov, iov->data, iov->len * sizeof(struct iovec));
    child->offset = run->host;
    child->bytes = run->end - run->guest;
    child->niov = iov->len;
    run->in_flight++;
    bdrv_debug_event(run->bs->file, BLKDBG_COW_WRITE);
    bdrv_debug_event(run->bs->file, BLKDBG_WRITE_AIO);
    bdrv_submit(s->data_file, child);
}

/* What is behind the end of the disk counts as zeroes, up to where the state
 * of a machine begins. */
static int coroutine_fn read_gap(BlockDriverState *bs, int64_t start,
                                 int64_t end, char *buf)
{
    bool on_disk = start < qcow2_vm_state_offset(bs);
    int64_t there = (on_disk ? MIN(end, bs->total_bytes) : end) - start;
    struct iovec iov = { .iov_base = buf, .iov_len = MAX(there, 0) };
    int ret = 0;

    if (there > 0) {
        bdrv_co_debug_event(bs->file, BLKDBG_COW_READ);
        ret = qcow2_co_pread(bs, start, there, &iov, 1);
    }
    memset(buf + iov.iov_len, 0, end - start - iov.iov_len);
    return ret;
}

static int coroutine_fn read_gaps(Qcow2Run *run, char *buf)
{
    int64_t at = run->guest;
    int ret = 0;

    for (const Qcow2Piece *piece = run->pieces.head; piece && ret == 0;
         piece = piece->next) {
        ret = read_gap(run->bs, at, piece->guest, buf);
        buf += piece->guest - at;
        at = piece->guest + piece->bytes;
    }
    return ret < 0 ? ret : read_gap(run->bs, at, run->end, buf);
}

static int64_t gap_bytes(const Qcow2Run *run)
{
    return run->end - run->guest - run->filled;
}

static int coroutine_fn write_whole(Qcow2Run *run, char *copied)
{
    Qcow2State *s = run->bs->opaque;
    g_autoptr(GArray) iov = whole_run(run, copied);
    BlockIo io = {
        .op = BLOCK_WRITE,
        .offset = run->host,
        .bytes = run->end - run->guest,
        .iov = (struct iovec *)iov->data,
        .niov = iov->len,
    };

    bdrv_co_debug_event(run->bs->file, BLKDBG_COW_WRITE);
    bdrv_co_debug_event(run->bs->file, BLKDBG_WRITE_AIO);
    return bdrv_co_io(s->data_file, &io);
}

static int coroutine_fn copy_and_write(Qcow2Run *run)
{
    Qcow2State *s = run->bs->opaque;
    size_t alignment = MAX(s->data_file->limits.memory_alignment, 4096u);
    char *buf = NULL;
    int ret;

    if (posix_memalign((void **)&buf, alignment, gap_bytes(run))) {
        return -ENOMEM;
    }
    ret = read_gaps(run, buf);
    if (ret == 0) {
        ret = write_whole(run, buf);
    }
    free(buf);
    return ret;
}

static void start_queued(Qcow2WriteState *w);

static void coroutine_fn cow_entry(void *opaque)
{
    Qcow2Run *run = opaque;
    Qcow2State *s = run->bs->opaque;
    Qcow2WriteState *w = s->write;
    int64_t bytes = gap_bytes(run);
    int ret = copy_and_write(run);

    w->cow_bytes -= bytes;
    run_part_done(run, ret);
    start_queued(w);
}

static bool may_copy(const Qcow2WriteState *w, const Qcow2Run *run)
{
    return w->cow_bytes == 0 || w->cow_bytes + gap_bytes(run) <= COW_BYTES;
}

/* Where there is no memory for it, it has ended when this returns. */
static void start_copy(Qcow2WriteState *w, Qcow2Run *run)
{
    w->cow_bytes += gap_bytes(run);
    run->in_flight++;
    coroutine_enter(coroutine_new(cow_entry, run));
}

/* One that ends at once comes back here: the others are the loop's then. */
static void start_queued(Qcow2WriteState *w)
{
    if (w->cow_starting) {
        return;
    }
    w->cow_starting = true;
    while (w->cow_queue.head && may_copy(w, w->cow_queue.head)) {
        start_copy(w, qcow2_run_list_take(&w->cow_queue));
    }
    w->cow_starting = false;
}

/* --- all of them --- */

void qcow2_run_submit(Qcow2Run *run)
{
    Qcow2State *s = run->bs->opaque;
    Qcow2WriteState *w = s->write;

    if (gap_bytes(run) == 0 || (run->zero_source && run->fresh)) {
        send_pieces(run);
    } else if (run->zero_source) {
        send_whole(run);
    } else {
        qcow2_run_list_add(&w->cow_queue, run);
        start_queued(w);
    }
}
