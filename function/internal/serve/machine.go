package serve

import (
	"math"
	"os"
	"runtime/debug"
	rtmetrics "runtime/metrics"
	"strconv"
	"strings"
	"syscall"

	"example.com/erlmcp/function/internal/config"
)

// ThisMachine is what the process may use.
func ThisMachine() config.Machine {
	m := config.Machine{OpenFiles: MaxOpenFiles()}
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		m.Memory = limit
	}
	return m
}

// MaxOpenFiles is how many files the process may have open; Go has raised it to the hard limit. 0 is unknown.
func MaxOpenFiles() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return l.Cur
}

// LimitMemory gives the garbage collector nine tenths of what the container may use, unless GOMEMLIMIT says otherwise, so
// that the load shedder has a limit to go by and the platform none to kill for.
func LimitMemory(getenv func(string) string) {
	if getenv("GOMEMLIMIT") != "" {
		return
	}
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// Without a limit it says "max", or a number beyond any memory.
		if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 && n < 1<<50 {
			debug.SetMemoryLimit(n / 10 * 9)
		}
		return
	}
}

// OpenFiles is how many files the process has open.
func OpenFiles() (int, bool) {
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, false
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	return len(names) - 1, err == nil // this one is left out
}

// MemoryUsed is what counts for GOMEMLIMIT.
func MemoryUsed() uint64 {
	samples := []rtmetrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	rtmetrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}
