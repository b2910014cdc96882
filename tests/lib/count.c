/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counting by interposition: a symbol in the program comes before the C
 * library's, for the libraries too. The real allocator is reached by the names
 * under which glibc exports it a second time; the real lock by dlsym().
 */
#include "tests/lib/count.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifdef SANITIZED

bool count_available(void)
{
    return false;
}

unsigned count_allocations(void)
{
    return 0;
}

unsigned count_mutex_locks(void)
{
    return 0;
}

#else

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

static unsigned allocations, locks; /* atomic */

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);

typedef int LockFn(pthread_mutex_t *mutex);

bool count_available(void)
{
    return true;
}

static void count(unsigned *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

unsigned count_allocations(void)
{
    return __atomic_load_n(&allocations, __ATOMIC_RELAXED);
}

unsigned count_mutex_locks(void)
{
    return __atomic_load_n(&locks, __ATOMIC_RELAXED);
}

void *malloc(size_t bytes)
{
    count(&allocations);
    return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes)
{
    count(&allocations);
    return __libc_calloc(n, bytes);
}

void *realloc(void *old, size_t bytes)
{
    count(&allocations);
    return __libc_realloc(old, bytes);
}

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    static LockFn *real; /* atomic; whoever comes first finds the same */
    LockFn *fn = __atomic_load_n(&real, __ATOMIC_RELAXED);

    if (!fn) {
        fn = (LockFn *)dlsym(RTLD_NEXT, "pthread_mutex_lock");
        __atomic_store_n(&real, fn, __ATOMIC_RELAXED);
    }
    count(&locks);
    return fn(mutex);
}

#endif
