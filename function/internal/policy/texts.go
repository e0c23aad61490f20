package policy

import (
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
)

// maxText bounds a text that an expression makes. The cost of an expression is counted when a function has returned, and replace and join may
// make more of two arguments of a caller's than there is memory.
const maxText = 16 << 20

// texts are CEL's functions of texts, with replace and join bounded: as macros they come before those of the same names.
func texts() []cel.EnvOption {
	bounded := func(name string) cel.MacroFactory {
		return func(make cel.MacroExprFactory, target ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
			return make.NewCall(name, append([]ast.Expr{target}, args...)...), nil
		}
	}
	list, text := cel.ListType(cel.StringType), cel.StringType
	return []cel.EnvOption{
		ext.Strings(),
		cel.Macros(cel.ReceiverMacro("replace", 2, bounded("@replace")), cel.ReceiverMacro("replace", 3, bounded("@replace")),
			cel.ReceiverMacro("join", 0, bounded("@join")), cel.ReceiverMacro("join", 1, bounded("@join"))),
		cel.Function("@replace", cel.Overload("bounded_replace", []*cel.Type{text, text, text}, text, cel.FunctionBinding(replaced)),
			cel.Overload("bounded_replace_n", []*cel.Type{text, text, text, cel.IntType}, text, cel.FunctionBinding(replaced))),
		cel.Function("@join", cel.Overload("bounded_join", []*cel.Type{list}, text, cel.UnaryBinding(func(l ref.Val) ref.Val { return joined(l, types.String("")) })),
			cel.Overload("bounded_join_by", []*cel.Type{list, text}, text, cel.BinaryBinding(joined))),
	}
}

func tooLong() ref.Val { return types.NewErr("the text would have more than %d MiB", maxText>>20) }

func replaced(args ...ref.Val) ref.Val {
	var of [3]string
	for i := range of {
		text, ok := args[i].(types.String)
		if !ok {
			return types.MaybeNoSuchOverloadErr(args[i])
		}
		of[i] = string(text)
	}
	count := strings.Count(of[0], of[1])
	if len(args) > 3 {
		n, ok := args[3].(types.Int)
		if !ok {
			return types.MaybeNoSuchOverloadErr(args[3])
		}
		if n >= 0 {
			count = int(min(int64(count), int64(n)))
		}
	}
	if len(of[0])+count*(len(of[2])-len(of[1])) > maxText {
		return tooLong()
	}
	return types.String(strings.Replace(of[0], of[1], of[2], count))
}

func joined(list, between ref.Val) ref.Val {
	elements, ok := list.(traits.Lister)
	by, ok2 := between.(types.String)
	if !ok || !ok2 {
		return types.MaybeNoSuchOverloadErr(list)
	}
	var parts []string
	size := 0
	for it := elements.Iterator(); it.HasNext() == types.True; {
		element := it.Next()
		part, ok := element.(types.String)
		if !ok {
			return types.MaybeNoSuchOverloadErr(element)
		}
		if size += len(part) + len(by); size > maxText+len(by) {
			return tooLong()
		}
		parts = append(parts, string(part))
	}
	return types.String(strings.Join(parts, string(by)))
}
