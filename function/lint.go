package function

import (
	"errors"

	"example.com/erlmcp/function/internal/catalog"
)

// Lint says which tools among the options some models' interfaces refuse, and why. Its error lists what stops a start.
func Lint(opts ...Option) ([]string, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	c, err := catalog.Build(o.entries...)
	if err != nil {
		return nil, &StartError{errors.Join(err)}
	}
	return c.Lint(), nil
}
