// Package expression compiles and evaluates rules in CEL, the Common Expression Language, for what the built-in rules of a
// route can't say.
//
// It promises that a rule is type-checked when the document is loaded and gives a bool; that what it may cost is bounded
// before it runs, and again while it runs; and that it reads nothing but what stands in its text: claims, the request's
// method, host and path, fields, parameters and path parameters by name, the client, and the time. It reads no credential,
// calls nothing and keeps nothing. Whatever can't be evaluated, a claim that is missing or of another type, is an error,
// which denies.
package expression

import (
	"context"
	"fmt"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Bounds of an expression.
const (
	maxText      = 4096
	maxProblems  = 5
	maxEstimate  = 2_000_000 // cost that the worst input could ask for; a unit is about one step
	maxCost      = 50_000    // what one request may cost
	maxTime      = 100 * time.Millisecond
	checkEvery   = 256 // steps of a loop between two looks at the time
	maxNesting   = 2   // loops in loops
	maxRecursion = 48
	maxNodes     = 2000
	maxRegex     = 1000
)

// Problem is one mistake in an expression; Line counts from 1, Column too, in characters.
type Problem struct {
	Line, Column int
	Message      string
}

func (p Problem) String() string { return fmt.Sprintf("%d:%d: %s", p.Line, p.Column, p.Message) }

// Error is an expression with problems.
type Error struct{ Problems []Problem }

// Error lists them.
func (e *Error) Error() string {
	texts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		texts[i] = p.String()
	}
	return strings.Join(texts, "; ")
}

// Compiler compiles the expressions of one document; equal ones once. It makes its environment when the first one comes. It
// is not for several goroutines at a time.
type Compiler struct {
	env  *cel.Env
	done map[string]*Program
}

// New makes a compiler.
func New() *Compiler { return &Compiler{done: make(map[string]*Program)} }

// Program is a compiled expression, for any number of goroutines.
type Program struct {
	Uses Uses

	text    string
	env     *cel.Env // for Why
	program cel.Program
	loops   bool
}

// Compile checks an expression. Its error is an *Error.
func (c *Compiler) Compile(text string) (*Program, error) {
	if p := c.done[text]; p != nil {
		return p, nil
	}
	if len(text) > maxText {
		return nil, &Error{[]Problem{{1, 1, fmt.Sprintf("the expression is longer than %d bytes", maxText)}}}
	}
	if c.env == nil {
		env, err := newEnv()
		if err != nil {
			return nil, &Error{[]Problem{{1, 1, err.Error()}}}
		}
		c.env = env
	}
	p, err := compile(c.env, text)
	if err != nil {
		return nil, err
	}
	c.done[text] = p
	return p, nil
}

func compile(env *cel.Env, text string) (*Program, error) {
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, problemsOf(issues)
	}
	if t := ast.OutputType(); !t.IsExactType(cel.BoolType) {
		return nil, &Error{[]Problem{{1, 1, fmt.Sprintf("gives %s, not bool: compare it with something", t)}}}
	}
	p := &Program{text: text, env: env}
	if issues := p.inspect(ast); issues.Err() != nil {
		return nil, problemsOf(issues)
	}
	worst, err := env.EstimateCost(ast, sizes{})
	if err != nil {
		return nil, &Error{[]Problem{{1, 1, err.Error()}}}
	}
	if worst.Max > maxEstimate {
		return nil, &Error{[]Problem{{1, 1, "could cost too much: loops over claims can't stand in one another"}}}
	}
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if p.loops { // all else ends after as many steps as it has parts
		options = append(options, cel.CostLimit(maxCost), cel.InterruptCheckFrequency(checkEvery))
	}
	if p.program, err = env.Program(ast, options...); err != nil {
		return nil, &Error{[]Problem{{1, 1, err.Error()}}}
	}
	return p, nil
}

func problemsOf(issues *cel.Issues) *Error {
	e := &Error{}
	for _, issue := range issues.Errors() {
		if len(e.Problems) == maxProblems {
			break
		}
		message, _, _ := strings.Cut(issue.Message, "\n")
		e.Problems = append(e.Problems, Problem{max(1, issue.Location.Line()), max(1, issue.Location.Column()+1), message})
	}
	return e
}

// Allows evaluates the expression for a request of a verified client. An error denies; its text is for the operator only.
func (p *Program) Allows(x *pipeline.Exchange, claims Claims) (bool, error) {
	f := pool.Get().(*facts)
	f.x, f.claims = x, claims
	defer func() {
		f.x, f.claims = nil, nil
		pool.Put(f)
	}()
	value, err := p.eval(f)
	return err == nil && value == types.True, err
}

func (p *Program) eval(f *facts) (value ref.Val, err error) {
	if !p.loops {
		value, _, err = p.program.Eval(f)
		return value, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxTime)
	defer cancel()
	value, _, err = p.program.ContextEval(ctx, f)
	return value, err
}
