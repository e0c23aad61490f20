package app

import (
	"context"
	"fmt"
	"os"
	"time"

	"example.com/erlmcp/function/internal/egress"
)

// maxDocument is how many bytes an OpenAPI document may have.
const maxDocument = 16 << 20

// DocumentTimeout is for fetching one.
const DocumentTimeout = 30 * time.Second

// FetchDocument gets an OpenAPI document.
func FetchDocument(ctx context.Context, o egress.Options, url string) ([]byte, error) {
	o.Timeout = DocumentTimeout
	client := egress.NewClient(o)
	defer client.Close()
	text, _, err := client.Get(ctx, url, maxDocument)
	return text, err
}

// Fetch gets a document for an operator's command, from what the network of its machine reaches.
func Fetch(ctx context.Context, url, _ string) ([]byte, error) {
	allowed, err := egress.ParseAllowed(os.Getenv("EGRESS_ALLOW") + ",localhost,127.0.0.0/8,::1")
	if err != nil {
		return nil, fmt.Errorf("EGRESS_ALLOW: %w", err)
	}
	return FetchDocument(ctx, egress.Options{Allow: allowed}, url)
}
