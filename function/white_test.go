package function

import (
	"context"
	"net"

	"example.com/erlmcp/function/internal/app/dataplane"
)

// listens is a function that serves on listeners that are open.
type listens interface {
	Serve(ctx context.Context, listeners ...net.Listener) error
}

// data is the data plane of a server.
func data(s *Server) *dataplane.Plane { return s.plane.(*dataplane.Plane) }
