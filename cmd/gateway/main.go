// Command gateway is Oncegate: an API gateway that makes a retry safe.
//
// It promises the exit codes of its table: 0 done, 1 failure, 2 a bad document or bad arguments, 3 no route. It holds no
// policy's logic; it reads flags, wires the parts and ends them in order.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	_ "time/tzdata" // a container from scratch has no zones of its own
)

// The exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitBad     = 2
	exitNoRoute = 3
)

// terminal is what a command may touch of the process.
type terminal struct {
	out, err io.Writer
}

type command struct {
	name, usage, about string
	run                func(t terminal, args []string) int
}

func commands() []command {
	return []command{
		{"run", "run -config F", "serve; SIGHUP or a change of the file reloads, SIGTERM drains and stops", run},
		{"check", "check -config F [-offline]", "check the document and print every problem", check},
		{"explain", "explain -config F [METHOD URL] [-H 'K: V' ...] [-cert F]", "the plan of each route, or what one request meets", explain},
		{"print", "print -config F", "the effective document, secrets redacted", printDocument},
		{"diff", "diff OLD NEW", "what a reload from OLD to NEW would change", diff},
		{"schema", "schema", "JSON Schema of the document", schema},
		{"token", "token -config F -issuer I -sub S", "a token for development", token},
		{"hash", "hash", "read a password from standard input and print its hash for basic_users", hash},
		{"health", "health -config F", "ask the running gateway whether it is ready (for containers)", health},
		{"demo", "demo", "sample services behind the gateway, with curl lines to try", demo},
		{"version", "version", "version, commit, Go, and the versions of fasthttp and Fiber", printVersion},
	}
}

func main() {
	os.Exit(dispatch(terminal{os.Stdout, os.Stderr}, os.Args[1:]))
}

func dispatch(t terminal, args []string) int {
	if len(args) > 0 && (args[0] == "-h" || args[0] == "-help" || args[0] == "--help" || args[0] == "help") {
		usage(t.out)
		return exitOK
	}
	if len(args) > 0 && (args[0] == "-version" || args[0] == "--version") {
		args = append([]string{"version"}, args[1:]...)
	}
	name := "run"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	for _, c := range commands() {
		if c.name == name {
			return c.run(t, args)
		}
	}
	fmt.Fprintf(t.err, "gateway: unknown command %q\n", name)
	usage(t.err)
	return exitBad
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "usage: gateway [command] [flags]; no command means run")
	fmt.Fprintln(w)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-52s %s\n", c.usage, c.about)
	}
}

// flags makes the flag set of a command. Help that was asked for goes to stdout, errors to stderr.
func flags(t terminal, name string) *flag.FlagSet {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(t.err)
	set.Usage = func() {
		for _, c := range commands() {
			if c.name == name {
				fmt.Fprintf(set.Output(), "usage: gateway %s\n  %s\n", c.usage, c.about)
			}
		}
		set.PrintDefaults()
	}
	return set
}

// parse reads the flags of a command that takes no words. false: the command has to end with code.
func parse(t terminal, set *flag.FlagSet, args []string) (code int, ok bool) {
	list, code, ok := words(t, set, args)
	if ok && len(list) > 0 {
		return misused(set, "%q is not expected here", list[0]), false
	}
	return code, ok
}

// words reads flags that stand before, between and after words. After -- everything is a word.
func words(t terminal, set *flag.FlagSet, args []string) (list []string, code int, ok bool) {
	if asksForHelp(args) {
		set.SetOutput(t.out)
	}
	for {
		err := set.Parse(args)
		switch rest := set.Args(); {
		case errors.Is(err, flag.ErrHelp):
			return nil, exitOK, false
		case err != nil:
			return nil, exitBad, false
		case len(rest) == 0:
			return list, exitOK, true
		case len(rest) < len(args) && args[len(args)-len(rest)-1] == "--":
			return append(list, rest...), exitOK, true
		default:
			list, args = append(list, rest[0]), rest[1:]
		}
	}
}

func asksForHelp(args []string) bool {
	return slices.ContainsFunc(args, func(a string) bool { return a == "-h" || a == "-help" || a == "--help" || a == "--h" })
}

// misused says what is wrong with the arguments, as the flag package does.
func misused(set *flag.FlagSet, format string, args ...any) int {
	fmt.Fprintf(set.Output(), "gateway %s: %s\n", set.Name(), fmt.Sprintf(format, args...))
	set.Usage()
	return exitBad
}

// configFlag adds -config.
func configFlag(set *flag.FlagSet) *string {
	return set.String("config", "gateway.yaml", "the document")
}
