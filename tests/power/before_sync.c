// Ends the process right before its k-th sync (LD_PRELOAD; k is DIE_BEFORE_SYNC): what was written is
// in the system's memory and may or may not be on the disk.

#define _GNU_SOURCE
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_long calls;

static void count(void) {
    const char *last = getenv("DIE_BEFORE_SYNC");
    if (last && atomic_fetch_add(&calls, 1) + 1 == atol(last)) {
        kill(getpid(), SIGKILL);
        pause();
    }
}

int fsync(int file) {
    count();
    return (int)syscall(SYS_fsync, file);
}

int fdatasync(int file) {
    count();
    return (int)syscall(SYS_fdatasync, file);
}
