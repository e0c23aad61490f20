// Package policy decides by rules that operators write in CEL (https://cel.dev): over who calls, what is called, when, and
// with which arguments. The first rule that holds decides: allow, deny, ask a person first, or demand scopes. Before the
// arguments are known it tells whether a caller may see an entry at all.
package policy

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"example.com/erlmcp/function/internal/identity"
)

// An Effect is what a rule does where it holds.
type Effect string

// The effects, from the mildest.
const (
	Allow   Effect = "allow"
	Confirm Effect = "confirm" // a person at the client must agree
	Scopes  Effect = "scopes"  // the caller must have been granted scopes
	Deny    Effect = "deny"
)

var severity = map[Effect]int{Allow: 0, Confirm: 1, Scopes: 2, Deny: 3}

// A Rule is one rule as it is written.
type Rule struct {
	Name    string   `yaml:"name"`
	When    string   `yaml:"when"` // CEL, of type bool; empty always holds
	Then    Effect   `yaml:"then"`
	Scopes  []string `yaml:"scopes"`  // with scopes
	Message string   `yaml:"message"` // for the person who is refused or asked
	Shadow  bool     `yaml:"shadow"`  // only says in the log what it would do

	place string
}

// A Set is rules in their order, and what holds where none of them does.
type Set struct {
	rules     []compiled
	otherwise Effect
	version   string
}

// Version is unlike that of any other text of rules: 16 hexadecimal digits, "" of no rules and of those that came with an entry.
func (s *Set) Version() string {
	if s == nil {
		return ""
	}
	return s.version
}

type compiled struct {
	Rule
	program cel.Program // nil always holds
	partial cel.Program // for arguments that are not known yet; nil where the rule has none
	members []string    // of args that the condition names
	fits    []fit       // what the condition says of names of tools
}

// An Object is what rules are about: an entry of the catalog.
type Object struct {
	Kind, Name, Upstream                         string // Kind is tool, prompt or resource
	ReadOnly, Destructive, Idempotent, OpenWorld bool
	// Formerly is the name that a tool had, or "". A rule that means the tool by it holds as if the tool had it still.
	Formerly string
}

// A Question is one call, or before that the question whether an entry can be seen.
type Question struct {
	Principal *identity.Principal
	Object    *Object
	Now       time.Time
	Arguments map[string]any
	// Early says that the arguments are not known yet. A rule that depends on them denies nothing then.
	Early bool
}

// A Decision is the answer.
type Decision struct {
	Effect  Effect
	Rule    string // "" where no rule held
	Message string
	Scopes  []string // that the caller lacks
	Fault   error    // of a rule that could not be evaluated, and so denies
	Shadow  []string // rules in shadow mode that would have refused or asked

	open *opening // where an early decision depends on the arguments
}

// An opening is the first rule that could not be decided early, and the rules in shadow mode before it.
type opening struct {
	rule   int
	shadow []string
}

// Decide returns the effect of the first rule that holds.
func (s *Set) Decide(q *Question) Decision { return s.decide(q, 0, nil) }

// Resume decides with the arguments what was decided early without them: only what depends on them is evaluated.
func (s *Set) Resume(early Decision, q *Question) Decision {
	if early.open == nil {
		return early
	}
	return s.decide(q, early.open.rule, early.open.shadow)
}

func (s *Set) decide(q *Question, from int, shadow []string) Decision {
	if s == nil {
		return Decision{Effect: Allow}
	}
	var open *opening
	for i := from; i < len(s.rules); i++ {
		r := &s.rules[i]
		holds, maybe, err := r.holds(q)
		if maybe && open == nil {
			open = &opening{i, slices.Clip(shadow)}
		}
		if maybe && r.Then == Deny {
			continue // it may be called with other arguments
		}
		if err == nil && !holds && !maybe {
			continue
		}
		d := Decision{Effect: r.Then, Rule: r.Name, Message: r.Message, Shadow: shadow, open: open}
		if err != nil {
			d.Effect, d.Fault = Deny, err
		} else if d.Effect == Scopes {
			if d.Scopes = q.Principal.Missing(r.Scopes); len(d.Scopes) == 0 {
				d.Effect = Allow
			} else {
				d.Scopes = r.Scopes
			}
		}
		if maybe && d.Effect != Allow {
			d.Effect = Allow // to be seen; the call decides
		}
		if r.Shadow {
			if d.Effect != Allow {
				shadow = append(shadow, r.Name)
			}
			continue
		}
		return d
	}
	return Decision{Effect: s.otherwise, Shadow: shadow, open: open}
}

// Stricter returns the decision that lets less through.
func Stricter(a, b Decision) Decision {
	shadow := append(slices.Clip(a.Shadow), b.Shadow...)
	if severity[b.Effect] > severity[a.Effect] || b.Effect == a.Effect && a.Rule == "" {
		a = b
	}
	a.Shadow = shadow
	return a
}

