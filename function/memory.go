package function

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"example.com/erlmcp/function/internal/config"
)

// thisMachine is what the process may use.
func thisMachine() config.Machine {
	m := config.Machine{OpenFiles: openFiles()}
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		m.Memory = limit
	}
	return m
}

// openFiles is how many files the process may have open; Go has raised it to the hard limit. 0 is unknown.
func openFiles() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return l.Cur
}

// limitMemory gives the garbage collector nine tenths of what the container may use, unless GOMEMLIMIT says otherwise, so
// that the guard has a limit to go by and the platform none to kill for.
func limitMemory(getenv func(string) string) {
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
