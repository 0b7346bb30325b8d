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
	"strings"
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
		{"check", "check -config F", "check the document and print every problem", check},
		{"explain", "explain -config F [METHOD URL] [-H 'K: V' ...]", "the plan of each route, or what one request meets", explain},
		{"print", "print -config F", "the effective document, secrets redacted", printDocument},
		{"diff", "diff OLD NEW", "what a reload from OLD to NEW would change", diff},
		{"schema", "schema", "JSON Schema of the document", schema},
		{"token", "token -config F -issuer I -sub S", "a token for development", token},
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

// flags makes a flag set whose errors end in exit code 2. parse gives false when the command has to end with code.
func flags(t terminal, name string) *flag.FlagSet {
	set := flag.NewFlagSet("gateway "+name, flag.ContinueOnError)
	set.SetOutput(t.err)
	return set
}

func parse(set *flag.FlagSet, args []string) (code int, ok bool) {
	err := set.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK, false
	}
	return exitBad, err == nil
}

// configFlag adds -config.
func configFlag(set *flag.FlagSet) *string {
	return set.String("config", "gateway.yaml", "the document")
}
