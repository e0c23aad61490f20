package config

import "time"

// A Machine is what the process runs on; 0 is unknown, or no limit.
type Machine struct {
	OpenFiles uint64 // that the process may have
	Memory    int64  // bytes that it may take, GOMEMLIMIT
}

const (
	// reservedFiles are for everything that is not a client's connection: backends, Redis, logs.
	reservedFiles = 128
	// connectionMemory is what a connection takes at most before its request is served: headers of 32 KiB, as text and parsed, and two
	// buffers. Connections are not to take more than half of the memory.
	connectionMemory = 96 << 10
)

// connections reads how many clients there may be, and what each may hold.
func (r *reader) connections(c *Config, m Machine) {
	c.MaxConnections = r.integer("MAX_CONNECTIONS", 50000, 1, 1<<20)
	chosen := r.getenv("MAX_CONNECTIONS") != ""
	if fit := int(min(m.OpenFiles, 1<<30)) - reservedFiles; m.OpenFiles > 0 && c.MaxConnections > fit {
		if chosen {
			r.fault("MAX_CONNECTIONS", "%d connections need %d open files and the limit is %d: raise it (ulimit -n) or set at most %d",
				c.MaxConnections, c.MaxConnections+reservedFiles, m.OpenFiles, fit)
		}
		c.MaxConnections = max(fit, 1) // the default gives way to what there is
	}
	if fit := int(m.Memory / 2 / connectionMemory); m.Memory > 0 && c.MaxConnections > fit && !chosen {
		c.MaxConnections = max(fit, 100)
	}
	c.ConnectionTimeout = r.duration("CONNECTION_TIMEOUT", 30*time.Second, time.Second, time.Hour)
	c.HeaderTimeout = r.duration("HEADER_TIMEOUT", 10*time.Second, time.Second, time.Hour)
	c.BodyTimeout = r.duration("BODY_TIMEOUT", 30*time.Second, time.Second, time.Hour)
	c.MaxBody = int64(r.integer("MAX_REQUEST_BYTES", 1<<20, 1<<10, 64<<20))
}
