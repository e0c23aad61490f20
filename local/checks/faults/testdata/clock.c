/* Sets the clock of a process by the seconds that the file CLOCK_OFFSET begins with, a 64-bit integer that others change.
   (libfaketime does not work with Redis: its allocator asks for the time before the library is ready.) */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *offset;

__attribute__((constructor)) static void map(void) {
	const char *name = getenv("CLOCK_OFFSET");
	int fd = name ? open(name, O_RDONLY) : -1;
	if (fd < 0) return;
	void *at = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0);
	if (at != MAP_FAILED) offset = at;
}

int gettimeofday(struct timeval *tv, void *tz) {
	int r = syscall(SYS_gettimeofday, tv, tz);
	if (r == 0 && tv && offset) tv->tv_sec += *offset;
	return r;
}

int clock_gettime(clockid_t id, struct timespec *ts) {
	int r = syscall(SYS_clock_gettime, id, ts);
	if (r == 0 && id == CLOCK_REALTIME && offset) ts->tv_sec += *offset;
	return r;
}
