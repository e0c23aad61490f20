package catalogfile

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/policy"
)

// value compiles what the file says as a value of a request.
func (r *reader) value(line int, v Value) func(context.Context) (any, error) {
	if v.CEL == "" {
		return func(context.Context) (any, error) { return v.Literal, nil }
	}
	e, err := policy.CompileExpression(v.CEL, policy.RequestScope)
	if err != nil {
		r.fault(line, "%v", err)
		return nil
	}
	return func(ctx context.Context) (any, error) { return e.Value(ctx, request(ctx)) }
}

// request is what expressions over a request are about.
func request(ctx context.Context) policy.Scope {
	p, c := identity.FromContext(ctx), mcp.FromContext(ctx)
	if p == nil {
		p = &identity.Principal{}
	}
	scope := policy.Scope{
		"principal.tenant": p.Tenant, "principal.subject": p.Subject, "principal.issuer": p.Issuer, "principal.scopes": p.Scopes, "principal.claims": p.Claims,
		"call.id": "", "args": map[string]any{},
	}
	if p.Claims == nil {
		scope["principal.claims"] = map[string]any{}
	}
	if c != nil {
		scope["args"] = c.Arguments
		if c.Head != nil {
			scope["call.id"] = c.Head.RequestID
		}
	}
	return scope
}

// text is a value of a header.
func (r *reader) text(line int, v Value) func(context.Context) (string, error) {
	value := r.value(line, v)
	if value == nil {
		return nil
	}
	return func(ctx context.Context) (string, error) {
		v, err := value(ctx)
		switch v.(type) {
		case map[string]any, []any:
			return "", errors.New("a header has a text, and no list or object")
		case nil:
			return "", err
		}
		return fmt.Sprint(v), err
	}
}

// answer compiles an expression over an answer.
func (r *reader) answer(line int, v Value) func(ctx context.Context, body any) (any, error) {
	if v.CEL == "" {
		return nil
	}
	e, err := policy.CompileExpression(v.CEL, policy.AnswerScope)
	if err != nil {
		r.fault(line, "result: %v", err)
		return nil
	}
	return func(ctx context.Context, body any) (any, error) {
		return e.Value(ctx, policy.Scope{"body": body, "args": request(ctx)["args"]})
	}
}

// secret is what a reference stands for.
func (r *reader) secret(line int, ref Reference) func(context.Context) (string, error) {
	if r.Secret == nil { // the file is only checked
		return func(context.Context) (string, error) { return "", fmt.Errorf("%s is not read here", ref) }
	}
	secret, err := r.Secret(string(ref))
	if err != nil {
		r.fault(line, "%s: %v", ref, err)
	}
	return secret
}

// notKnown stands for a URL that is at fault, so that what else is at fault is found.
const notKnown = "https://unknown.invalid"

// url is a URL that is written as it is, or named as env:NAME.
func (r *reader) url(line int, text string) string {
	name, is := strings.CutPrefix(text, "env:")
	if !is {
		return text
	}
	v := r.Getenv(name)
	if v == "" {
		r.fault(line, "%s: the environment has no variable %s, which has the URL of the API", text, name)
		return notKnown
	}
	if !isURL(v) { // of which nothing is shown: it may be another variable's secret
		r.fault(line, "%s: the variable %s is no URL such as https://api.example.com/v1, without a query and a password", text, name)
		return notKnown
	}
	return strings.TrimSuffix(v, "/")
}
