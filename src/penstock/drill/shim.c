/* Loaded into the processes of a drilled installation (LD_PRELOAD): moves their wall clock, and ends one of them at a
 * point that is told. Both are said in a file that is mapped by all of them; nothing happens while it is full of zeros.
 * Only CLOCK_REALTIME moves: what a process measures stays right, and what it believes the time to be does not. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct orders {
    long shift;     /* seconds that the wall clock is ahead */
    long point;     /* 0: none, 1: before a sync, 2: after one, 3: before a rename, 4: after one */
    long countdown; /* so many times that point is passed before it ends the process */
    long victim;    /* the pid of the process that was ended, once there is one */
};

static struct orders nothing;
static struct orders *orders = &nothing;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("PENSTOCK_DRILL_ORDERS");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *found = mmap(NULL, sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (found != MAP_FAILED)
        orders = found;
    close(file);
}

static void pass(long point) {
    if (orders->point != point || __atomic_sub_fetch(&orders->countdown, 1, __ATOMIC_SEQ_CST) != 0)
        return;
    orders->point = 0;
    orders->victim = getpid();
    kill(getpid(), SIGKILL);
}

#define NEXT(name) __typeof__(&name) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

int clock_gettime(clockid_t clock, struct timespec *at) {
    static __typeof__(&clock_gettime) real;
    if (!real)
        real = (__typeof__(&clock_gettime))dlsym(RTLD_NEXT, "clock_gettime");
    int answer = real(clock, at);
    if (!answer && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        at->tv_sec += orders->shift;
    return answer;
}

time_t time(time_t *into) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (into)
        *into = at.tv_sec;
    return at.tv_sec;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

int fdatasync(int file) {
    NEXT(fdatasync);
    pass(1);
    int answer = next(file);
    pass(2);
    return answer;
}

int fsync(int file) {
    NEXT(fsync);
    pass(1);
    int answer = next(file);
    pass(2);
    return answer;
}

int rename(const char *from, const char *to) {
    NEXT(rename);
    pass(3);
    int answer = next(from, to);
    pass(4);
    return answer;
}
