/*
 * Count, delay or interrupt disk syncs: LD_PRELOAD=sync_shim.so program
 *
 * SYNC_COUNT=path    append the number of syncs to this file when the process exits
 * SYNC_DELAY_MS=5    sleep before each sync, as if the disk were slow
 * SYNC_KILL_AT=7     kill the process before its seventh sync
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static atomic_long count;

static long number_from(const char *name)
{
    const char *value = getenv(name);
    return value ? atol(value) : 0;
}

static void before_sync(void)
{
    long number = atomic_fetch_add(&count, 1) + 1;
    long delay = number_from("SYNC_DELAY_MS");
    if (delay > 0) {
        struct timespec time = {delay / 1000, delay % 1000 * 1000000L};
        nanosleep(&time, NULL);
    }
    if (number == number_from("SYNC_KILL_AT"))
        kill(getpid(), SIGKILL);
}

int fsync(int file)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    before_sync();
    return real(file);
}

int fdatasync(int file)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    before_sync();
    return real(file);
}

__attribute__((destructor)) static void report(void)
{
    const char *path = getenv("SYNC_COUNT");
    int file = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0644) : -1;
    if (file >= 0) {
        dprintf(file, "%ld\n", (long)count);
        close(file);
    }
}
