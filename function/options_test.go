package function

import (
	"context"
	"io"
	"log/slog"

	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/app/controlplane"
)

// An Option changes what a test's server is made of: many tests share most of it.
type Option func(*Options)

func WithTools(tools ...Tool) Option {
	return func(o *Options) { o.Catalog.Tools = append(o.Catalog.Tools, tools...) }
}

func WithResources(resources ...Resource) Option {
	return func(o *Options) { o.Catalog.Resources = append(o.Catalog.Resources, resources...) }
}

func WithPrompts(prompts ...Prompt) Option {
	return func(o *Options) { o.Catalog.Prompts = append(o.Catalog.Prompts, prompts...) }
}

func WithInfo(info Info) Option { return func(o *Options) { o.Catalog.Info = info } }

func WithGetenv(getenv func(string) string) Option { return func(o *Options) { o.Getenv = getenv } }

func WithLogger(l *slog.Logger) Option { return func(o *Options) { o.Logger = l } }

func WithLogOutput(w io.Writer) Option { return func(o *Options) { o.LogOutput = w } }

func WithMemory(s *InMemoryStore) Option { return func(o *Options) { o.Store = s } }

func WithPageSize(n int) Option { return func(o *Options) { o.PageSize = n } }

func WithLoopback() Option { return func(o *Options) { o.Loopback = true } }

func optionsOf(opts []Option) (o Options) {
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

func catalogOf(opts ...Option) Catalog { return optionsOf(opts).Catalog }

func assemble(ctx context.Context, opts ...Option) (*Server, error) { return New(ctx, optionsOf(opts)) }

func openOperator(ctx context.Context, opts ...Option) (*controlplane.Local, error) {
	o := optionsOf(opts)
	return controlplane.OpenLocal(ctx, o.app())
}

func openRecords(ctx context.Context, keyFile string, opts ...Option) (*app.Records, error) {
	o := optionsOf(opts)
	return app.OpenRecords(ctx, keyFile, o.app())
}