// holds evaluates the condition. Maybe depends on arguments that are not known yet.
func (r *compiled) holds(q *Question) (holds, maybe bool, err error) {
	if r.program == nil {
		return true, false, nil
	}
	if r.means(q.Object) {
		before, as := *q, *q.Object
		as.Name, before.Object = as.Formerly, &as
		q = &before
	}
	program, vars := r.program, any((*activation)(q))
	if q.Early && r.partial != nil {
		program = r.partial
		if vars, err = cel.PartialVars(vars, argumentsUnknown); err != nil {
			return false, false, err
		}
	}
	value, _, err := program.Eval(vars)
	if err != nil {
		if missing := missingKey.FindStringSubmatch(err.Error()); missing != nil {
			err = &Missing{Member: missing[1]}
		} else if text := err.Error(); len(text) > maxFault { // it may repeat what the caller wrote
			err = errors.New(strings.ToValidUTF8(text[:maxFault], "") + "…")
		}
		return false, false, fmt.Errorf("%s: %w", r.place, err)
	}
	if types.IsUnknown(value) {
		return false, true, nil
	}
	holds, ok := value.Value().(bool)
	if !ok {
		return false, false, fmt.Errorf("%s: the condition is a %s, and no bool", r.place, value.Type().TypeName())
	}
	return holds, false, nil
}

// Missing is the fault of a rule about a member that is not there.
type Missing struct{ Member string }

func (m *Missing) Error() string {
	return fmt.Sprintf("there is no member %q, and has(args.%[1]s) asks for that", m.Member)
}

// maxFault is how many bytes of an error are kept.
const maxFault = 300

// missingKey finds the member in an error of CEL, which has no type for it. A longer one is a value of the caller's, used as a key.
var missingKey = regexp.MustCompile(`^no such key: (\S{1,100})$`)

var argumentsUnknown = cel.AttributePattern("args")

// Variables are what conditions are written over, with their types.
var Variables = []struct {
	Name, Help string
	kind       *cel.Type
	value      func(*Question) any
}{
	{"principal.tenant", "whom the caller belongs to", cel.StringType, func(q *Question) any { return q.Principal.Tenant }},
	{"principal.subject", "the caller within the tenant", cel.StringType, func(q *Question) any { return q.Principal.Subject }},
	{"principal.issuer", "who vouches for it", cel.StringType, func(q *Question) any { return q.Principal.Issuer }},
	{"principal.method", "how it was authenticated: keys, oauth, google, cloudrun, iap, kubernetes, anonymous or local", cel.StringType, func(q *Question) any { return q.Principal.Method }},
	{"principal.scopes", "what it was granted", cel.ListType(cel.StringType), func(q *Question) any { return q.Principal.Scopes }},
	{"principal.claims", "what its token says, whole numbers as in args", cel.MapType(cel.StringType, cel.DynType), func(q *Question) any { return object(q.Principal.Claims) }},
	{"tool.kind", "tool, prompt or resource", cel.StringType, func(q *Question) any { return q.Object.Kind }},
	{"tool.name", "the name, or the URI of a resource or its template", cel.StringType, func(q *Question) any { return q.Object.Name }},
	{"tool.upstream", "what it calls outside", cel.StringType, func(q *Question) any { return q.Object.Upstream }},
	{"tool.readOnly", "it changes nothing", cel.BoolType, func(q *Question) any { return q.Object.ReadOnly }},
	{"tool.destructive", "it may overwrite or delete", cel.BoolType, func(q *Question) any { return q.Object.Destructive }},
	{"tool.idempotent", "calling it twice is as once", cel.BoolType, func(q *Question) any { return q.Object.Idempotent }},
	{"tool.openWorld", "it reaches beyond the server", cel.BoolType, func(q *Question) any { return q.Object.OpenWorld }},
	{"now", "the time", cel.TimestampType, func(q *Question) any { return q.Now }},
	{"args", "the arguments of the call, whole numbers as int, or as uint beyond that", cel.MapType(cel.StringType, cel.DynType), func(q *Question) any { return object(q.Arguments) }},
}

