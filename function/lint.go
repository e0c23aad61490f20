package function

import (
	"errors"

	"example.com/erlmcp/function/internal/catalog"
)

// Lint says what of the tools among the options models' interfaces and clients refuse or drop, and why. Its error lists what stops a start.
func Lint(opts ...Option) (out []string, err error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	c, err := catalog.Build(o.entries...)
	if err != nil {
		return nil, &StartError{errors.Join(err)}
	}
	for _, finding := range c.Lint() {
		out = append(out, finding.String())
	}
	return out, nil
}
