package main

import (
	"fmt"
	"io"
	"os"

	"github.com/oncegate/oncegate/internal/config"
)

// load reads and checks a document; its problems go to w, one a line: they are the report of check, and an error of all
// other commands, whose output may be captured.
func load(w io.Writer, path string) (*config.Document, bool) {
	doc, err := config.Load(path)
	if err != nil {
		fmt.Fprintln(w, err)
		return nil, false
	}
	return doc, true
}

// inspect reads a document and the files that it names: what check reports is what run does not start with.
func inspect(path string, offline bool) (*config.Result, error) {
	result, err := config.LoadFrom(path, config.Sources{Env: os.LookupEnv, Offline: offline})
	if err != nil {
		return nil, err
	}
	return result, result.Files()
}

func check(t terminal, args []string) int {
	set := flags(t, "check")
	path := configFlag(set)
	offline := set.Bool("offline", false, "ask no vault; what its secrets would be is not checked")
	if code, ok := parse(t, set, args); !ok {
		return code
	}
	result, err := inspect(*path, *offline)
	if err != nil {
		fmt.Fprintln(t.out, err)
		return exitBad
	}
	for _, warning := range result.Warnings {
		fmt.Fprintf(t.err, "warning: %s\n", warning)
	}
	return exitOK
}

func printDocument(t terminal, args []string) int {
	set := flags(t, "print")
	path := configFlag(set)
	if code, ok := parse(t, set, args); !ok {
		return code
	}
	doc, ok := load(t.err, *path)
	if !ok {
		return exitBad
	}
	_, err := t.out.Write(config.Print(doc))
	return exitOn(t, err)
}

func diff(t terminal, args []string) int {
	set := flags(t, "diff")
	files, code, ok := words(t, set, args)
	if !ok {
		return code
	}
	if len(files) != 2 {
		return misused(set, "two documents are needed, OLD and NEW")
	}
	old, okOld := load(t.err, files[0])
	next, okNext := load(t.err, files[1])
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
	if code, ok := parse(t, set, args); !ok {
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
