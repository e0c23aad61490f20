// Package app assembles the rooms into what runs: here is what both functions are made of, settings, stores, callers, telemetry and the
// record; dataplane and controlplane below it are the two.
package app

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net"
	"os"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/cloudkms"
	"example.com/erlmcp/function/internal/egress"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/receipt"
)

// Version of the product.
const Version = "0.7.0"

// The functions' names: the values of FUNCTION_TARGET.
const (
	Target        = "erlmcp"
	ControlTarget = "taiea"
)

// Options are what a server is assembled from, beside its settings. Of the zero value each has its default.
type Options struct {
	Info             mcp.Info // how it presents itself; the default is the product
	Entries          []catalog.Entry
	Getenv           func(string) string // the source of settings; [os.Getenv]
	Logger           *slog.Logger        // gets the records of requests too
	Output           io.Writer           // of the log; as LOG_OUTPUT says
	WithoutTelemetry bool                // requests are in no log, metric or trace
	Loopback         bool                // it is bound to this machine
	Memory           *Memory             // in place of a store, where the settings name no project
	PageSize         int                 // of lists

	// What tests put in between.
	Stand StandIns

	files *files
}

// StandIns take the place of what is outside, or stand before it. nil is the real thing.
type StandIns struct {
	Receipts func(receipt.Store) receipt.Store
	Tenants  func(entitlement.Store) entitlement.Store
	Stores   func(*Stores)
	KMS      func(*cloudkms.Options)
	Dial     Dialer
	// RedisToken makes access tokens for Redis, where REDIS_LOGIN is google.
	RedisToken func(context.Context) (string, error)
	Resolver   egress.Resolver // of what is reached outside
}

// A Dialer connects as [net.Dialer.DialContext] does; nil is that.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// DefaultInfo is how a server presents itself that is not told how.
var DefaultInfo = mcp.Info{
	Name: "erlmcp", Title: "erlmcp", Version: Version,
	Instructions: "Tools of this server are governed: a refused call says why and when to try again.",
}

// Complete sets what is left out.
func (o *Options) Complete() {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Info == (mcp.Info{}) {
		o.Info = DefaultInfo
	}
	o.Info.Name, o.Info.Version = cmp.Or(o.Info.Name, Target), cmp.Or(o.Info.Version, Version)
	o.Info.Title = cmp.Or(o.Info.Title, o.Info.Name)
	o.files = &files{logger: slog.New(slog.DiscardHandler)}
}