func object(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

// activation gives rules the variables of a question.
type activation Question

func (a *activation) ResolveName(name string) (any, bool) {
	for i := range Variables {
		if v := &Variables[i]; v.Name == name {
			return v.value((*Question)(a)), true
		}
	}
	return nil, false
}

func (a *activation) Parent() cel.Activation { return nil }

// maxCost bounds the evaluation of a condition over arguments, which a caller chooses.
const maxCost = 1_000_000

// Compile checks the rules. Its error lists every fault with its place and what to do.
func Compile(rules []Rule, otherwise Effect) (*Set, error) {
	s := &Set{otherwise: cmp.Or(otherwise, Allow)}
	var faults []error
	if s.otherwise != Allow && s.otherwise != Deny {
		faults = append(faults, fmt.Errorf("otherwise: %q is not one of allow, deny", otherwise))
	}
	options := append(texts(), cel.OptionalTypes())
	for _, v := range Variables {
		options = append(options, cel.Variable(v.Name, v.kind))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for i, r := range rules {
		if r.place == "" {
			r.place = fmt.Sprintf("rule %d", i+1)
		}
		if r.Name == "" {
			r.Name = fmt.Sprintf("rule-%d", i+1)
		}
		r.place += fmt.Sprintf(" (%s)", r.Name)
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Errorf("%s: "+format, append([]any{r.place}, args...)...))
		}
		if seen[r.Name] {
			fault("there is another rule of this name")
		}
		seen[r.Name] = true
		switch _, known := severity[r.Then]; {
		case !known:
			fault("then: %q is not one of allow, deny, confirm, scopes", r.Then)
		case r.Then == Scopes && len(r.Scopes) == 0:
			fault("scopes: name the scopes that the caller must have")
		case r.Then != Scopes && len(r.Scopes) > 0:
			fault("scopes: only a rule with then: scopes has them")
		}
		c := compiled{Rule: r}
		if r.When != "" {
			if err := c.compile(env); err != nil {
				fault("when: %w", err)
			}
		}
		s.rules = append(s.rules, c)
	}
	return s, errors.Join(faults...)
}

func (r *compiled) compile(env *cel.Env) error {
	tree, issues := env.Compile(r.When)
	if err := issues.Err(); err != nil {
		var names []string
		for _, v := range Variables {
			names = append(names, v.Name)
		}
		return fmt.Errorf("%w\nthere are the variables %s", err, strings.Join(names, ", "))
	}
	// A member of args or of a token's claims is of any type: whether it is a bool is seen when it is there.
	if kind := tree.OutputType(); kind != cel.BoolType && kind != cel.DynType {
		return fmt.Errorf("%q is of type %s, and a condition is a bool, such as tool.name == \"search\"", r.When, tree.OutputType())
	}
	r.fits = fitsOf(tree)
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if usesArguments(tree) {
		r.members = membersOf(tree)
		if d, found := largeDouble(tree); found {
			return fmt.Errorf("whole numbers in args can't be compared exactly with the double %.1f: write it as an int, without a point and an exponent", d)
		}
		options = append(options, cel.CostLimit(maxCost))
		var err error
		if r.partial, err = env.Program(tree, cel.EvalOptions(cel.OptOptimize, cel.OptPartialEval)); err != nil {
			return err
		}
	}
	var err error
	r.program, err = env.Program(tree, options...)
	return err
}

// Members are the members of args that the rules name, each with a rule that names it.
func (s *Set) Members() map[string]string {
	named := map[string]string{}
	for i := range s.rules {
		for _, m := range s.rules[i].members {
			if named[m] == "" {
				named[m] = s.rules[i].Name
			}
		}
	}
	return named
}

// selecting are the functions that take a member by its name.
var selecting = []string{operators.Index, operators.OptIndex, operators.OptSelect}

// membersOf finds args.name and args["name"], also below has.
func membersOf(tree *cel.Ast) (names []string) {
	args := func(e ast.Expr) bool { return e.Kind() == ast.IdentKind && e.AsIdent() == "args" }
	ast.PostOrderVisit(tree.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			if s := e.AsSelect(); args(s.Operand()) {
				names = append(names, s.FieldName())
			}
		case ast.CallKind:
			call := e.AsCall()
			if !slices.Contains(selecting, call.FunctionName()) || len(call.Args()) != 2 || !args(call.Args()[0]) || call.Args()[1].Kind() != ast.LiteralKind {
				return
			}
			if name, ok := call.Args()[1].AsLiteral().Value().(string); ok {
				names = append(names, name)
			}
		}
	}))
	return names
}

func usesArguments(tree *cel.Ast) bool {
	for _, ref := range tree.NativeRep().ReferenceMap() {
		if ref.Name == "args" {
			return true
		}
	}
	return false
}

// largeDouble finds a literal double beyond 2^53, beside which CEL makes doubles of whole numbers.
func largeDouble(tree *cel.Ast) (large float64, found bool) {
	ast.PostOrderVisit(tree.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.LiteralKind {
			return
		}
		if d, ok := e.AsLiteral().(types.Double); ok && math.Abs(float64(d)) >= 1<<53 && math.Abs(float64(d)) <= 1<<64 {
			large, found = float64(d), true
		}
	}))
	return large, found
}
