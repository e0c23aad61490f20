package tools

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"example.com/erlmcp/function"
	"example.com/erlmcp/function/ask"
)

// Three functions that someone else wrote, put beside tools.go.

type note struct {
	Text string `json:"text" jsonschema:"what to remember"`
}

func remember(ctx context.Context, in note) error {
	slog.InfoContext(ctx, "remembered", "length", len(in.Text))
	return nil
}

type file struct {
	Name string `json:"name"`
}

func deleteFile(ctx context.Context, in file) (string, error) {
	var sure bool
	if err := ask.Client(ctx, ask.Confirm("sure", "Delete "+in.Name+" for good?", &sure)); err != nil {
		return "", err
	}
	if !sure {
		return "", errors.New("not deleted")
	}
	return in.Name + " is deleted", nil
}

func reindex(ctx context.Context, _ function.None) (string, error) {
	for i := range 4 {
		function.Progress(ctx, float64(i), 4, "indexing")
		time.Sleep(30 * time.Millisecond)
	}
	return "indexed", nil
}
