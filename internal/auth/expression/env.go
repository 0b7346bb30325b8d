package expression

import (
	"net/netip"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// The variables of an expression. Tables are read by the name of a member only.
const (
	claimsTable  = "claims"
	headersTable = "request.headers"
	queryTable   = "request.query"
	paramsTable  = "request.params"
)

const inCIDR = "inCIDR"

// newEnv declares all that an expression can name: CEL's standard library, and the variables of a request.
func newEnv() (*cel.Env, error) {
	texts := cel.MapType(cel.StringType, cel.StringType)
	return cel.NewEnv(
		cel.Variable(claimsTable, cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("request.method", cel.StringType),
		cel.Variable("request.host", cel.StringType),
		cel.Variable("request.path", cel.StringType),
		cel.Variable(headersTable, texts),
		cel.Variable(queryTable, texts),
		cel.Variable(paramsTable, texts),
		cel.Variable("client.subject", cel.StringType),
		cel.Variable("client.issuer", cel.StringType),
		cel.Variable("client.ip", cel.StringType),
		cel.Variable("now", cel.TimestampType),
		cel.Function(inCIDR, cel.Overload("in_cidr_string_string",
			[]*cel.Type{cel.StringType, cel.StringType}, cel.BoolType, cel.BinaryBinding(within))),
		cel.CrossTypeNumericComparisons(true), // 5 and 5.0 are one number in JSON
		cel.DefaultUTCTimeZone(true),
		cel.EnableMacroCallTracking(), // for Why
		cel.ParserExpressionSizeLimit(maxText),
		cel.ParserRecursionLimit(maxRecursion),
		cel.ParserErrorRecoveryLimit(maxProblems),
		cel.ExpressionNodeLimit(maxNodes),
		cel.RegexProgramSizeLimit(maxRegex),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals(),
			cel.ValidateComprehensionNestingLimit(maxNesting)),
	)
}

// within is inCIDR. The network was judged when the document was loaded; an address that is none is an error.
func within(address, network ref.Val) ref.Val {
	ip, err := netip.ParseAddr(string(address.(types.String)))
	if err != nil {
		return types.NewErr("inCIDR: not an address")
	}
	prefix, err := parseNetwork(string(network.(types.String)))
	if err != nil {
		return types.WrapErr(err)
	}
	return types.Bool(prefix.Contains(ip.Unmap().WithZone("")))
}

// sizes are upper bounds of what a request can bring: a token is at most 8 KiB, a head at most as large as fasthttp's buffer
// lets it be. Without them every expression could cost anything.
type sizes struct{}

const (
	maxMembers  = 2048 // of a list or an object in a token of 8 KiB
	maxClaim    = 8 << 10
	maxHead     = 64 << 10
	maxHintPath = 4 // claims.a.b.c: what lies deeper has no bound, and loops over it are refused
)

// EstimateSize bounds what lies at a path of the variables.
func (sizes) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	path := node.Path()
	switch {
	case len(path) == 0 || len(path) > maxHintPath:
		return nil
	case path[0] == claimsTable && len(path) == 1:
		return &cost.SizeEstimate{Max: 256}
	case path[0] == claimsTable && node.Type().Kind() == types.StringKind:
		return &cost.SizeEstimate{Max: maxClaim}
	case path[0] == claimsTable:
		return &cost.SizeEstimate{Max: maxMembers}
	case path[0] == headersTable || path[0] == queryTable || path[0] == paramsTable:
		if len(path) == 1 {
			return &cost.SizeEstimate{Max: 128}
		}
	}
	return &cost.SizeEstimate{Max: maxHead}
}

// EstimateCallCost leaves functions to CEL.
func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}
