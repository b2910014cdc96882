/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What aio=auto knows of one file in one context. Private to block/engine.
 * All functions: Context: home.
 */
#ifndef BLOCK_ENGINE_AUTO_FILE_H
#define BLOCK_ENGINE_AUTO_FILE_H

#include "engine-internal.h"

typedef enum AutoClass {
    AUTO_READ,
    AUTO_WRITE, /* and flushes */
    AUTO_CLASS__COUNT
} AutoClass;

struct AutoFile {
    Engine *way[AUTO_CLASS__COUNT]; /* borrowed */
};

/* auto.c: what the context has of engines that submit and go on; its thread
 * pool if it has none. */
Engine *auto_asynchronous(AioContext *ctx);

static inline Engine *auto_file_way(AutoFile *file, const EngineRequest *req)
{
    return file->way[req->op == ENGINE_READ ? AUTO_READ : AUTO_WRITE];
}

#endif
