package main

import (
	"fmt"

	"github.com/oncegate/oncegate/internal/config"
)

// load reads and checks a document; its problems go to stdout, one a line, where scripts expect a report.
func load(t terminal, path string) (*config.Document, bool) {
	doc, err := config.Load(path)
	if err != nil {
		fmt.Fprintln(t.out, err)
		return nil, false
	}
	return doc, true
}

func check(t terminal, args []string) int {
	set := flags(t, "check")
	path := configFlag(set)
	if code, ok := parse(set, args); !ok {
		return code
	}
	if _, ok := load(t, *path); !ok {
		return exitBad
	}
	return exitOK
}

func printDocument(t terminal, args []string) int {
	set := flags(t, "print")
	path := configFlag(set)
	if code, ok := parse(set, args); !ok {
		return code
	}
	doc, ok := load(t, *path)
	if !ok {
		return exitBad
	}
	_, err := t.out.Write(config.Print(doc))
	return exitOn(t, err)
}

func diff(t terminal, args []string) int {
	set := flags(t, "diff")
	if code, ok := parse(set, args); !ok {
		return code
	}
	if set.NArg() != 2 {
		fmt.Fprintln(t.err, "usage: gateway diff OLD NEW")
		return exitBad
	}
	old, okOld := load(t, set.Arg(0))
	next, okNext := load(t, set.Arg(1))
	if !okOld || !okNext {
		return exitBad
	}
	changes := config.Diff(old, next)
	for _, c := range changes {
		fmt.Fprintln(t.out, c)
	}
	if len(changes) > 0 {
		return 1
	}
	return exitOK
}

func schema(t terminal, args []string) int {
	set := flags(t, "schema")
	if code, ok := parse(set, args); !ok {
		return code
	}
	_, err := t.out.Write(config.Schema())
	return exitOn(t, err)
}

func exitOn(t terminal, err error) int {
	if err != nil {
		fmt.Fprintf(t.err, "gateway: %v\n", err)
		return exitFailure
	}
	return exitOK
}
