package policy

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
)

// An Expression is CEL that makes a value of JSON: of who calls and with what, or of an upstream's answer.
type Expression struct {
	text    string
	program cel.Program
}

// Scope is what an expression is about; its names are the variables. A variable that is not in it is unknown to the expression.
type Scope map[string]any

// Scopes of expressions: the names of their variables.
var (
	RequestScope = []string{"principal.tenant", "principal.subject", "principal.issuer", "principal.scopes", "principal.claims", "call.id", "args"}
	AnswerScope  = []string{"body", "args"}
)

// maxExpressionCost bounds an expression over an answer, which may be large.
const maxExpressionCost = 20_000_000

// CompileExpression checks an expression over the variables of a scope.
func CompileExpression(text string, scope []string) (*Expression, error) {
	options := append(texts(), ext.Lists(), cel.OptionalTypes())
	for _, name := range scope {
		kind := cel.DynType
		switch {
		case name == "args" || name == "principal.claims":
			kind = cel.MapType(cel.StringType, cel.DynType)
		case name == "principal.scopes":
			kind = cel.ListType(cel.StringType)
		case name != "body":
			kind = cel.StringType
		}
		options = append(options, cel.Variable(name, kind))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, err
	}
	tree, issues := env.Compile(text)
	if err := issues.Err(); err != nil {
		return nil, fmt.Errorf("%w\nthere are the variables %s", err, strings.Join(scope, ", "))
	}
	program, err := env.Program(tree, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxExpressionCost), cel.InterruptCheckFrequency(1000))
	if err != nil {
		return nil, err
	}
	return &Expression{text, program}, nil
}

// Value evaluates the expression. The value is one of JSON: nil, bool, int64, uint64, float64, string, []any or map[string]any. Its error says
// what the expression could not be evaluated with. It ends with the context.
func (e *Expression) Value(ctx context.Context, vars Scope) (any, error) {
	value, _, err := e.program.ContextEval(ctx, map[string]any(vars))
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		text := err.Error()
		if len(text) > maxFault {
			text = strings.ToValidUTF8(text[:maxFault], "") + "…"
		}
		return nil, fmt.Errorf("the expression %s: %s", e.text, text)
	}
	v, err := plain(value)
	if err != nil {
		return nil, fmt.Errorf("the expression %s: %w", e.text, err)
	}
	return v, nil
}

// plain makes a value of JSON of one of CEL.
func plain(v ref.Val) (any, error) {
	switch v := v.(type) {
	case types.Null:
		return nil, nil
	case *types.Optional:
		if !v.HasValue() {
			return nil, nil
		}
		return plain(v.GetValue())
	case traits.Mapper:
		out := map[string]any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			name, ok := key.Value().(string)
			if !ok {
				return nil, fmt.Errorf("an object of JSON has names for keys, and not %v", key.Value())
			}
			member, err := plain(v.Get(key))
			if err != nil {
				return nil, err
			}
			out[name] = member
		}
		return out, nil
	case traits.Lister:
		out := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			element, err := plain(it.Next())
			if err != nil {
				return nil, err
			}
			out = append(out, element)
		}
		return out, nil
	}
	switch native := v.Value().(type) {
	case bool, int64, uint64, string:
		return native, nil
	case float64:
		if math.IsNaN(native) || math.IsInf(native, 0) {
			return nil, fmt.Errorf("%v is no number of JSON", native)
		}
		return native, nil
	case time.Time:
		return native.Format(time.RFC3339Nano), nil
	case time.Duration:
		return native.String(), nil
	}
	return nil, fmt.Errorf("a %s is no value of JSON", v.Type().TypeName())
}
